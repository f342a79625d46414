/**
 * @file The speech decoder at work: text slots in, frames of codes out, over one cache per utterance.
 * The cache holds rows in the order they were computed, not by position: keys carry their position already, so a mask
 * made from `rows` is all that says who sees whom, and text may arrive between audio frames.
 * A state is used up by the step that follows from it; going back to an earlier one discards what came after.
 * Source: ConditionalChatTTS.prefill_text, prefill_audio_ids, generate (modeling_minicpmo.py).
 */
import {
  conditionalChatTtsGraph,
  conditionalChatTtsSpec,
  FOLDED_HEADS,
  foldWeightNorm,
  TTS_PREFIX,
  TTS_ROPE_THETA,
  type TtsConfig,
  ttsProjectorGraph,
  ttsSlot,
} from "../models/minicpmo/index.ts"
import { rotaryTables } from "../nn/index.ts"
import type { Executor, KvCache, Program, WeightStore } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor, mapSpec } from "../tensor/index.ts"
import { InputError, type Steps } from "../util/index.ts"
import { type CodeFrame, type CodeSampling, checkCodeSampling, codeProbabilities, type Draw } from "./code-sampler.ts"
import {
  audioStart,
  cacheMask,
  DEAD_ROW,
  EMPTY_ROW,
  MASKED,
  type RowSlots,
  textStart,
  type Visibility,
  visibleTextSlots,
} from "./speech-mask.ts"

/** One utterance. Plain data, except for the cache. */
export type SpeechDecoderState = {
  readonly cache: KvCache
  readonly rows: RowSlots // one per cached row
  /** Audio inputs that are cached, `[Ptts]` among them: the next one's position less that of `[Ptts]`. */
  readonly audioRows: number
  /** All frames of the utterance, those taken over from an earlier one among them; the end frame is not. */
  readonly frames: readonly CodeFrame[]
  /** The end code was drawn. */
  readonly finished: boolean
}

/** What a pass over new rows gives. */
export type SpeechRows = {
  readonly hidden: HostTensor // [1, T, D], normed
  readonly logits: HostTensor // [1, T, R, V]
}

export type SpeechGenerateOptions = {
  /** Text tokens known so far. */
  readonly textTokens: number
  readonly maxFrames: number
  /** The end code cannot be drawn before so many frames of this call. */
  readonly minFrames?: number
  /** Never draw the end code. */
  readonly forceNoStop?: boolean
  readonly sampling: CodeSampling
  readonly draw: Draw
}

/** The drivers' ban on ending. */
export const DEFAULT_MIN_FRAMES = 10
/** A frame reads all room of the cache, 120 KB a position at full size: little of it stays empty. */
const CACHE_STEP = 64

export class SpeechDecoder {
  readonly config: TtsConfig
  private readonly executor: Executor
  private readonly layers: Program
  private readonly projector: Program
  private readonly textTable: Float32Array // [text tokens, D]
  private readonly codeTables: readonly Float32Array[] // R times [V, D]

  private constructor(
    config: TtsConfig,
    executor: Executor,
    programs: { layers: Program; projector: Program },
    tables: { text: Float32Array; codes: readonly Float32Array[] },
  ) {
    this.config = config
    this.executor = executor
    this.layers = programs.layers
    this.projector = programs.projector
    this.textTable = tables.text
    this.codeTables = tables.codes
  }

  /** @throws CheckpointError when a weight is missing or does not fit the config */
  static async load(config: TtsConfig, executor: Executor, weights: WeightStore): Promise<SpeechDecoder> {
    const read = mapSpec(
      conditionalChatTtsSpec(config),
      TTS_PREFIX,
      (name, { shape }) =>
        () =>
          f32Data(weights.read(name, "f32", shape)),
    )
    const layers = await executor.compile(conditionalChatTtsGraph(config), withFoldedHeads(config, weights))
    const projector = await executor.compile(ttsProjectorGraph(config), weights)
    return new SpeechDecoder(
      config,
      executor,
      { layers, projector },
      { text: read.embText.weight(), codes: read.embCode.map(({ weight }) => weight()) },
    )
  }

  /** Frees the programs. */
  async release(): Promise<void> {
    await this.layers.release()
    await this.projector.release()
  }

  /** The code that ends an utterance, in any codebook. */
  get endCode(): number {
    return this.config.numAudioTokens - 1
  }

  /**
   * The voice of an utterance.
   * @param state the language model's normed hidden state at `<|spk|>`  // [D']
   * @returns its projection, and the embedding of length 1 that the decoder is started with  // [D] each
   */
  async speaker(state: Float32Array): Promise<{ projected: Float32Array; speaker: Float32Array }> {
    const { llmDim } = this.config
    if (state.length !== llmDim) {
      throw new InputError(
        `speaker state: expected ${llmDim} values, got ${state.length} (one state of the language model)`,
      )
    }
    const outputs = await this.executor.run(this.projector, { state: f32([1, llmDim], state) })
    return { projected: f32Data(outputs.projected!), speaker: f32Data(outputs.speaker!) }
  }

  /** An utterance before its first text. */
  init(): SpeechDecoderState {
    const { numHiddenLayers, numAttentionHeads, headSize, hiddenSize } = this.config
    const spec = Array.from({ length: numHiddenLayers }, (_, layer) => ({
      name: ttsSlot(layer),
      kvHeads: numAttentionHeads,
      headSize,
    }))
    const cache = this.executor.createCache(spec, 1, CACHE_STEP)
    const zeros = { keys: new Float32Array(hiddenSize), values: new Float32Array(hiddenSize) }
    for (const { name } of spec) cache.stage(name, 1, zeros)
    cache.advance(1)
    return { cache, rows: Int32Array.of(EMPTY_ROW), audioRows: 0, frames: [], finished: false }
  }

  /**
   * Fills text slots, plainly causal: no audio is seen. Slots that were filled before are replaced.
   * @param ids of the slots [begin, begin + ids.length)
   * @param speaker for the speaker's slots, which must be among these  // [D]
   */
  async prefillText(
    state: SpeechDecoderState,
    ids: readonly number[],
    begin: number,
    speaker?: Float32Array,
  ): Promise<[SpeechRows, SpeechDecoderState]> {
    const { numSpkEmbs, numTextTokens, hiddenSize } = this.config
    const end = begin + ids.length
    if (ids.length === 0 || begin < 0 || end > audioStart(this.config)) {
      throw new InputError(`speech text: expected slots in [0, ${audioStart(this.config)}), got ${begin} to ${end}`)
    }
    if (speaker && (begin > 1 || end < 1 + numSpkEmbs)) {
      throw new InputError(`speech text: expected slots from 0 on for a speaker embedding, got ${begin} to ${end}`)
    }
    const hidden = new Float32Array(ids.length * hiddenSize)
    for (const [i, id] of ids.entries()) {
      if (!(id >= 0 && id < numTextTokens))
        throw new InputError(`speech text: expected ids in [0, ${numTextTokens}), got ${id}`)
      hidden.set(this.textTable.subarray(id * hiddenSize, (id + 1) * hiddenSize), i * hiddenSize)
    }
    if (speaker) for (let i = 0; i < numSpkEmbs; i++) hidden.set(speaker, (1 + i - begin) * hiddenSize)
    const result = await this.pass(state, hidden, begin, { visible: { textSlots: begin, audio: false }, causal: true })
    const rows = new Int32Array(state.rows.length + ids.length)
    for (const [i, slot] of state.rows.entries()) rows[i] = slot >= begin && slot < end ? DEAD_ROW : slot
    for (const i of ids.keys()) rows[state.rows.length + i] = begin + i
    return [result, { ...state, rows }]
  }

  /**
   * Takes over frames of an earlier utterance: `[Ptts]` and all but the last become cached rows, the last is the next
   * step's input.
   * Quirk of the reference: one mask serves all of these rows, so that each sees the frames after it, too.
   * @param frames at least one
   */
  async prefillAudio(
    state: SpeechDecoderState,
    frames: readonly CodeFrame[],
    textTokens: number,
  ): Promise<[SpeechRows, SpeechDecoderState]> {
    if (frames.length === 0 || state.audioRows > 0) {
      throw new InputError(
        `speech audio: expected frames before any other audio, got ${frames.length} frames after ${state.audioRows}`,
      )
    }
    const inputs = [undefined, ...frames.slice(0, -1)].map((frame) => [...this.audioInput(frame)])
    const [result, next] = await this.audioPass(state, Float32Array.from(inputs.flat()), textTokens)
    return [result, { ...next, frames }]
  }

  /**
   * The distribution of the next frame. Its last input (a frame, or `[Ptts]`) enters the cache; `addFrame` must follow.
   */
  async step(state: SpeechDecoderState, textTokens: number): Promise<[SpeechRows, SpeechDecoderState]> {
    if (state.finished || state.audioRows !== state.frames.length) {
      const got = state.finished
        ? "one that has ended"
        : `${state.frames.length} frames after ${state.audioRows} inputs`
      throw new InputError(`speech step: expected an utterance whose last frame is its next input, got ${got}`)
    }
    return await this.audioPass(state, this.audioInput(state.frames.at(-1)), textTokens)
  }

  /** Puts a drawn frame behind the others; a frame with the end code ends the utterance instead. */
  addFrame(state: SpeechDecoderState, frame: CodeFrame): SpeechDecoderState {
    if (frame.includes(this.endCode)) return { ...state, finished: true }
    return { ...state, frames: [...state.frames, frame] }
  }

  /**
   * Draws frames until the end code or the limit; each `next()` is one frame. Abandoned, the given state stays as it is.
   * @returns how many frames were drawn, the end frame included, and the new state
   * @throws InputError for bad sampling options or a state that has ended
   */
  async *generate(
    state: SpeechDecoderState,
    options: SpeechGenerateOptions,
  ): Steps<readonly [drawn: number, SpeechDecoderState]> {
    const { textTokens, maxFrames, minFrames = DEFAULT_MIN_FRAMES, forceNoStop = false, sampling, draw } = options
    const { numVq } = this.config
    checkCodeSampling(sampling, numVq)
    let current = state
    let drawn = 0
    while (drawn < maxFrames && !current.finished) {
      const [{ logits }, next] = await this.step(current, textTokens)
      const banned = forceNoStop || drawn < minFrames ? this.endCode : undefined
      const context = { frames: current.frames, banned }
      current = this.addFrame(next, codeProbabilities(f32Data(logits), numVq, sampling, context).map(draw))
      drawn++
      yield
    }
    return [drawn, current]
  }

  /** [D]: the sum of a frame's code embeddings, or the embedding of `[Ptts]` before the first frame. */
  private audioInput(frame: CodeFrame | undefined): Float32Array {
    const { hiddenSize, audioBosTokenId, numVq } = this.config
    const row = (table: Float32Array, id: number) => table.subarray(id * hiddenSize, (id + 1) * hiddenSize)
    if (!frame) return row(this.textTable, audioBosTokenId)
    if (frame.length !== numVq || frame.some((code) => !(code >= 0 && code <= this.endCode))) {
      throw new InputError(`speech frame: expected ${numVq} codes in [0, ${this.endCode}], got ${frame.join(", ")}`)
    }
    const sum = new Float32Array(hiddenSize)
    for (const [codebook, code] of frame.entries()) {
      const embedding = row(this.codeTables[codebook]!, code)
      for (let d = 0; d < hiddenSize; d++) sum[d]! += embedding[d]!
    }
    return sum
  }

  /** Audio rows of one mask line: all see the same text, and all audio that is cached or new. */
  private async audioPass(
    state: SpeechDecoderState,
    hidden: Float32Array,
    textTokens: number,
  ): Promise<[SpeechRows, SpeechDecoderState]> {
    const steps = hidden.length / this.config.hiddenSize
    const position = audioStart(this.config) + state.audioRows
    const visible = { textSlots: visibleTextSlots(position, textTokens, this.config), audio: true }
    const result = await this.pass(state, hidden, position, { visible, causal: false })
    const rows = new Int32Array(state.rows.length + steps)
    rows.set(state.rows)
    for (let i = 0; i < steps; i++) rows[state.rows.length + i] = position + i
    return [result, { ...state, rows, audioRows: state.audioRows + steps }]
  }

  /** Runs new rows at consecutive positions and appends them to the cache. */
  private async pass(
    state: SpeechDecoderState,
    hidden: Float32Array, // [T, D]
    position: number,
    { visible, causal }: { readonly visible: Visibility; readonly causal: boolean },
  ): Promise<SpeechRows> {
    const { hiddenSize, headSize, maxPositionEmbeddings } = this.config
    const steps = hidden.length / hiddenSize
    if (position + steps > maxPositionEmbeddings) {
      throw new InputError(`speech: expected at most ${maxPositionEmbeddings} positions, got ${position + steps}`)
    }
    const { cache } = state
    if (cache.length < state.rows.length) {
      throw new InputError(`speech: expected a state whose rows are still cached, got one that was given up`)
    }
    cache.truncate(state.rows.length)
    cache.reserve(state.rows.length + steps) // the mask is as wide as the buffer, which must not grow from here on
    const capacity = cache.capacity
    const line = cacheMask(state.rows, capacity, visible, this.config)
    const mask = new Float32Array(steps * (capacity + steps))
    const startsAudio = position === audioStart(this.config) // then the first row is [Ptts], which nobody sees
    for (let t = 0; t < steps; t++) {
      const row = mask.subarray(t * (capacity + steps), (t + 1) * (capacity + steps))
      row.set(line)
      if (causal) row.fill(MASKED, capacity + t + 1)
      else if (startsAudio) row[capacity] = MASKED
    }
    const positions = Array.from({ length: steps }, (_, t) => position + t)
    const feeds = {
      hidden: f32([1, steps, hiddenSize], hidden),
      ...rotaryTables(positions, [1, steps], headSize, TTS_ROPE_THETA),
      attentionMask: f32([1, 1, steps, capacity + steps], mask),
    }
    const outputs = await this.executor.run(this.layers, feeds, { cache })
    return { hidden: outputs.hiddenStates!, logits: outputs.logits! }
  }
}

/** The store with the heads' weight norm folded in, once for all steps. */
function withFoldedHeads(c: TtsConfig, weights: WeightStore): WeightStore {
  const heads = mapSpec(conditionalChatTtsSpec(c).headCode, `${TTS_PREFIX}.head_code`, (name, { shape }) =>
    f32Data(weights.read(name, "f32", shape)),
  )
  const folded = new Float32Array(c.numVq * c.numAudioTokens * c.hiddenSize)
  for (const [codebook, { parametrizations }] of heads.entries()) {
    const { original0, original1 } = parametrizations.weight
    folded.set(foldWeightNorm(original0, original1), codebook * c.numAudioTokens * c.hiddenSize)
  }
  const tensor = f32([c.numVq * c.numAudioTokens, c.hiddenSize], folded)
  return {
    ...weights,
    ...(weights.locate ? { locate: (name) => (name === FOLDED_HEADS ? undefined : weights.locate!(name)) } : {}),
    storage: (name) => (name === FOLDED_HEADS ? { kind: "f32" } : weights.storage(name)),
    read: (name, dtype, shape) => (name === FOLDED_HEADS ? tensor : weights.read(name, dtype, shape)),
  }
}

/** Slots of text chunk number `index`, [begin, end); the first holds the start slots, too. */
export function textChunk(index: number, c: TtsConfig): readonly [begin: number, end: number] {
  const edge = (count: number) => Math.min(textStart(c) + count * c.textChunkSize, audioStart(c))
  return [index === 0 ? 0 : edge(index), edge(index + 1)]
}

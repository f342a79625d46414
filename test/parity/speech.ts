/** @file Cases `tts*`, `dvae*`, `vocos`, `speech*`: text and a speaker state to codes, mel and waveforms. */
import { openPt, readJsonObject, readText } from "../../src/checkpoint/index.ts"
import {
  audioStart,
  CALL_FRAMES,
  type CodeFrame,
  cacheMask,
  codeProbabilities,
  codeSampling,
  DEFAULT_MIN_FRAMES,
  type Delivery,
  drawMostLikely,
  loadSpeechParts,
  penalizeRepetition,
  REFERENCE_RENDERING,
  readSpeechWeights,
  type SpeechDecoder,
  type SpeechDecoderState,
  type SpeechParts,
  type SpeechPiece,
  SpeechStream,
  speakWhole,
  visibleTextSlots,
} from "../../src/inference/index.ts"
import {
  dvaeDecodeGraph,
  dvaeEncodeGraph,
  fsqTable,
  parseTtsConfig,
  ttsSlot,
  VOCOS_FILE,
  vocosGraph,
} from "../../src/models/minicpmo/index.ts"
import type { Executor } from "../../src/runtime/index.ts"
import { f32, f32Data, type HostTensor } from "../../src/tensor/index.ts"
import { readTtsTokenizer, ttsPromptLayout } from "../../src/tokenizer/index.ts"
import { runSteps } from "../../src/util/index.ts"
import { type GoldenSet, rangedArray, readArrays } from "./golden-set.ts"
import type { CaseReport } from "./report.ts"
import type { CaseRunner } from "./runner.ts"

/** The speaking models of a set on a device, in exact float32. */
export async function loadSpeech(set: GoldenSet, executor: Executor): Promise<SpeechParts> {
  const config = await readJsonObject(set.checkpointFolder, "config.json")
  const weights = await readSpeechWeights(config, set.checkpoint)
  return await loadSpeechParts(config, weights, await openPt(set.checkpointFolder, VOCOS_FILE), executor)
}

/** What speech knows of text. */
export async function loadText(set: GoldenSet) {
  const config = await readJsonObject(set.checkpointFolder, "config.json")
  const tokenizer = await readTtsTokenizer({ readText: (path) => readText(set.checkpointFolder, path) })
  return { tokenizer, layout: ttsPromptLayout(tokenizer, config.tts_config as { [key: string]: number }) }
}

function codesOf(value: HostTensor): CodeFrame[] {
  const [frames, codebooks] = value.shape as [number, number]
  return Array.from({ length: frames }, (_, i) =>
    Array.from(value.data.subarray(i * codebooks, (i + 1) * codebooks), Number),
  )
}

function stack(parts: readonly Float32Array[]): HostTensor {
  const data = parts.flatMap((part) => [...part])
  return f32([data.length], data)
}

/** Cached rows of the slots or positions [begin, end), [G, end - begin, K]. */
function cachedRows(
  { decoder, state }: { readonly decoder: SpeechDecoder; readonly state: SpeechDecoderState },
  layer: number,
  part: "keys" | "values",
  [begin, end]: readonly [number, number],
): HostTensor {
  const { length, slots } = state.cache.snapshot()
  const { numAttentionHeads, headSize } = decoder.config
  const data = slots[ttsSlot(layer)]![part]
  const parts: Float32Array[] = []
  for (let group = 0; group < numAttentionHeads; group++) {
    for (let slot = begin; slot < end; slot++) {
      const at = (group * length + state.rows.indexOf(slot)) * headSize
      parts.push(data.slice(at, at + headSize))
    }
  }
  return stack(parts)
}

const tts: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const { decoder } = await loadSpeech(set, executor)
  const { numVq, numHiddenLayers } = decoder.config
  const { projected, speaker } = await decoder.speaker(f32Data(inputs.spk_state!))
  report.close("spk_projected", stack([projected]), outputs.spk_projected!)
  report.close("spk_normalized", stack([speaker]), outputs.spk_normalized!)
  const ids = Array.from(inputs.text_ids!.data, Number)
  const textTokens = golden.params.known_tokens_in_mask as number
  const sampling = codeSampling(decoder.config)
  let state = decoder.init()
  for (const [i, [begin, end]] of (golden.params.chunks as [number, number][]).entries()) {
    const [{ hidden }, next] = await decoder.prefillText(
      state,
      ids.slice(begin, end),
      begin,
      i === 0 ? speaker : undefined,
    )
    report.close(`text_hidden_${i}`, hidden, outputs[`text_hidden_${i}`]!)
    state = next
  }
  const compareRows = (name: string, layer: number, part: "keys" | "values") => {
    const { array, range } = rangedArray(outputs, name)
    report.close(name, cachedRows({ decoder, state }, layer, part, range as [number, number]), array)
  }
  compareRows("layer0_keys", 0, "keys")
  compareRows("last_layer_values", numHiddenLayers - 1, "values")

  const [total] = outputs.codes_all!.shape as [number]
  const [callFrames] = outputs.codes_first!.shape as [number]
  const hiddens: Float32Array[] = []
  const logits: Float32Array[] = []
  for (let i = 0; i < total; i++) {
    const [rows, next] = await decoder.step(state, textTokens)
    hiddens.push(f32Data(rows.hidden))
    logits.push(f32Data(rows.logits))
    const warped = outputs[`warped_probs_step${i}`]
    const context = { frames: state.frames }
    if (warped) {
      const probabilities = codeProbabilities(f32Data(rows.logits), numVq, sampling, context)
      report.close(`warped_probs_step${i}`, stack(probabilities), warped)
    }
    const isBanned = golden.params.force_no_stop !== false || i % callFrames < DEFAULT_MIN_FRAMES
    const banned = isBanned ? decoder.endCode : undefined
    const rowsOf = codeProbabilities(f32Data(rows.logits), numVq, sampling, { ...context, banned })
    state = decoder.addFrame(next, rowsOf.map(drawMostLikely))
  }
  report.close("audio_hidden_first3", stack(hiddens.slice(0, 3)), outputs.audio_hidden_first3!)
  report.close("logits_first3", stack(logits.slice(0, 3)), outputs.logits_first3!)
  const middle = rangedArray(outputs, "logits")
  report.close("logits in the middle", stack(logits.slice(middle.range[0], middle.range[1]! + 1)), middle.array)
  report.close("logits_last", stack(logits.slice(-1)), outputs.logits_last!)
  report.equal("codes_first", state.frames.slice(0, outputs.codes_first!.shape[0]), codesOf(outputs.codes_first!))
  report.equal("codes_all", state.frames, codesOf(outputs.codes_all!))
}

type MaskData = readonly {
  readonly text_tokens: number
  readonly position: number
  readonly mask_length: number
  readonly visible_runs_inclusive: readonly (readonly [number, number])[]
}[]

const ttsMask: CaseRunner = async ({ set, golden }, report) => {
  const config = parseTtsConfig(await readJsonObject(set.checkpointFolder, "config.json"))
  const rows = JSON.parse(await readText(set.folder, golden.data!)) as MaskData
  for (const { text_tokens: textTokens, position, visible_runs_inclusive: runs } of rows) {
    // Every slot is filled: row 0 is the row of zeros, row i + 1 has position i.
    const cached = Int32Array.from({ length: position + 1 }, (_, row) => row - 1)
    const visible = { textSlots: visibleTextSlots(position, textTokens, config), audio: true }
    const line = cacheMask(cached, cached.length, visible, config)
    const seen = [...line.subarray(1).entries()].filter(([, score]) => score === 0).map(([slot]) => slot)
    if (position > audioStart(config)) seen.push(position)
    const want = runs.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => first + i))
    report.equal(`${textTokens} tokens at ${position}`, seen, want)
  }
}

const ttsRepetitionPenalty: CaseRunner = async ({ set, golden }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const histories = codesOf(inputs.history!)
  const width = inputs.logits!.shape[1]!
  const rows = histories.map((history, row) => {
    const line = f32Data(inputs.logits!).slice(row * width, (row + 1) * width)
    penalizeRepetition(line, history, golden.params.penalty as number)
    return line
  })
  report.close("logits", stack(rows), outputs.logits!)
}

const ttsPrefillAudio: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const { decoder } = await loadSpeech(set, executor)
  const { speaker } = await decoder.speaker(f32Data(inputs.spk_state!))
  const ids = Array.from(inputs.text_ids!.data, Number)
  const [, withText] = await decoder.prefillText(decoder.init(), ids, 0, speaker)
  const frames = codesOf(inputs.codes!)
  // The last frame only waits to be the next input: one more lets all of the case's enter the cache.
  const [{ hidden }, state] = await decoder.prefillAudio(
    withText,
    [...frames, frames[0]!],
    golden.params.text_mask_tokens as number,
  )
  report.close("hidden", hidden, outputs.hidden!)
  const first = audioStart(decoder.config)
  const end = first + state.audioRows
  report.equal("cache length", end, golden.params.cache_length)
  const keys = cachedRows({ decoder, state }, decoder.config.numHiddenLayers - 1, "keys", [first, end])
  report.close("last_layer_keys", keys, rangedArray(outputs, "last_layer_keys").array)
}

/** Rows and columns exchanged, of the last two dims of a batch of one. */
function transposed(value: HostTensor): HostTensor {
  const [rows, columns] = value.shape.slice(-2) as [number, number]
  const out = new Float32Array(rows * columns)
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = f32Data(value)[i * columns + j]!
  return f32([columns, rows], out)
}

const dvaeDecode: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const { codec } = await loadSpeech(set, executor)
  const program = await executor.compile(dvaeDecodeGraph(codec.config, { keepFeatures: true }), codec.weights)
  const codes = { ...inputs.codes!, shape: [1, ...inputs.codes!.shape] } as HostTensor
  const { features, mel } = await executor.run(program, { codes })
  report.close("features", transposed(features!), outputs.features!)
  report.close("mel", mel!, outputs.mel!)
  const [rows, total] = inputs.codes!.shape as [number, number]
  const frames = Array.from({ length: total }, (_, t) =>
    Array.from({ length: rows }, (__, r) => Number(codes.data[r * total + t])),
  )
  report.close("mel of the codec", await codec.decode(frames), outputs.mel!)
  // The recorded tables are without the scale of their stage.
  const { digits } = codec.config
  const table = fsqTable(digits)
  const vectors = Array.from(inputs.table_codes!.data as BigInt64Array, (code) =>
    table.slice(Number(code) * digits, (Number(code) + 1) * digits),
  )
  const tables = Object.keys(outputs).filter((key) => key.startsWith("table_stage"))
  report.equal("stages", tables.length, codec.config.codebooks / 2)
  for (const name of tables) report.close(name, stack(vectors), outputs[name]!)
}

const dvaeEncode: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const { codec } = await loadSpeech(set, executor)
  const program = await executor.compile(dvaeEncodeGraph(codec.config, { keepLatents: true }), codec.weights)
  const mel = f32([1, ...inputs.mel!.shape], f32Data(inputs.mel!))
  const { latents, codes } = await executor.run(program, { mel })
  report.close("encoder_out", latents!, outputs.encoder_out!)
  report.equal("codes", Array.from(codes!.data, Number), Array.from(outputs.codes!.data, Number))
  const [rows, total] = outputs.codes!.shape as [number, number]
  const frames = await codec.encode(inputs.mel!)
  const got = Array.from({ length: rows }, (_, r) => Array.from({ length: total }, (__, t) => frames[t]![r]!))
  report.equal("codes of the codec", got, codesOf(outputs.codes!))
}

const vocos: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const { vocoder } = await loadSpeech(set, executor)
  const program = await executor.compile(vocosGraph(vocoder.config, { keepBackbone: true }), vocoder.weights)
  const [bins, total] = inputs.mel!.shape as [number, number]
  const mel = f32Data(inputs.mel!)
  const { backbone, head } = await executor.run(program, { mel: f32([1, bins, total], mel) })
  report.close("backbone", backbone!, outputs.backbone!)
  report.close("head_linear", head!, outputs.head_linear!)
  report.close("wave", stack([await vocoder.render(inputs.mel!)]), outputs.wave!)
  const first = Float32Array.from({ length: bins }, (_, m) => mel[m * total]!)
  report.close("wave_one_frame", stack([await vocoder.render(f32([bins, 1], first))]), outputs.wave_one_frame!)
}

/** One call of the speech decoder: frames drawn with the end frame, frames of the segment so far. */
export type SpeechCall = { readonly steps: number; readonly total: number; readonly finished: boolean }

/** Speaks the case's pieces; what was decoded and drawn on the way. */
async function speakPieces(
  set: GoldenSet,
  { decoder, codec, vocoder }: SpeechParts,
  spkState: HostTensor,
  { pieces, delivery }: { readonly pieces: readonly string[]; readonly delivery: Delivery },
) {
  const decoded: { readonly frames: readonly CodeFrame[]; readonly mel: HostTensor }[] = []
  const recording = {
    decode: async (frames: readonly CodeFrame[]) => {
      const mel = await codec.decode(frames)
      decoded.push({ frames, mel })
      return mel
    },
  }
  const stream = new SpeechStream(decoder, { codec: recording, vocoder }, await loadText(set), {
    sampling: codeSampling(decoder.config),
    draw: drawMostLikely,
    rendering: { ...REFERENCE_RENDERING, delivery },
    callFrames: CALL_FRAMES,
    firstCallFrames: CALL_FRAMES,
  })
  const delivered: SpeechPiece[] = []
  const calls: SpeechCall[] = []
  let state = await stream.init(f32Data(spkState))
  const run = async (steps: ReturnType<SpeechStream["next"]>) => {
    const before = state
    const [piece, next] = await runSteps(steps)
    state = next
    if (piece) delivered.push(piece)
    if (next.chunk !== before.chunk + 1) return // no call
    const { frames, finished } = next.decoder
    calls.push({
      steps: frames.length - before.decoder.frames.length + (finished ? 1 : 0),
      total: frames.length,
      finished,
    })
  }
  const finish = async () => {
    while (state.phase !== "listening" && state.phase !== "done") await run(stream.next(state))
  }
  for (const piece of pieces) {
    await run(stream.push(state, piece))
    await finish()
  }
  state = stream.close(state)
  await finish()
  return { decoded, delivered, calls }
}

/** Pieces of sound and text against the case's; `wants` are its names for them. */
export function checkDelivery(
  report: CaseReport,
  delivered: readonly Pick<SpeechPiece, "pcm" | "text">[],
  {
    lengths,
    texts,
    waves,
  }: { readonly lengths: unknown; readonly texts: unknown; readonly waves: readonly HostTensor[] },
): void {
  report.equal(
    "wave lengths",
    delivered.map(({ pcm }) => pcm.length),
    lengths,
  )
  report.equal(
    "texts",
    delivered.map(({ text }) => text),
    texts,
  )
  report.close("all samples", stack(delivered.map(({ pcm }) => pcm)), stack(waves.map(f32Data)))
}

export const DELIVERIES: { readonly [name: string]: Delivery } = { emit_early: "emit-early", hold: "hold" }

const speechStream: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const { params } = golden
  const parts = await loadSpeech(set, executor)
  const numbered = (name: string) =>
    Object.keys(outputs)
      .filter((key) => key.startsWith(name))
      .map((_, i) => outputs[`${name}${i}`]!)
  const waves = numbered("wave_")
  const first = { pieces: params.pieces, delivery: DELIVERIES[params.first_piece]! }
  const { decoded, delivered, calls } = await speakPieces(set, parts, inputs.spk_state!, first)
  report.equal("calls", calls, params.generate_calls)
  for (const [i, codes] of numbered("decoded_codes_").entries()) {
    report.equal(`decoded_codes_${i}`, decoded[i]?.frames, codesOf(codes))
  }
  for (const [i, mel] of numbered("mel_").entries()) if (decoded[i]) report.close(`mel_${i}`, decoded[i].mel, mel)
  for (const [i, wave] of waves.entries()) {
    if (delivered[i]) report.close(`wave_${i}`, stack([delivered[i].pcm]), wave)
  }
  checkDelivery(report, delivered, { lengths: params.wave_lengths, texts: params.texts, waves })
  if (!params.hold_first_wave_lengths) return
  const held = await speakPieces(set, parts, inputs.spk_state!, { pieces: params.pieces, delivery: "hold" })
  const { hold_first_wave_lengths: lengths, hold_first_texts: texts } = params
  checkDelivery(report, held.delivered, { lengths, texts, waves })
}

const speechChat: CaseRunner = async ({ set, golden, executor }, report) => {
  const { inputs, outputs } = await readArrays(set, golden)
  const { decoder, codec, vocoder } = await loadSpeech(set, executor)
  const drawn: number[] = []
  const options = { ...(await loadText(set)), sampling: codeSampling(decoder.config), draw: drawMostLikely }
  const answer = golden.params.answer as string
  const frames = await runSteps(
    speakWhole(decoder, f32Data(inputs.spk_state!), answer, options, (count) => drawn.push(count)),
  )
  const calls = golden.params.generate_calls as SpeechCall[]
  report.equal(
    "frames of each call",
    drawn,
    calls.map(({ steps }) => steps),
  )
  report.equal("frames", frames.length, calls.at(-1)!.total)
  const mel = await codec.decode(frames)
  report.close("mel", mel, outputs.mel!)
  report.close("wave", stack([await vocoder.render(mel)]), outputs.wave!)
}

export const speechCases = {
  tts,
  tts_mask: ttsMask,
  tts_repetition_penalty: ttsRepetitionPenalty,
  tts_prefill_audio: ttsPrefillAudio,
  dvae_decode: dvaeDecode,
  dvae_encode: dvaeEncode,
  vocos,
  speech_stream: speechStream,
  speech_stream_short: speechStream,
  speech_stream_rollover: speechStream,
  speech_stream_hold_first: speechStream,
  speech_chat: speechChat,
}

/**
 * @file The audio encoder at work: mel frames in, tokens for the language model out. Streaming calls keep what was heard
 * in a cache; the offline path runs padded segments block by block over a cache of its own, which computes what the
 * official single pass computes, in steps of bounded length.
 * Source: `get_audio_embedding_streaming` and `get_audio_embedding` of the official modeling_minicpmo.py.
 */
import { audioLengths } from "../audio/index.ts"
import type { Checkpoint } from "../checkpoint/index.ts"
import {
  AUDIO_ENCODER_PREFIX,
  AUDIO_PROJECTOR_PREFIX,
  type AudioConfig,
  audioFrontGraph,
  audioLayersGraph,
  audioProjectorGraph,
  audioProjectorSpec,
  audioSlot,
  chunkFrames,
  whisperEncoderSpec,
} from "../models/minicpmo/index.ts"
import type { Executor, KvCache, Program, WeightStore } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor, i64 } from "../tensor/index.ts"
import { InputError, ShapeError, type Steps } from "../util/index.ts"
import { audioCacheMask } from "./audio-mask.ts"
import { readComponent } from "./component-weights.ts"

export type AudioEncoderParts = {
  readonly config: AudioConfig
  readonly executor: Executor
  /** Weights under `apm.` and under `audio_projection_layer.`. */
  readonly encoder: WeightStore
  readonly projector: WeightStore
  /** Layers of one step; all of them when absent. */
  readonly layersPerStep?: number
  /** The offline path takes whole blocks together up to so many frames; 128 when absent. */
  readonly framesPerStep?: number
}

/** What a stream has heard. A step that succeeds uses it up and returns the next one; fork the cache to keep both. */
export type AudioStream = { readonly cache: KvCache }

/** Both stores of a checkpoint. @throws CheckpointError naming missing, unused and mis-shaped tensors */
export async function readAudioWeights(
  checkpoint: Checkpoint,
  config: AudioConfig,
): Promise<Pick<AudioEncoderParts, "encoder" | "projector">> {
  return {
    encoder: await readComponent(checkpoint, whisperEncoderSpec(config), AUDIO_ENCODER_PREFIX),
    projector: await readComponent(checkpoint, audioProjectorSpec(config), AUDIO_PROJECTOR_PREFIX),
  }
}

/** Encoder frames of a stretch of mel frames: the second convolution has stride 2. */
export function encoderFrames(melFrames: number): number {
  return audioLengths(melFrames, 1, 1).encoderFrames
}

export class AudioEncoder {
  readonly config: AudioConfig
  private readonly executor: Executor
  private readonly front: Program
  private readonly layers: readonly Program[]
  private readonly projector: Program
  private readonly framesPerStep: number

  private constructor(parts: AudioEncoderParts, front: Program, layers: readonly Program[], projector: Program) {
    this.config = parts.config
    this.executor = parts.executor
    this.front = front
    this.layers = layers
    this.projector = projector
    this.framesPerStep = parts.framesPerStep ?? 128
  }

  static async load(parts: AudioEncoderParts): Promise<AudioEncoder> {
    const { config, executor, encoder, projector, layersPerStep = config.numLayers } = parts
    const layers: Program[] = []
    for (let first = 0; first < config.numLayers; first += layersPerStep) {
      const end = Math.min(config.numLayers, first + layersPerStep)
      layers.push(await executor.compile(audioLayersGraph(config, { first, end }), encoder))
    }
    const front = await executor.compile(audioFrontGraph(config), encoder)
    return new AudioEncoder(parts, front, layers, await executor.compile(audioProjectorGraph(config), projector))
  }

  /** A stream that has heard nothing. */
  init(): AudioStream {
    return { cache: this.createCache() }
  }

  /**
   * Encodes the next chunk of a stream. The chunk sees all that was heard and all of itself, without a mask: for one
   * second this is the offline rule, a longer clip in one call is attended in both directions throughout.
   *
   * Quirks, intended, as in the official code:
   * - chunk edges: both convolutions see zeros at both ends of every chunk;
   * - pooling per call: frames that fill no window give no token, but stay in the cache;
   * - reset: a chunk that would fill the positions (cached + new ≥ 1500 frames) forgets everything before it.
   *
   * A step that fails or is abandoned leaves the stream as it was.
   * @param mel log-mel of the chunk alone, [M, L]
   * @returns tokens [floor(A / poolStep), E] and the next state
   * @throws ShapeError for another number of mel bins, InputError when too short for one token or beyond 30 s
   */
  async *step(stream: AudioStream, mel: HostTensor): Steps<readonly [tokens: HostTensor<"f32">, next: AudioStream]> {
    const length = this.checkMel("audio.step", mel, 2)
    const count = encoderFrames(length)
    if (count < this.config.poolStep) {
      const fewest = 2 * this.config.poolStep - 1
      throw new InputError(
        `audio.step: expected at least ${fewest} mel frames, which make one token, got ${length} (join chunks)`,
      )
    }
    const { cache: heard } = stream
    const full = heard.length + count >= this.config.maxPositions
    const cache = full ? this.createCache() : heard
    const frames = await this.runFront(f32([1, ...mel.shape], f32Data(mel)), cache.length)
    yield
    const hidden = yield* this.runLayers(cache, frames, undefined)
    const tokens = await this.project(hidden)
    cache.advance(count)
    return [tokens, { cache }]
  }

  /**
   * Encodes padded segments, each on its own. Frames attend to all frames up to the end of their block.
   *
   * Quirks, intended, as in the official code: a segment shorter than the longest one attends, in its last block, to
   * padded frames up to its length in mel frames; and for an odd length the second convolution sees the first one's
   * answer to padding where a single segment has zeros.
   * @param mel [B, M, L], right-padded with 0.0
   * @param melLengths valid mel frames of each segment, [B]
   * @param chunkSeconds length of a block; 0 or less: the whole segment is one block
   * @returns tokens [floor(A / poolStep), E] of each segment
   * @throws ShapeError or InputError when shapes and lengths do not fit, a segment exceeds 30 s or has no token
   */
  async *encode(
    mel: HostTensor,
    melLengths: readonly number[],
    chunkSeconds: number = this.config.chunkSeconds,
  ): Steps<HostTensor<"f32">[]> {
    const length = this.checkMel("audio.encode", mel, 3)
    if (melLengths.length !== mel.shape[0]) {
      throw new ShapeError(`audio.encode: expected ${mel.shape[0]} lengths, got ${melLengths.length}`)
    }
    const fewest = 2 * this.config.poolStep - 1
    for (const [b, valid] of melLengths.entries()) {
      if (Number.isInteger(valid) && valid >= fewest && valid <= length) continue
      throw new InputError(
        `audio.encode: expected segment ${b} to have ${fewest} to ${length} mel frames, got ${valid}`,
      )
    }
    const blockFrames = chunkFrames(chunkSeconds)
    const segments: HostTensor<"f32">[] = []
    const width = this.config.melBins * length
    for (const [b, valid] of melLengths.entries()) {
      if (b > 0) yield
      const row = f32([1, this.config.melBins, length], f32Data(mel).subarray(b * width, (b + 1) * width))
      segments.push(yield* this.encodeSegment(row, valid, blockFrames))
    }
    return segments
  }

  private async *encodeSegment(
    mel: HostTensor<"f32">, // [1, M, L], padded
    valid: number,
    blockFrames: number | undefined,
  ): Steps<HostTensor<"f32">> {
    const { hiddenSize } = this.config
    const wanted = encoderFrames(valid)
    // Nothing after this frame is attended to by a wanted one: the padding test ends at the mel length.
    const heardBlocks = blockFrames === undefined ? Number.POSITIVE_INFINITY : roundUp(wanted, blockFrames)
    const end = Math.min(encoderFrames(mel.shape[2]!), valid, heardBlocks)
    const frames = f32Data(await this.runFront(firstFrames(mel, 2 * end), 0)) // what follows is padding, zeros
    const cache = this.createCache()
    const hidden = new Float32Array(wanted * hiddenSize)
    const perStep = blockFrames === undefined ? end : Math.max(blockFrames, roundDown(this.framesPerStep, blockFrames))
    yield
    for (let start = 0; start < end; start += perStep) {
      const count = Math.min(end - start, perStep)
      const part = f32([1, count, hiddenSize], frames.subarray(start * hiddenSize, (start + count) * hiddenSize))
      const out = f32Data(yield* this.runLayers(cache, part, blockFrames))
      cache.advance(count)
      hidden.set(out.subarray(0, hidden.length - start * hiddenSize), start * hiddenSize)
    }
    return await this.project(f32([1, wanted, hiddenSize], hidden))
  }

  private createCache(): KvCache {
    const { numLayers, numHeads: kvHeads, hiddenSize } = this.config
    const headSize = hiddenSize / kvHeads
    const spec = Array.from({ length: numLayers }, (_, layer) => ({ name: audioSlot(layer), kvHeads, headSize }))
    return this.executor.createCache(spec, 1)
  }

  /** @returns frames [1, A, D] at positions `first` and on */
  private async runFront(mel: HostTensor, first: number): Promise<HostTensor> {
    const count = encoderFrames(mel.shape[2]!)
    const positions = Array.from({ length: count }, (_, a) => first + a)
    return (await this.executor.run(this.front, { mel, positionIds: i64([count], positions) })).frames!
  }

  /** All layers over new frames [1, T, D]; their keys and values are staged, the caller advances the cache. */
  private async *runLayers(cache: KvCache, frames: HostTensor, blockFrames: number | undefined): Steps<HostTensor> {
    let hidden = frames
    const steps = frames.shape[1]!
    cache.reserve(cache.length + steps) // the mask is as wide as the buffer, which must not grow from here on
    const attentionMask = audioCacheMask(cache, steps, blockFrames)
    for (const program of this.layers) {
      const outputs = await this.executor.run(program, { frames: hidden, attentionMask }, { cache, advance: false })
      hidden = outputs.hidden!
      yield
    }
    return hidden
  }

  /** Tokens [floor(T / poolStep), E] of hidden states [1, T, D]. */
  private async project(hidden: HostTensor): Promise<HostTensor<"f32">> {
    const tokens = (await this.executor.run(this.projector, { hidden })).tokens!
    return f32(tokens.shape.slice(1), f32Data(tokens))
  }

  /** @returns L of mel features [M, L] or [B, M, L] */
  private checkMel(where: string, mel: HostTensor, rank: 2 | 3): number {
    const { melBins, maxPositions } = this.config
    if (mel.dtype !== "f32" || mel.shape.length !== rank || mel.shape.at(-2) !== melBins) {
      const wanted = rank === 2 ? `[${melBins}, L]` : `[B, ${melBins}, L]`
      throw new ShapeError(`${where}: expected mel f32 ${wanted}, got ${mel.dtype} [${mel.shape.join(", ")}]`)
    }
    const length = mel.shape.at(-1)!
    if (length > 2 * maxPositions) {
      throw new InputError(`${where}: expected at most ${2 * maxPositions} mel frames, got ${length} (split the audio)`)
    }
    return length
  }
}

function roundUp(count: number, multiple: number): number {
  return Math.ceil(count / multiple) * multiple
}

function roundDown(count: number, multiple: number): number {
  return Math.floor(count / multiple) * multiple
}

/** The first `count` frames of [1, M, L], or all. */
function firstFrames(mel: HostTensor<"f32">, count: number): HostTensor<"f32"> {
  const [, bins, length] = mel.shape as [number, number, number]
  if (count >= length) return mel
  const data = new Float32Array(bins * count)
  for (let m = 0; m < bins; m++) data.set(mel.data.subarray(m * length, m * length + count), m * count)
  return f32([1, bins, count], data)
}

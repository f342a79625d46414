/** @file A small audio encoder with random weights, and the single pass that it must equal. */
import {
  AUDIO_ENCODER_PREFIX,
  AUDIO_PROJECTOR_PREFIX,
  type AudioConfig,
  audioProjectorGraph,
  audioProjectorSpec,
  chunkFrames,
  whisperEncoderGraph,
  whisperEncoderSpec,
} from "../models/minicpmo/index.ts"
import type { Executor, WeightStore } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor, i64 } from "../tensor/index.ts"
import { createRandom, runSteps } from "../util/index.ts"
import { AudioEncoder, type AudioStream, encoderFrames } from "./audio-encoder.ts"
import { audioSegmentMask } from "./audio-mask.ts"
import { randomWeights } from "./random-weights.test-util.ts"

/** Other sizes than any checkpoint's; blocks of 10 frames, 40 positions. */
export const SMALL: AudioConfig = {
  hiddenSize: 12,
  numLayers: 2,
  numHeads: 3,
  ffnSize: 48,
  melBins: 5,
  maxPositions: 40,
  tokenSize: 7,
  poolStep: 2,
  chunkSeconds: 0.2,
}

export type SmallOptions = {
  readonly config?: AudioConfig
  readonly layersPerStep?: number
  readonly framesPerStep?: number
}

/** Sharp scores, so that attention is far from uniform; the first convolution has no bias, so that silence stays 0. */
export function smallWeights(config: AudioConfig): { encoder: WeightStore; projector: WeightStore } {
  const drawn = randomWeights(whisperEncoderSpec(config), AUDIO_ENCODER_PREFIX, 1)
  const gainOf = (name: string) => (name === "apm.conv1.bias" ? 0 : /[qk]_proj|embed_positions/.test(name) ? 4 : 1)
  const encoder: WeightStore = {
    ...drawn,
    read: (name, dtype, shape) => {
      const gain = gainOf(name)
      return f32(
        shape,
        f32Data(drawn.read(name, dtype, shape)).map((x) => gain * x),
      )
    },
  }
  return { encoder, projector: randomWeights(audioProjectorSpec(config), AUDIO_PROJECTOR_PREFIX, 2) }
}

export async function smallEncoder(executor: Executor, options: SmallOptions = {}): Promise<AudioEncoder> {
  const { config = SMALL, ...rest } = options
  return await AudioEncoder.load({ config, executor, ...smallWeights(config), ...rest })
}

/** Random mel [M, L]. */
export function randomMel(length: number, seed: number, bins = SMALL.melBins): HostTensor<"f32"> {
  const random = createRandom(seed)
  return f32(
    [bins, length],
    Float32Array.from({ length: bins * length }, () => 2 * random() - 1),
  )
}

/** Mel frames [start, end) of [M, L]. */
export function melSlice(mel: HostTensor<"f32">, start: number, end: number): HostTensor<"f32"> {
  const [bins, length] = mel.shape as [number, number]
  const data = new Float32Array(bins * (end - start))
  for (let m = 0; m < bins; m++) data.set(mel.data.subarray(m * length + start, m * length + end), m * (end - start))
  return f32([bins, end - start], data)
}

/** Right-pads with zeros and stacks to [B, M, L]. */
export function padBatch(mels: readonly HostTensor<"f32">[], length?: number): HostTensor<"f32"> {
  const longest = length ?? Math.max(...mels.map(({ shape }) => shape[1]!))
  const bins = mels[0]!.shape[0]!
  const data = new Float32Array(mels.length * bins * longest)
  for (const [b, { data: values, shape }] of mels.entries()) {
    for (let m = 0; m < bins; m++) {
      data.set(values.subarray(m * shape[1]!, (m + 1) * shape[1]!), (b * bins + m) * longest)
    }
  }
  return f32([mels.length, bins, longest], data)
}

/** Tokens of each segment by the graph that sees whole segments under a mask, without a cache. */
export async function singlePass(
  executor: Executor,
  config: AudioConfig,
): Promise<(mel: HostTensor, melLengths: readonly number[], chunkSeconds: number) => Promise<HostTensor<"f32">[]>> {
  const weights = smallWeights(config)
  const encoder = await executor.compile(whisperEncoderGraph(config), weights.encoder)
  const projector = await executor.compile(audioProjectorGraph(config), weights.projector)
  return async (mel, melLengths, chunkSeconds) => {
    const frames = encoderFrames(mel.shape[2]!)
    const positionIds = i64([frames], [...new Array(frames).keys()])
    const attentionMask = audioSegmentMask(melLengths, frames, chunkFrames(chunkSeconds))
    const { hidden } = await executor.run(encoder, { mel, positionIds, attentionMask })
    const tokens = (await executor.run(projector, { hidden: hidden! })).tokens!
    const [, count, width] = tokens.shape as [number, number, number]
    return melLengths.map((melLength, b) => {
      const rows = Math.floor(encoderFrames(melLength) / config.poolStep)
      return f32([rows, width], f32Data(tokens).slice(b * count * width, (b * count + rows) * width))
    })
  }
}

/** All chunks through one stream: their tokens and the cache length after each. */
export async function streamAll(
  encoder: AudioEncoder,
  chunks: readonly HostTensor[],
): Promise<{ tokens: HostTensor<"f32">[]; lengths: number[]; state: AudioStream }> {
  let state = encoder.init()
  const tokens: HostTensor<"f32">[] = []
  const lengths: number[] = []
  for (const chunk of chunks) {
    const [out, next] = await runSteps(encoder.step(state, chunk))
    tokens.push(out)
    lengths.push(next.cache.length)
    state = next
  }
  return { tokens, lengths, state }
}

/** Rows of all parts below each other. */
export function stack(parts: readonly HostTensor<"f32">[]): HostTensor<"f32"> {
  const rows = parts.reduce((sum, { shape }) => sum + shape[0]!, 0)
  return f32([rows, parts[0]!.shape[1]!], Float32Array.from(parts.flatMap(({ data }) => [...data])))
}

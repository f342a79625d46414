import { expect, test } from "vitest"
import { evalShape, verify } from "../../graph/index.ts"
import { flattenSpec, sizeOf } from "../../tensor/index.ts"
import { AUDIO_PROJECTOR_PREFIX, audioProjectorGraph, audioProjectorSpec } from "./audio-projector.ts"
import { parseAudioConfig } from "./config-audio.ts"
import {
  AUDIO_ENCODER_PREFIX,
  audioFrontGraph,
  audioLayersGraph,
  whisperEncoderGraph,
  whisperEncoderSpec,
} from "./whisper-encoder.ts"

const encoder = { d_model: 1024, encoder_layers: 24, encoder_attention_heads: 16, encoder_ffn_dim: 4096 }
const official = parseAudioConfig({ hidden_size: 3584, audio_config: encoder })

test("the official checkpoint's tensors: 367 with 307,216,384 parameters, and 4 of the projector", () => {
  const specs = flattenSpec(whisperEncoderSpec(official), AUDIO_ENCODER_PREFIX)
  expect(specs.size).toBe(367)
  expect([...specs.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(307_216_384)
  expect(specs.get("apm.layers.23.self_attn_layer_norm.weight")?.shape).toEqual([1024])
  expect(specs.has("apm.layers.0.self_attn.k_proj.bias")).toBe(false)
  expect(
    [...flattenSpec(audioProjectorSpec(official), AUDIO_PROJECTOR_PREFIX)].map(([name, { shape }]) => [name, shape]),
  ).toEqual([
    ["audio_projection_layer.linear1.weight", [3584, 1024]],
    ["audio_projection_layer.linear1.bias", [3584]],
    ["audio_projection_layer.linear2.weight", [3584, 3584]],
    ["audio_projection_layer.linear2.bias", [3584]],
  ])
})

test("graphs at full size: 100 mel frames are 50 frames, which pool to 25 tokens", () => {
  const front = audioFrontGraph(official)
  const layers = audioLayersGraph(official, { first: 4, end: 8 })
  const projector = audioProjectorGraph(official, { inspect: true })
  const whole = whisperEncoderGraph(official, { inspect: true })
  for (const graph of [front, layers, projector, whole]) verify(graph)
  const frames = front.outputs.get("frames")!.shape
  expect([99, 100, 101].map((length) => evalShape(frames, new Map(Object.entries({ B: 1, L: length }))))).toEqual([
    [1, 50, 1024],
    [1, 50, 1024],
    [1, 51, 1024],
  ])
  expect(layers.cacheSlots.map(({ name, headSize }) => [name, headSize])).toEqual(
    [4, 5, 6, 7].map((layer) => [`layers.${layer}`, 64]),
  )
  const tokens = projector.outputs.get("tokens")!.shape
  expect([50, 51].map((length) => evalShape(tokens, new Map(Object.entries({ B: 1, T: length }))))).toEqual([
    [1, 25, 3584],
    [1, 25, 3584],
  ])
  expect([...whole.outputs.keys()].slice(0, 4)).toEqual(["hidden", "conv2", "layers.0", "layers.1"])
})

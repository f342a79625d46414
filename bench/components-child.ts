/**
 * @file One component at full size as a child process of its benchmark, so that its peak memory is its own: one JSON
 * request per line on standard input, one reply per line on standard output.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { openFolder } from "../src/checkpoint/index.node.ts"
import { openPt } from "../src/checkpoint/index.ts"
import { openBundle } from "../src/convert/index.node.ts"
import { PREPROCESSOR } from "../src/convert/index.ts"
import { parseImageConfig } from "../src/image/index.ts"
import {
  AudioEncoder,
  type CodeFrame,
  DEFAULT_CODE_SAMPLING,
  drawMostLikely,
  initRendering,
  LIVE_RENDERING,
  loadSpeechParts,
  renderFrames,
  SAMPLES_PER_CODE_FRAME,
  stripsOf,
  VisionEncoder,
} from "../src/inference/index.ts"
import { parseAudioConfig, parseVisionConfig, VOCOS_FILE } from "../src/models/minicpmo/index.ts"
import { createOrtNodeExecutor } from "../src/runtime/index.node.ts"
import type { WeightStore } from "../src/runtime/index.ts"
import { f32, f32Data } from "../src/tensor/index.ts"
import { errorText, runSteps } from "../src/util/index.ts"
import { FULL_CONFIG, type Part } from "./component-bundles.ts"

/** A measurement: `run` does one and gives what was computed, to be compared with the other storage. */
export type Measured = {
  readonly milliseconds: number
  readonly peakRssBytes: number
  /** Base64 of float32 values. */
  readonly output: string
}
type Task = () => Promise<{ readonly milliseconds: number; readonly output: Float32Array }>

const executor = createOrtNodeExecutor({ device: "cpu", threads: Number(process.env.OMNI_BENCH_THREADS ?? 2) })
let tasks: { readonly [name: string]: Task } = {}

/** Noise that is always the same. */
function noise(length: number): Float32Array {
  let state = 12345
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  })
}

async function timed<T>(work: () => Promise<T>): Promise<readonly [milliseconds: number, T]> {
  const start = performance.now()
  const result = await work()
  return [performance.now() - start, result]
}

const LOADERS: { readonly [P in Part]: (store: WeightStore, folder: string) => Promise<typeof tasks> } = {
  async vision(store) {
    const image = parseImageConfig(PREPROCESSOR)
    const config = parseVisionConfig(FULL_CONFIG)
    const parts = { config, image, executor, siglip: store, resampler: store, layersPerStep: 4 }
    const vision = await VisionEncoder.load(parts)
    const encode = (side: number): Task => {
      const data = Uint8Array.from(noise(3 * side * side), (value) => Math.round(127 + 127 * value))
      return async () => {
        const [milliseconds, embeds] = await timed(() =>
          runSteps(vision.encode(stripsOf(vision.process([{ width: side, height: side, data }])))),
        )
        return { milliseconds, output: f32Data(embeds) }
      }
    }
    return { frame448: encode(448), image1344: encode(1344) }
  },

  async audio(store) {
    const config = parseAudioConfig(FULL_CONFIG)
    const parts = { config, executor, encoder: store, projector: store, layersPerStep: 12 }
    const audio = await AudioEncoder.load(parts)
    const mel = (seconds: number) => noise(config.melBins * 100 * seconds)
    /** The second after so many others, heard one by one as in calls. */
    const streamed = (before: number): Task => {
      let stream = audio.init()
      let heard = 0
      return async () => {
        for (; heard < before; heard++) {
          ;[, stream] = await runSteps(audio.step(stream, f32([config.melBins, 100], mel(1))))
        }
        const fork = { cache: stream.cache.fork() }
        const [milliseconds, [tokens]] = await timed(() =>
          runSteps(audio.step(fork, f32([config.melBins, 100], mel(1)))),
        )
        return { milliseconds, output: f32Data(tokens) }
      }
    }
    const offline: Task = async () => {
      const clip = f32([1, config.melBins, 3000], mel(30))
      const [milliseconds, [tokens]] = await timed(() => runSteps(audio.encode(clip, [3000])))
      return { milliseconds: milliseconds / 30, output: f32Data(tokens!) }
    }
    return { second1: streamed(0), second15: streamed(14), second29: streamed(28), clip30: offline }
  },

  async speech(store, folder) {
    await using source = openFolder(folder)
    const { shapeOf } = bundleOf(folder)
    const vocos = await openPt(source, VOCOS_FILE)
    const parts = await loadSpeechParts(FULL_CONFIG, { shapeOf, weights: store }, vocos, executor)
    const { decoder, codec, vocoder } = parts
    const frameMs = (SAMPLES_PER_CODE_FRAME / 24_000) * 1000
    const text = Array.from({ length: 60 }, (_, i) => (i * 37 + 5) % 1000)
    const { speaker } = await decoder.speaker(noise(decoder.config.llmDim))
    const codes: CodeFrame[] = Array.from({ length: 256 }, (_, i) =>
      Array.from({ length: decoder.config.numVq }, (_, r) => (i * 31 + r * 101) % 600),
    )
    /** One chunk of text and 25 frames, after `before` frames: what a call does for half a second. */
    const decode = (before: number): Task => {
      return async () => {
        let [, state] = await decoder.prefillText(decoder.init(), text.slice(0, 20), 0, speaker)
        ;[, state] = await decoder.prefillAudio(state, codes.slice(0, before), 18)
        const options = { textTokens: 28, maxFrames: 25, forceNoStop: true, draw: drawMostLikely }
        const [milliseconds, [, next]] = await timed(async () => {
          ;[, state] = await decoder.prefillText(state, text.slice(20, 30), 20)
          return await runSteps(decoder.generate(state, { ...options, sampling: DEFAULT_CODE_SAMPLING }))
        })
        const [{ logits }] = await decoder.prefillText(next, text.slice(30, 40), 30)
        return { milliseconds: (milliseconds / (25 * frameMs)) * 1000, output: f32Data(logits) }
      }
    }
    /** 25 more frames of a running utterance, as calls render them. */
    const rendered = (stage: "codec" | "vocoder"): Task => {
      return async () => {
        let codecMs = 0
        let vocoderMs = 0
        const renderer = {
          codec: {
            decode: async (frames: readonly CodeFrame[]) => {
              const [milliseconds, mel] = await timed(() => codec.decode(frames))
              codecMs += milliseconds
              return mel
            },
          },
          vocoder: {
            render: async (mel: Parameters<typeof vocoder.render>[0]) => {
              const [milliseconds, pcm] = await timed(() => vocoder.render(mel))
              vocoderMs += milliseconds
              return pcm
            },
          },
        }
        let state = initRendering(LIVE_RENDERING)
        ;[, state] = await renderFrames(renderer, state, codes.slice(0, 100), LIVE_RENDERING)
        codecMs = vocoderMs = 0
        const [pcm] = await renderFrames(renderer, state, codes.slice(0, 125), LIVE_RENDERING)
        const milliseconds = ((stage === "codec" ? codecMs : vocoderMs) / (25 * frameMs)) * 1000
        return { milliseconds, output: pcm }
      }
    }
    return { decoder100: decode(100), codec: rendered("codec"), vocoder: rendered("vocoder") }
  },
}

let opened: ReturnType<typeof openBundle> | undefined
function bundleOf(folder: string): ReturnType<typeof openBundle> {
  if (!opened) throw new Error(`${folder}: not open`)
  return opened
}

type LoadRequest = { readonly part: Part; readonly folder: string; readonly storage: string }

async function load({ part, folder, storage }: LoadRequest) {
  const start = performance.now()
  opened = openBundle(join(folder, storage))
  tasks = await LOADERS[part](opened.weights("int8"), folder)
  return { loadMs: performance.now() - start, peakRssBytes: peakRssBytes() }
}

function peakRssBytes(): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? 0) * 1024
}

async function run({ task }: { readonly task: string }): Promise<Measured> {
  const { milliseconds, output } = await tasks[task]!()
  const bytes = Buffer.from(output.buffer, output.byteOffset, output.byteLength)
  return { milliseconds, peakRssBytes: peakRssBytes(), output: bytes.toString("base64") }
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply: object
  try {
    const { cmd, ...request } = JSON.parse(line) as { cmd: string }
    reply = cmd === "load" ? await load(request as LoadRequest) : await run(request as { task: string })
  } catch (error) {
    reply = { error: errorText(error) }
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`)
}
process.exit(0)

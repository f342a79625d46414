/**
 * @file `npm run bench -- live --model DIR [--audio FILE] [--video FILE]`: how long an answer takes to come, piece by piece,
 * and what keeps up with real time. A recording (5 s of speech when absent) is said at the pace of a microphone, its end is
 * found by voice activity, and the answer is spoken. Flags: --pace realtime|max, --quantize KIND, --device, --threads N,
 * --runs N, --max-tokens N, --svg FILE, --busy (do not wait for a quiet machine); --video without a file takes recorded frames.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { concatPcm } from "../src/audio/index.ts"
import { openMedia } from "../src/cli/media-input.ts"
import { startEngine } from "../src/engine/index.node.ts"
import { DEVICES, type EngineClient, type ModelInfo, QUANTIZE_KINDS } from "../src/engine/index.ts"
import type { RgbImage } from "../src/image/index.ts"
import { readAudioFile } from "../src/media/index.ts"
import { cacheFolder, modelFolder } from "../src/omni.models.node.ts"
import type { CallEvent } from "../src/session/index.ts"
import { type Bench, median } from "./harness.ts"
import { figuresOf, spansOf, type Turn } from "./live-stages.ts"
import { quietMachine } from "./quiet.ts"
import { timelineSvg } from "./timeline-svg.ts"

const ASSETS = join(import.meta.dirname, "..", "test", "fixtures", "tiny-a", "assets")
const RATE = 16_000
/** As a browser's microphone delivers it. */
const PIECE = RATE / 25
/** So long nobody speaks before the end of a turn is no longer waited for. */
const MAX_SILENCE = 4 * RATE
/** Sound that may wait to be read before the microphone does. */
const MAX_BEHIND = 20 * RATE
const PACES = ["realtime", "max"] as const

const clock = () => performance.timeOrigin + performance.now()

type Input = { readonly name: string; readonly pcm: Float32Array; readonly frames: readonly (RgbImage | undefined)[] }

/** Two recordings, one after the other, cut to 5 s: speech to the end, so that the end of the sound is the end of speech. */
async function fiveSeconds(): Promise<Float32Array> {
  const names = ["speech_en.wav", "ref_voice.wav"]
  const parts = await Promise.all(names.map((name) => readAudioFile(join(ASSETS, "audio", name))))
  return concatPcm(parts.map(({ pcm }) => pcm)).slice(0, 5 * RATE)
}

async function readInput(bench: Bench): Promise<Input> {
  const { audio, video } = bench.flags
  const said = audio ? (await readAudioFile(audio)).pcm : await fiveSeconds()
  const name = `${(said.length / RATE).toFixed(1)} s of speech`
  if (video === undefined) return { name, pcm: said, frames: [] }
  const source = { video: video || join(ASSETS, "images") }
  const frames: (RgbImage | undefined)[] = []
  const seconds = Math.ceil(said.length / RATE)
  if (video === "") {
    for (let i = 0; i < seconds; i++) frames.push(await frameOf(join(ASSETS, "images", `frame_${i % 7}.png`)))
  } else {
    const media = await openMedia(source, { behaviour: "live", signal: new AbortController().signal })
    for await (const { frame } of media.units()) {
      frames.push(frame)
      if (frames.length === seconds) break
    }
    while (frames.length < seconds) frames.push(frames.at(-1))
  }
  const [first] = frames
  return { name: `${name} + video ${first?.width}x${first?.height}`, pcm: said, frames }
}

async function frameOf(file: string): Promise<RgbImage | undefined> {
  const media = await openMedia({ video: file }, { behaviour: "live", signal: new AbortController().signal })
  for await (const { frame } of media.units()) return frame
  return undefined
}

type Options = { readonly pace: (typeof PACES)[number]; readonly maxNewTokens: number; readonly seed: number }

/** One turn in a call of its own. */
async function measure(engine: EngineClient, input: Input, { pace, ...options }: Options): Promise<Turn> {
  const found: { event: CallEvent; atMs: number }[] = []
  await using call = await engine.call(
    { mode: input.frames.length > 0 ? "omni" : "audio_assistant", turns: {}, perceive: "always", ...options },
    { onEvent: (event) => void found.push({ event, atMs: clock() }) },
  )
  await engine.trace()
  const startMs = clock()
  let pushed = 0
  let behind = 0
  let failure: unknown
  const push = async (pcm: Float32Array, frame?: RgbImage) => {
    pushed += pcm.length
    const wait = startMs + (pushed / RATE) * 1000 - clock()
    if (pace === "realtime" && wait > 0) await sleep(wait)
    behind += pcm.length
    const taken = call.push({ pcm, ...(frame ? { frame } : {}) }).then(
      () => {
        behind -= pcm.length
      },
      (error: unknown) => {
        failure = error
      },
    )
    if (pace === "max" || behind > MAX_BEHIND) await taken
    if (failure) throw failure
  }
  const { pcm, frames } = input
  for (let at = 0; at < pcm.length; at += PIECE) {
    const end = Math.min(pcm.length, at + PIECE)
    // A second's frame is what is shown at its end.
    const second = Math.floor(at / RATE)
    const lastPiece = end === pcm.length || Math.floor(end / RATE) > second
    await push(pcm.slice(at, end), lastPiece ? frames[second] : undefined)
  }
  const endOf = () =>
    found.find(({ event }) => event.type === "speech-end" && event.atMs > (pcm.length / RATE) * 1000 - 100)
  for (let silence = 0; silence < MAX_SILENCE && !endOf(); silence += PIECE) await push(new Float32Array(PIECE))
  const end = endOf()
  const saidMs = end?.event.type === "speech-end" ? end.event.endMs : (pcm.length / RATE) * 1000
  const foundMs = end?.atMs ?? clock()
  let [firstTextMs, firstSoundMs]: (number | undefined)[] = []
  let [answerMs, tokens] = [0, 0]
  for await (const event of call.respond()) {
    if (event.type === "text-delta") firstTextMs ??= clock()
    if (event.type === "audio-delta") firstSoundMs ??= clock()
    if (event.type === "turn-end") [answerMs, tokens] = [event.audioMs, event.completionTokens]
  }
  const endMs = clock()
  const heardMs = found.reduce((sum, { event, atMs }) => {
    return event.type === "perceived" && atMs <= (firstTextMs ?? endMs) ? sum + event.audioMs : sum
  }, 0)
  const speechEndMs = pace === "realtime" ? Math.min(foundMs, startMs + saidMs) : foundMs
  return {
    ...{ startMs, speechEndMs, foundMs, firstSoundMs, endMs, answerMs, tokens },
    firstTextMs: firstTextMs ?? endMs,
    heardMs,
    spans: spansOf(await engine.trace()),
  }
}

export async function run(bench: Bench): Promise<void> {
  const { flags } = bench
  const pace = PACES.find((item) => item === (flags.pace ?? "realtime"))
  if (!pace) throw new Error(`--pace: expected ${PACES.join(", ")}, got ${flags.pace}`)
  const device = DEVICES.find((item) => item === (flags.device ?? "auto"))
  const quantize = QUANTIZE_KINDS.find((item) => item === (flags.quantize ?? "auto"))
  if (!device || !quantize) throw new Error("--device, --quantize: expected what omni live takes, got others")
  const number = (name: string, fallback: number) => {
    const value = Number(flags[name] ?? fallback)
    if (!(Number.isSafeInteger(value) && value > 0))
      throw new Error(`--${name}: expected a whole number, got ${flags[name]}`)
    return value
  }
  const runs = number("runs", 3)
  const maxNewTokens = number("max-tokens", 40)
  const input = await readInput(bench)
  const engine = startEngine()
  try {
    const info = await engine.load({
      ...{ model: await modelFolder(flags.model, process.env), device, quantize, trace: true },
      cacheFolder: cacheFolder(process.env),
      ...(flags.threads === undefined ? {} : { threads: number("threads", 1) }),
    })
    bench.row({ bench: "live.load", value: info.loadMs / 1000, unit: "s" })
    bench.note(`${describe(info)}; ${input.name}, pace ${pace}`)
    // Programs are made when they are first used; that is not what is measured.
    await measure(engine, input, { pace: "max", maxNewTokens: 12, seed: 0 })
    const turns: Turn[] = []
    let busy = 0
    for (let seed = 1; seed <= runs; seed++) {
      if (!(await quietMachine(flags.busy === undefined ? undefined : 500))) busy++
      turns.push(await measure(engine, input, { pace, maxNewTokens, seed }))
    }
    if (busy > 0) bench.note(`the machine was busy in ${busy} of ${runs} runs`)
    report(bench, turns, input.frames.length === 0)
    const { memoryBytes } = await engine.stats()
    bench.row({ bench: "live.memory", value: memoryBytes / 1e9, unit: "GB" })
    bench.row({
      bench: "live.peakMemory",
      value: (process.resourceUsage().maxRSS * 1024) / 1e9,
      unit: "GB",
      floor: "≤ 16",
    })
    const path = resolve(flags.svg || join(tmpdir(), "omni-bench", "live-timeline.svg"))
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, timelineSvg(turns.at(-1)!, `One turn: ${input.name}`, describe(info)))
    bench.note(`timeline of the last run: ${path}`)
  } finally {
    await engine.close()
  }
}

/** Medians over the runs, with all samples. */
function report(bench: Bench, turns: readonly Turn[], audioOnly: boolean): void {
  const all = turns.map(figuresOf)
  for (const { name, unit } of all[0]!) {
    const samples = all.flatMap((figures) => figures.find((figure) => figure.name === name)?.value ?? [])
    const floor = name === "listening.all" && audioOnly ? { floor: "< 1" } : {}
    bench.row({ bench: `live.${name}`, value: median(samples), unit, samples, ...floor })
  }
}

function describe({ name, device, quantize, layers, hiddenSize, untrained }: ModelInfo): string {
  return `${name}: ${layers} layers of ${hiddenSize}, ${quantize} on ${device}${untrained ? ", random weights" : ""}`
}

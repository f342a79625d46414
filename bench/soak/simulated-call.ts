/**
 * @file A live call with video, simulated as fast as the engine goes: speech and pauses, a frame a second, spoken answers that
 * are sometimes interrupted, typed text, a tool now and then, saving and restoring. Throws where something is wrong.
 */
import { readFileSync } from "node:fs"
import { concatPcm, readWavMono, resample } from "../../src/audio/index.ts"
import type { Engine, EngineCall } from "../../src/engine/index.ts"
import type { CallEvent, CallOptions } from "../../src/session/index.ts"
import { createRandom } from "../../src/util/index.ts"

const FIXTURES = new URL("../../test/fixtures/tiny-a/", import.meta.url)
/** A checkpoint of all parts with random weights, 24 MB. */
export const TINY_CHECKPOINT = new URL("checkpoint", FIXTURES).pathname
const RATE = 16_000
const CHUNK = RATE / 5

export type SimulatedCall = {
  readonly turns: number
  readonly simulatedMs: number
  readonly compactions: number
  readonly interruptions: number
  /** From `interrupt` to its return, sorted. */
  readonly interruptMs: readonly number[]
  readonly mostPositions: number
  /** Megabytes, one figure for each minute. */
  readonly memory: readonly number[]
  readonly snapshotBytes: readonly number[]
}

const OPTIONS: CallOptions = {
  mode: "omni",
  turns: { silenceMs: 400 },
  maxNewTokens: 24,
  lastFrameSlices: 2,
  tools: [
    { name: "look", parameters: { type: "object", properties: { far: { type: "boolean" } }, required: ["far"] } },
  ],
}

/** @param minutes of pushed sound */
export async function simulateCall(
  engine: Engine,
  minutes: number,
  { seed = 1, contextPositions = 2048 } = {},
): Promise<SimulatedCall> {
  const random = createRandom(seed)
  const { pcm, sampleRateHz } = readWavMono(readFileSync(new URL("assets/audio/speech_en.wav", FIXTURES)), "speech_en")
  const sentence = resample(pcm, sampleRateHz, RATE)
  const run = new Run(engine, random, { ...OPTIONS, contextPositions })
  await run.open()
  while (run.pushedMs < minutes * 60_000) {
    const pause = new Float32Array(Math.floor((0.6 + 2 * random()) * RATE))
    await run.hear(concatPcm([sentence.slice(0, Math.floor((0.4 + 0.6 * random()) * sentence.length)), pause]))
  }
  return await run.end()
}

class Run {
  pushedMs = 0
  private readonly engine: Engine
  private readonly random: () => number
  private readonly options: CallOptions
  private call!: EngineCall
  private ended = 0
  private turns = 0
  private compactions = 0
  private mostPositions = 0
  private readonly interruptMs: number[] = []
  private readonly memory: number[] = []
  private readonly snapshotBytes: number[] = []

  constructor(engine: Engine, random: () => number, options: CallOptions) {
    this.engine = engine
    this.options = options
    this.random = random
  }

  async open(snapshot?: Awaited<ReturnType<EngineCall["snapshot"]>>): Promise<void> {
    const onEvent = (event: CallEvent) => this.note(event)
    this.call = await this.engine.call(this.options, { onEvent, ...(snapshot ? { snapshot } : {}) })
  }

  private note(event: CallEvent): void {
    if (event.type === "speech-end") this.ended++
    if (event.type === "context-compacted") this.compactions++
    if (event.type === "input-dropped") throw new Error("the call dropped sound although every push was awaited")
    if (!("positions" in event)) return
    this.mostPositions = Math.max(this.mostPositions, event.positions)
    if (event.positions > this.options.contextPositions!)
      throw new Error(`${event.positions} positions are beyond the limit`)
  }

  async hear(sound: Float32Array): Promise<void> {
    for (let at = 0; at < sound.length; at += CHUNK) {
      const before = Math.floor(this.pushedMs / 1000)
      this.pushedMs += (Math.min(CHUNK, sound.length - at) / RATE) * 1000
      const second = Math.floor(this.pushedMs / 1000)
      const frame = second > before ? { frame: picture(second) } : {}
      await this.call.push({ pcm: sound.slice(at, at + CHUNK), ...frame })
      if (Math.floor(second / 60) > Math.floor(before / 60)) await this.everyMinute()
      if (this.ended > this.turns) await this.answer()
    }
  }

  private async everyMinute(): Promise<void> {
    this.memory.push((await this.engine.stats()).memoryBytes / 2 ** 20)
    const snapshot = await this.call.snapshot()
    this.snapshotBytes.push(snapshot.bytes.length)
    if (this.random() > 0.25) return
    await this.call.close()
    await this.open(structuredClone(snapshot))
  }

  private async answer(): Promise<void> {
    this.turns = this.ended
    const { random } = this
    if (random() < 0.1) await this.call.push({ text: "Look at this." })
    const calls = random() < 0.1
    const leaveAfter = random() < 0.3 ? 1 + Math.floor(random() * 12) : Number.POSITIVE_INFINITY
    let count = 0
    let heardMs = 0
    let called = false
    let end: string | undefined
    const stop = async () => {
      const start = performance.now()
      await this.call.interrupt({ heardMs: heardMs * random() })
      this.interruptMs.push(performance.now() - start)
    }
    let stopping: Promise<void> | undefined
    try {
      for await (const event of this.call.respond({
        ...(calls ? { format: { type: "tool-call" } } : {}),
        seed: this.turns,
      })) {
        if (event.type === "audio-delta") heardMs += event.pcm.length / 24
        if (event.type === "tool-call") called = true
        if (event.type === "turn-end") end = event.finishReason
        if (++count >= leaveAfter) stopping ??= stop()
      }
    } catch (error) {
      if (!stopping) throw error
    }
    await stopping
    if (!stopping && end === undefined) throw new Error("an answer ended without its end")
    if (called) await this.call.append({ role: "tool", text: '{"sight": "a tree"}' })
  }

  async end(): Promise<SimulatedCall> {
    await this.call.close()
    const { turns, pushedMs: simulatedMs, compactions, interruptMs, mostPositions, memory, snapshotBytes } = this
    const sorted = interruptMs.toSorted((a, b) => a - b)
    const interruptions = sorted.length
    return { turns, simulatedMs, compactions, interruptions, interruptMs: sorted, mostPositions, memory, snapshotBytes }
  }
}

/** A picture that changes every second. */
function picture(second: number) {
  const size = 64
  const data = Uint8Array.from({ length: size * size * 3 }, (_, i) => (i * 7 + second * 31) % 256)
  return { width: size, height: size, data }
}

/** @throws when what a call holds, or the process, grew after its first fifth */
export function checkFlat(
  { memory, snapshotBytes }: Pick<SimulatedCall, "memory" | "snapshotBytes">,
  slackMb: number,
): void {
  const fifth = Math.max(1, Math.floor(memory.length / 5))
  const most = (values: readonly number[], from: number, to?: number) => Math.max(...values.slice(from, to))
  const grown = most(memory, -fifth) - most(memory, fifth, 2 * fifth)
  if (grown > slackMb) throw new Error(`memory grew by ${grown.toFixed(0)} MB`)
  const saved = most(snapshotBytes, -fifth) / most(snapshotBytes, fifth, 2 * fifth)
  if (saved > 1.2) throw new Error(`snapshots grew ${saved.toFixed(2)} times`)
}

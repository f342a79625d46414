/** @file Plays seconds of sound and pictures into a call as a microphone and a camera would, at their pace or at once. */
import { setTimeout as sleep } from "node:timers/promises"
import type { EngineCall } from "../engine/index.ts"
import { MEDIA_SAMPLE_RATE_HZ, type MediaUnit } from "../media/index.ts"

/** A fifth of a second, as microphones deliver it. */
const PIECE_SAMPLES = MEDIA_SAMPLE_RATE_HZ / 5
/** At real-time pace so much may wait to be read before the microphone does: a file is never dropped. */
const MAX_BEHIND_SAMPLES = 8 * MEDIA_SAMPLE_RATE_HZ

export type Pace = "max" | "realtime"

export type Player = {
  /** Milliseconds of sound that were pushed. */
  readonly pushedMs: number
  /** Plays to the end; `pause` is asked after every piece, and playing goes on when it is done. */
  play(units: AsyncIterable<Partial<MediaUnit>>, pause?: () => Promise<void>): Promise<void>
  /** Nobody says anything for so long. */
  silence(lengthMs: number): Promise<void>
  /** Everything that was pushed is read. @throws what reading it threw */
  settled(): Promise<void>
}

/**
 * @param options.waits true waits for every piece to be read, so that what is found in it is known before the next one; at
 * pace `max` that is always so
 */
export function createPlayer(
  call: Pick<EngineCall, "push">,
  { pace, waits, signal }: { readonly pace: Pace; readonly waits: boolean; readonly signal: AbortSignal },
): Player {
  let samples = 0
  let behind = 0
  let startMs: number | undefined
  let failure: { readonly error: unknown } | undefined
  let latest: Promise<unknown> = Promise.resolve()
  const check = () => {
    signal.throwIfAborted()
    if (failure) throw failure.error
  }

  const push = async (pcm: Float32Array, frame: MediaUnit["frame"]) => {
    startMs ??= performance.now()
    samples += pcm.length
    // A microphone delivers sound when it was said.
    const wait = (samples / MEDIA_SAMPLE_RATE_HZ) * 1000 - (performance.now() - startMs)
    if (pace === "realtime" && wait > 0) await sleep(wait, undefined, { signal })
    check()
    behind += pcm.length
    const taken = call.push({ ...(pcm.length > 0 ? { pcm } : {}), ...(frame ? { frame } : {}) }).then(
      () => {
        behind -= pcm.length
      },
      (error: unknown) => {
        failure ??= { error }
      },
    )
    latest = latest.then(() => taken)
    if (waits || pace === "max" || behind > MAX_BEHIND_SAMPLES) await taken
    check()
  }

  return {
    get pushedMs() {
      return (samples / MEDIA_SAMPLE_RATE_HZ) * 1000
    },
    async play(units, pause) {
      for await (const { pcm = new Float32Array(0), frame } of units) {
        // The frame of a second is what is shown at its end.
        let at = 0
        do {
          const end = Math.min(pcm.length, at + PIECE_SAMPLES)
          await push(pcm.slice(at, end), end === pcm.length ? frame : undefined)
          await pause?.()
          at = end
        } while (at < pcm.length)
      }
    },
    async silence(lengthMs) {
      const count = Math.ceil((lengthMs / 1000) * MEDIA_SAMPLE_RATE_HZ)
      for (let left = count; left > 0; left -= PIECE_SAMPLES)
        await push(new Float32Array(Math.min(left, PIECE_SAMPLES)), undefined)
    },
    async settled() {
      await latest
      check()
    },
  }
}

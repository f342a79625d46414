/**
 * @file Tells an engine that hangs from one that computes: between two steps its thread answers, so one that stays silent for
 * far longer than any step is stuck in native code, as when a driver never returns.
 */

export type Pause = (ms: number, signal: AbortSignal) => Promise<void>

/** Parts of the allowed silence: whoever waits slept, or was held up, in one of them at most. */
const PARTS = 12
/** Timers hold no longer ones. */
const MAX_PART_MS = 2 ** 31 - 1

/**
 * Asks for signs of life, again and again.
 * @param ask resolves, or fails, with a sign of life
 * @param limitMs silence that is no step any more
 * @param ended nothing is to be found out any more
 * @returns true when it was silent for so long; false when that ended before
 */
export async function isSilent(
  ask: () => Promise<unknown>,
  limitMs: number,
  ended: AbortSignal,
  wait: Pause = pause,
): Promise<boolean> {
  for (;;) {
    let answered = false
    const answer = () => {
      answered = true
    }
    void ask().then(answer, answer)
    // Counted in pauses that were waited through, not by the clock: that goes on while the machine sleeps.
    for (let part = 0; part < PARTS && (part === 0 || !answered); part++) {
      await wait(Math.min(limitMs / PARTS, MAX_PART_MS), ended)
      if (ended.aborted) return false
    }
    if (!answered) return true
  }
}

/** Waits, or until the signal. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener("abort", end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener("abort", end, { once: true })
  })
}

/** @file How far a pull is: files, bytes, rate over the last seconds, time that is left. */
import type { HubFile } from "./listing.ts"

export type PullProgress = {
  readonly doneFiles: number
  readonly files: number
  readonly doneBytes: number
  readonly totalBytes: number
  /** Over the last seconds; 0 before there is a measure. */
  readonly bytesPerSecond: number
  /** Undefined while the rate is unknown. */
  readonly remainingMs: number | undefined
}

const WINDOW_MS = 5000
const INTERVAL_MS = 250

type Sample = { readonly ms: number; readonly bytes: number }

/** Adds up what the files report. @param now a clock in milliseconds */
export function createMeter(
  files: readonly HubFile[],
  now: () => number,
  onProgress: ((progress: PullProgress) => void) | undefined,
) {
  const totalBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
  const sizes = new Map<HubFile, number>()
  let [doneFiles, doneBytes, fetchedBytes] = [0, 0, 0]
  let samples: Sample[] = []
  let reportedMs = Number.NEGATIVE_INFINITY

  const report = (force: boolean) => {
    const ms = now()
    if (!force && ms - reportedMs < INTERVAL_MS) return
    reportedMs = ms
    const newest = samples.filter((sample) => ms - sample.ms <= WINDOW_MS)
    samples = [...(newest.length > 0 ? newest : samples.slice(-1)), { ms, bytes: fetchedBytes }]
    const [first, last] = [samples[0]!, samples.at(-1)!]
    const bytesPerSecond =
      last.ms > first.ms ? Math.max(0, ((last.bytes - first.bytes) / (last.ms - first.ms)) * 1000) : 0
    const remainingMs = bytesPerSecond > 0 ? ((totalBytes - doneBytes) / bytesPerSecond) * 1000 : undefined
    onProgress?.({ doneFiles, files: files.length, doneBytes, totalBytes, bytesPerSecond, remainingMs })
  }
  const setSize = (file: HubFile, sizeBytes: number): number => {
    const change = sizeBytes - (sizes.get(file) ?? 0)
    sizes.set(file, sizeBytes)
    doneBytes += change
    return change
  }
  return {
    /** A file that was here already. */
    has: (file: HubFile) => {
      setSize(file, file.sizeBytes)
      doneFiles++
      report(doneFiles === files.length)
    },
    /** A download that goes on at `sizeBytes`. */
    start: (file: HubFile, sizeBytes: number) => {
      setSize(file, sizeBytes)
      report(false)
    },
    /** The part's size now; less than before when it was thrown away. */
    update: (file: HubFile, sizeBytes: number) => {
      fetchedBytes += Math.max(0, setSize(file, sizeBytes))
      report(false)
    },
    finish: (file: HubFile) => {
      setSize(file, file.sizeBytes)
      doneFiles++
      report(doneFiles === files.length)
    },
    /** Everything that came over the network, thrown away or not. */
    fetchedBytes: () => fetchedBytes,
  }
}

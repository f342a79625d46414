/** @file What the engine did and when, for those who asked to know: runs of programs, on the clock of the whole machine. */
import { type Executor, type RunRecord, recordRuns } from "../runtime/index.ts"
import type { Vad } from "../turns/index.ts"

/** Runs that are kept: an hour of a call. */
const MAX_RUNS = 200_000

export class Trace {
  /** Milliseconds since 1970, with fractions: equal in every thread and process of the machine. */
  private readonly now: () => number
  private runs: RunRecord[] = []

  constructor(now: () => number) {
    this.now = now
  }

  /** The same executor, whose runs are kept. */
  executor(executor: Executor): Executor {
    return recordRuns(executor, this.now, (run) => this.add(run))
  }

  /** The same detector, whose steps are kept under the name `vad`. */
  vad(vad: Vad): Vad {
    return {
      init: () => vad.init(),
      step: async (state, pcm) => {
        const startMs = this.now()
        try {
          return await vad.step(state, pcm)
        } finally {
          this.add({ name: "vad", rows: pcm.length, startMs, endMs: this.now() })
        }
      },
    }
  }

  /** What was kept since the last time. */
  take(): RunRecord[] {
    const taken = this.runs
    this.runs = []
    return taken
  }

  private add(run: RunRecord): void {
    if (this.runs.length < MAX_RUNS) this.runs.push(run)
  }
}

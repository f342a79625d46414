/** @file An executor that tells how long each run of a program took: what benchmarks draw their pictures from. */
import type { Executor, Feeds } from "./executor.ts"

/** One run of one program, on whatever clock was given. */
export type RunRecord = {
  /** Of the graph: `llm.layers.0-4`, `vocos`. */
  readonly name: string
  /** Positions, patches or frames that went through. */
  readonly rows: number
  readonly startMs: number
  readonly endMs: number
}

/** The same executor; runs that fail are told as well. */
export function recordRuns(executor: Executor, now: () => number, record: (run: RunRecord) => void): Executor {
  return {
    device: executor.device,
    activationBits: () => executor.activationBits(),
    compile: (graph, weights) => executor.compile(graph, weights),
    createCache: (spec, rows, step) => executor.createCache(spec, rows, step),
    async run(program, feeds, options) {
      const startMs = now()
      try {
        return await executor.run(program, feeds, options)
      } finally {
        record({ name: program.graph.name, rows: rowsOf(feeds), startMs, endMs: now() })
      }
    },
    [Symbol.asyncDispose]: () => executor[Symbol.asyncDispose](),
  }
}

/** The hidden states' [B, T, D] where there are some, else those of the first input. */
function rowsOf(feeds: Feeds): number {
  const { shape } = feeds.hidden ?? Object.values(feeds)[0] ?? { shape: [] }
  return (shape[0] ?? 1) * (shape[1] ?? 1)
}

/**
 * @file Asks the processor at load what its integer kernels are worth: processors without dot-product instructions add
 * pairs of 8-bit products in 16 bits and saturate silently. A wrong kernel is never used, whatever its speed; activations
 * of 7 bits make such a kernel exact again.
 */
import { type ActivationBits, Graph } from "../graph/index.ts"
import { f32, f32Data, type HostTensor, tensor } from "../tensor/index.ts"
import type { Executor } from "./executor.ts"
import { memoryWeights } from "./weight-store.ts"

/** What the probe found. Times are of one product of PROBE rows, in milliseconds. */
export type IntegerProbe = {
  /** Most bits of activations with which u8 × s8 products equal exact integers; null when even 7 are too many. */
  readonly activationBits: ActivationBits | null
  readonly int8Ms: number
  readonly int4Ms: number
  /** What prefill takes when both are there. */
  readonly prefill: "int8" | "int4"
}

type Compiler = Pick<Executor, "compile" | "run">

const PROBE = { rows: 64, inner: 1024, outer: 1024 }
const BLOCK = 128
const ROUNDS = 8
/** int8 is exacter, so int4 has to be faster by more than what other work on the machine makes of it. */
const CLEARLY = 1.2

/** The largest codes of both signs: every pair of products is as far from zero as it can be. */
function worstCase(bits: ActivationBits): { readonly rows: Uint8Array; readonly columns: Int8Array } {
  const { rows, inner, outer } = PROBE
  const most = 2 ** bits - 1
  return {
    rows: Uint8Array.from({ length: rows * inner }, (_, i) => (Math.floor(i / inner) % 2 === 0 ? most : 1)),
    columns: Int8Array.from({ length: inner * outer }, (_, i) => ((i % outer) % 2 === 0 ? 127 : -127)),
  }
}

/** Best times of several jobs that take turns, so that other work on the machine meets them alike. */
async function bestTimes(jobs: readonly (() => Promise<unknown>)[], now: () => number): Promise<number[]> {
  const best = jobs.map(() => Number.POSITIVE_INFINITY)
  for (const run of jobs) await run()
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, run] of jobs.entries()) {
      const start = now()
      await run()
      best[i] = Math.min(best[i]!, now() - start)
    }
  }
  return best
}

/** The product of worst-case codes, compiled. */
async function compileInt8(executor: Compiler, bits: ActivationBits) {
  const { rows, inner, outer } = PROBE
  const worst = worstCase(bits)
  const graph = new Graph(`probe.int${bits}`)
  const codes = graph.input("codes", "u8", [rows, inner])
  const columns = graph.weight("columns", [inner, outer], "i8")
  const scales = graph.weight("scales", [outer])
  graph.output("product", graph.apply("matMulIntegerToFloat", [codes, columns, scales], { bits }))
  const weights = new Map<string, HostTensor>([
    ["columns", tensor("i8", [inner, outer], worst.columns)],
    ["scales", f32([outer], new Float32Array(outer).fill(2 ** (bits - 1) - 1))], // undoes the codes' step
  ])
  const program = await executor.compile(graph, memoryWeights(weights))
  return { worst, program, run: () => executor.run(program, { codes: tensor("u8", [rows, inner], worst.rows) }) }
}

async function compileInt4(executor: Compiler) {
  const { rows, inner, outer } = PROBE
  const graph = new Graph("probe.int4")
  const x = graph.input("x", "f32", [rows, inner])
  const packed = graph.weight("packed", [outer, inner / BLOCK, BLOCK / 2], "u8")
  const scales = graph.weight("blockScales", [outer, inner / BLOCK])
  const attrs = { bits: 4, blockSize: BLOCK, inner, outer } as const
  graph.output("product", graph.apply("matMulNBits", [x, packed, scales], attrs))
  const weights = new Map<string, HostTensor>([
    ["packed", tensor("u8", [outer, inner / BLOCK, BLOCK / 2], new Uint8Array((outer * inner) / 2).fill(0x9a))],
    ["blockScales", f32([outer, inner / BLOCK], new Float32Array((outer * inner) / BLOCK).fill(1))],
  ])
  const program = await executor.compile(graph, memoryWeights(weights))
  const feeds = {
    x: f32(
      [rows, inner],
      Float32Array.from({ length: rows * inner }, (_, i) => Math.sin(i)),
    ),
  }
  return { program, run: () => executor.run(program, feeds) }
}

/** Most bits of activations whose products are exact; null when none are. Takes some tens of milliseconds. */
export async function probeActivationBits(executor: Compiler): Promise<ActivationBits | null> {
  for (const bits of [8, 7] as const) {
    const { worst, program, run } = await compileInt8(executor, bits)
    try {
      const { product } = await run()
      if (isExact(f32Data(product!), worst, bits)) return bits
    } finally {
      await program.release()
    }
  }
  return null
}

/** Runs both quantized products on a device; takes some tens of milliseconds. */
export async function probeIntegers(
  executor: Compiler & Pick<Executor, "activationBits">,
  now: () => number,
): Promise<IntegerProbe> {
  // The executor keeps its answer: loading asks once.
  const activationBits = await executor.activationBits().catch(() => null)
  const int8 = await compileInt8(executor, activationBits ?? 8)
  const int4 = await compileInt4(executor)
  try {
    const [int8Ms, int4Ms] = (await bestTimes([int8.run, int4.run], now)) as [number, number]
    const prefill = activationBits && int8Ms <= CLEARLY * int4Ms ? "int8" : "int4"
    return { activationBits, int8Ms, int4Ms, prefill }
  } finally {
    await int8.program.release()
    await int4.program.release()
  }
}

/** Saturated sums are off by half; exact ones are only rounded to float32. */
const ROUNDING = 1e-6

function isExact(got: Float32Array, { rows, columns }: ReturnType<typeof worstCase>, bits: ActivationBits): boolean {
  const { inner, outer } = PROBE
  const zeroPoint = 2 ** (bits - 1)
  // All rows of one parity are alike, and so are all columns: two of each tell everything.
  for (let r = 0; r < 2; r++) {
    for (let o = 0; o < 2; o++) {
      let sum = 0
      for (let i = 0; i < inner; i++) sum += (rows[r * inner + i]! - zeroPoint) * columns[i * outer + o]!
      for (let row = r; row < PROBE.rows; row += 2) {
        for (let column = o; column < outer; column += 2) {
          if (Math.abs(got[row * outer + column]! - sum) > ROUNDING * Math.abs(sum)) return false
        }
      }
    }
  }
  return true
}

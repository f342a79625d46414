/**
 * @file Asks the processor at load what its integer kernels are worth: processors without dot-product instructions add
 * pairs of 8-bit products in 16 bits and saturate silently. A wrong kernel is never used, whatever its speed.
 */
import { Graph } from "../graph/index.ts"
import { f32, f32Data, type HostTensor, tensor } from "../tensor/index.ts"
import type { Executor } from "./executor.ts"
import { memoryWeights } from "./weight-store.ts"

/** What the probe found. Times are of one product of PROBE rows, in milliseconds. */
export type IntegerProbe = {
  /** u8 × s8 products equal exact integers on the largest values. */
  readonly int8Exact: boolean
  readonly int8Ms: number
  readonly int4Ms: number
}

const PROBE = { rows: 64, inner: 512, outer: 512 }
const BLOCK = 128
const REPEATS = 3

/** The largest codes of both signs: every pair of products is as far from zero as it can be. */
function worstCase(): { readonly rows: Uint8Array; readonly columns: Int8Array } {
  const { rows, inner, outer } = PROBE
  return {
    rows: Uint8Array.from({ length: rows * inner }, (_, i) => (Math.floor(i / inner) % 2 === 0 ? 255 : 1)),
    columns: Int8Array.from({ length: inner * outer }, (_, i) => ((i % outer) % 2 === 0 ? 127 : -127)),
  }
}

async function timed(run: () => Promise<unknown>, now: () => number): Promise<number> {
  await run()
  let best = Number.POSITIVE_INFINITY
  for (let i = 0; i < REPEATS; i++) {
    const start = now()
    await run()
    best = Math.min(best, now() - start)
  }
  return best
}

/** Runs both quantized products once on a device; takes a few tens of milliseconds. */
export async function probeIntegers(executor: Executor, now: () => number): Promise<IntegerProbe> {
  const { rows, inner, outer } = PROBE
  const worst = worstCase()
  const weights = new Map<string, HostTensor>([
    ["columns", tensor("i8", [inner, outer], worst.columns)],
    ["scales", f32([outer], new Float32Array(outer).fill(1))],
    ["packed", tensor("u8", [outer, inner / BLOCK, BLOCK / 2], new Uint8Array((outer * inner) / 2).fill(0x9a))],
    ["blockScales", f32([outer, inner / BLOCK], new Float32Array((outer * inner) / BLOCK).fill(1))],
  ])
  const int8 = new Graph("probe.int8")
  const codes = int8.input("codes", "u8", [rows, inner])
  const columns = int8.weight("columns", [inner, outer], "i8")
  int8.output("product", int8.apply("matMulIntegerToFloat", [codes, columns, int8.weight("scales", [outer])], {}))
  const int4 = new Graph("probe.int4")
  const x = int4.input("x", "f32", [rows, inner])
  const packed = int4.weight("packed", [outer, inner / BLOCK, BLOCK / 2], "u8")
  const blockScales = int4.weight("blockScales", [outer, inner / BLOCK])
  const attrs = { bits: 4, blockSize: BLOCK, inner, outer } as const
  int4.output("product", int4.apply("matMulNBits", [x, packed, blockScales], attrs))

  const store = memoryWeights(weights)
  const programs = [await executor.compile(int8, store), await executor.compile(int4, store)] as const
  try {
    const int8Feeds = { codes: tensor("u8", [rows, inner], worst.rows) }
    const int4Feeds = {
      x: f32(
        [rows, inner],
        Float32Array.from({ length: rows * inner }, (_, i) => Math.sin(i)),
      ),
    }
    const { product } = await executor.run(programs[0], int8Feeds)
    return {
      int8Exact: isExact(f32Data(product!), worst),
      int8Ms: await timed(() => executor.run(programs[0], int8Feeds), now),
      int4Ms: await timed(() => executor.run(programs[1], int4Feeds), now),
    }
  } finally {
    for (const program of programs) await program.release()
  }
}

function isExact(got: Float32Array, { rows, columns }: ReturnType<typeof worstCase>): boolean {
  const { inner, outer } = PROBE
  // All rows of one parity are alike, and so are all columns: two of each tell everything.
  for (let r = 0; r < 2; r++) {
    for (let o = 0; o < 2; o++) {
      let sum = 0
      for (let i = 0; i < inner; i++) sum += (rows[r * inner + i]! - 128) * columns[i * outer + o]!
      for (let row = r; row < PROBE.rows; row += 2) {
        for (let column = o; column < outer; column += 2) if (got[row * outer + column] !== sum) return false
      }
    }
  }
  return true
}

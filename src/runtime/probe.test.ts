import { expect, test } from "vitest"
import { f32, f32Data } from "../tensor/index.ts"
import type { Executor } from "./executor.ts"
import { createOrtNodeExecutor } from "./ort.node.ts"
import { probeIntegers } from "./probe.ts"

test("the interpreter's rules and ONNX Runtime agree on the largest codes", async () => {
  await using executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
  const probe = await probeIntegers(executor, () => performance.now())
  expect(probe.int8Exact).toBe(true)
  expect(probe.int8Ms).toBeGreaterThan(0)
  expect(probe.int4Ms).toBeGreaterThan(0)
})

test("sums that saturate at 16 bits are noticed", async () => {
  await using executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
  // As vpmaddubsw does: 255 · 127 · 2 does not fit 16 bits.
  const saturating: Executor = {
    ...executor,
    async run(program, feeds) {
      const outputs = await executor.run(program, feeds)
      const product = outputs.product!
      const clipped = f32Data(product).map((value) => Math.max(-(2 ** 15) * 200, Math.min(2 ** 15 * 200, value)))
      return { product: f32(product.shape, clipped) }
    },
    async [Symbol.asyncDispose]() {},
  }
  expect((await probeIntegers(saturating, () => performance.now())).int8Exact).toBe(false)
})

import { expect, test } from "vitest"
import { f32, f32Data } from "../tensor/index.ts"
import type { Executor } from "./executor.ts"
import { createOrtNodeExecutor } from "./ort.node.ts"
import { probeActivationBits, probeIntegers } from "./probe.ts"
import { createReferenceExecutor } from "./reference-executor.ts"

test("what this processor's products are worth, and exact with so many bits", async () => {
  await using executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
  const probe = await probeIntegers(executor, () => performance.now())
  expect([7, 8]).toContain(probe.activationBits)
  expect(await executor.activationBits()).toBe(probe.activationBits)
  expect(probe.int8Ms).toBeGreaterThan(0)
  expect(probe.int4Ms).toBeGreaterThan(0)
})

test("exact products take 8 bits", async () => {
  await using executor = createReferenceExecutor()
  expect(await probeActivationBits(executor)).toBe(8)
  expect(await executor.activationBits()).toBe(8)
})

/** An executor whose products are clipped to what `pair` sums of two products make of 512 channels. */
function clipping(executor: Executor, pair: number): Executor {
  return {
    ...executor,
    async run(program, feeds) {
      const { product } = await executor.run(program, feeds)
      const most = pair * 256
      const clipped = f32Data(product!).map((value) => Math.max(-most, Math.min(most, value)))
      return { product: f32(product!.shape, clipped) }
    },
    async [Symbol.asyncDispose]() {},
  }
}

test("sums that saturate are noticed, and fewer bits tried", async () => {
  await using executor = createReferenceExecutor()
  // What is left of 8 bits around their zero point is 127 · 127 · 2 a pair, of 7 bits 63 · 127 · 2.
  expect(await probeActivationBits(clipping(executor, 20_000))).toBe(7)
  expect(await probeActivationBits(clipping(executor, 10_000))).toBeNull()
})

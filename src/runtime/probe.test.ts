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

/** A clock by which running a program of this name takes so long. */
function slowed(executor: Executor, milliseconds: { readonly int8: number; readonly int4: number }) {
  let clock = 0
  const timed: Executor = {
    ...executor,
    compile: (graph, weights) => executor.compile(graph, weights),
    async run(program, feeds) {
      clock += "x" in feeds ? milliseconds.int4 : milliseconds.int8
      return await executor.run(program, feeds)
    },
    activationBits: () => executor.activationBits(),
    async [Symbol.asyncDispose]() {},
  }
  return [timed, () => clock] as const
}

test("int8 reads prompts unless int4 is clearly faster", async () => {
  await using executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
  const prefill = async (int8: number, int4: number) => {
    const [timed, now] = slowed(executor, { int8, int4 })
    return await probeIntegers(timed, now)
  }
  expect(await prefill(1, 2)).toMatchObject({ int8Ms: 1, int4Ms: 2, prefill: "int8" })
  expect(await prefill(11, 10)).toMatchObject({ int8Ms: 11, int4Ms: 10, prefill: "int8" })
  expect(await prefill(13, 10)).toMatchObject({ prefill: "int4" })
})

test("exact products take 8 bits", async () => {
  await using executor = createReferenceExecutor()
  expect(await probeActivationBits(executor)).toBe(8)
  expect(await executor.activationBits()).toBe(8)
})

/** An executor whose products are clipped to what `pair` sums of two products make of 1,024 channels. */
function clipping(executor: Executor, pair: number): Executor {
  return {
    ...executor,
    async run(program, feeds) {
      const { product } = await executor.run(program, feeds)
      const most = pair * 512
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

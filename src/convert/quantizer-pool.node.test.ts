/** @file Threads quantize as this thread does, and report what goes wrong there. */
import { describe, expect, test } from "vitest"
import { f32 } from "../tensor/index.ts"
import type { StoredLinear } from "./bundle.ts"
import { localQuantizer, type Quantizer } from "./quantize-rows.ts"
import { quantizerPool } from "./quantizer-pool.node.ts"
import { normal } from "./weights.test-util.ts"

const FORMS: readonly StoredLinear[] = [
  { kind: "int4", blockSize: 64, rotation: 16 },
  { kind: "int8", rotation: 128 },
]

async function quantize(quantizer: Quantizer) {
  const weights = normal(60 * 256, 0.02)
  const arrays = FORMS.map((form) => ({
    form,
    codes: new Uint8Array(quantizer.allocate((60 * 256) / (form.kind === "int4" ? 2 : 1))),
    scales: new Float32Array(quantizer.allocate(4 * 60 * (form.kind === "int4" ? 4 : 1))),
  }))
  const chunks = [0, 20, 40].map((firstRow) => {
    const rows = weights.slice(firstRow * 256, (firstRow + 20) * 256)
    return quantizer.quantize({ name: "w", firstRow, tensor: f32([20, 256], rows) }, arrays)
  })
  await Promise.all(chunks)
  return arrays.map(({ codes, scales }) => [Array.from(codes), Array.from(scales)])
}

describe("quantizerPool", () => {
  test("gives what this thread gives", async () => {
    await using pool = quantizerPool(2)
    expect(await quantize(pool)).toEqual(await quantize(localQuantizer))
  })

  test("errors name the weight and the row, and the pool goes on", async () => {
    await using pool = quantizerPool(1)
    const rows = (value: number) => f32([1, 2], [0, value])
    const arrays = [
      {
        form: { kind: "int8", rotation: 2 } as const,
        codes: new Uint8Array(pool.allocate(20)),
        scales: new Float32Array(pool.allocate(40)),
      },
    ]
    const bad = pool.quantize({ name: "w", firstRow: 7, tensor: rows(Number.POSITIVE_INFINITY) }, arrays)
    const good = pool.quantize({ name: "w", firstRow: 8, tensor: rows(2) }, arrays)
    await expect(bad).rejects.toThrow(
      "w: expected finite weights, got Infinity in row 7 (the checkpoint is damaged; download it again)",
    )
    await good
    expect(arrays[0]!.scales[8]).toBeGreaterThan(0)
  })

  test("calls fail when the pool ends", async () => {
    const pool = quantizerPool(1)
    const arrays = [{ form: FORMS[1]!, codes: new Uint8Array(pool.allocate(2 ** 20)), scales: new Float32Array(8192) }]
    const call = pool.quantize({ name: "w", firstRow: 0, tensor: f32([8192, 128], normal(2 ** 20, 1)) }, arrays)
    const failed = expect(call).rejects.toThrow("quantize: a worker thread ended")
    await pool[Symbol.asyncDispose]()
    await failed
  })
})

/** @file The parts of `omni doctor`: a device that crashes or hangs is told of, hardware is read, plans are those of the loader. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { durationText, sizeText } from "../util/index.ts"
import { measureBandwidth, tryDevice } from "./doctor-devices.ts"
import { cpuFeatures, findProgram, readHardware } from "./doctor-hardware.ts"
import { reportModel } from "./doctor-model.ts"

const folder = mkdtempSync(join(tmpdir(), "omni-doctor-"))
afterAll(() => rmSync(folder, { recursive: true }))
const script = (text: string) => {
  const path = join(folder, `${Math.random()}.mjs`)
  writeFileSync(path, text)
  return path
}

describe("a device", () => {
  test("that works says what its integers are worth", async () => {
    const { problem, runtime, probe } = await tryDevice("cpu")
    expect(problem).toBeUndefined()
    expect(runtime).toMatch(/^\d+\.\d+/)
    expect(probe!.int8Ms).toBeGreaterThan(0)
    const { activationBits, int8Ms, int4Ms, prefill } = probe!
    expect(prefill).toBe(activationBits && int8Ms <= 1.2 * int4Ms ? "int8" : "int4")
  })

  test.each([
    ["process.abort()", /^expected it to run, got a process that ended with SIGABRT/],
    ["console.log('half'); process.exit(3)", "expected it to run, got a process that ended with code 3"],
    ["console.error('first\\nlast words'); process.exit(1)", /ended with code 1: last words$/],
    ["setInterval(() => {}, 1000)", "expected an answer within 1 s, got none (a driver that hangs)"],
    [`console.log("noise\\n" + JSON.stringify({ problem: "no adapter" }))`, "no adapter"],
  ])("that fails: %s", async (text, message) => {
    const { problem } = await tryDevice("webgpu", { entry: script(text), timeoutMs: 1000 })
    expect(problem).toMatch(message)
  })
})

test("nothing is tried for somebody who has gone", async () => {
  const reason = new Error("enough")
  await expect(tryDevice("cpu", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  await expect(measureBandwidth({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
})

test("memory is read at a speed that memory has", async () => {
  const rate = await measureBandwidth()
  expect(rate).toBeGreaterThan(1e8)
  expect(rate).toBeLessThan(1e13)
  expect(await measureBandwidth({ entry: script("process.exit(1)") })).toBeUndefined()
})

test("hardware", async () => {
  const cpuinfo =
    "processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni amx_int8 avx2x\n\nprocessor\t: 1\nflags\t\t: sse4_2\n"
  expect(cpuFeatures(cpuinfo)).toEqual(["avx2", "avx512_vnni", "amx_int8"])
  expect(cpuFeatures("processor : 0\nFeatures\t: fp asimd asimddp i8mm\n")).toEqual(["asimd", "asimddp", "i8mm"])
  expect(cpuFeatures("")).toEqual([])
  const { cores, totalBytes, availableBytes } = readHardware()
  expect(cores).toBeGreaterThan(0)
  expect(availableBytes).toBeLessThanOrEqual(totalBytes)
  expect(await findProgram("no-such-program", process.env)).toBeUndefined()
  expect(await findProgram("x", {})).toBeUndefined()
})

describe("plans", () => {
  const places = { cacheFolder: join(folder, "cache"), embedded: {} }

  test.each([
    [64e9, "int8+int4"],
    [10e9, "int8"],
    [7e9, "int4"],
  ])("of the full model in %d bytes: %s", async (bytes, plan) => {
    const report = await reportModel(undefined, places, bytes)
    expect(report).toMatchObject({ plan, problem: undefined, missing: [] })
    expect(report.weights).toBeGreaterThan(7e9)
    expect(report.plans.map(({ plan: each }) => each)).toEqual(["none", "int8+int4", "int8", "int4"])
    for (const { bytes: need, fits } of report.plans) expect(fits).toBe(need <= bytes)
  })

  test("a folder is whole, or it is said what it lacks", async () => {
    const model = join(folder, "tiny")
    cpSync(new URL("../../test/fixtures/tiny-a/checkpoint", import.meta.url), model, { recursive: true })
    const whole = await reportModel(model, places, 64e9)
    expect(whole).toMatchObject({ plan: "none", problem: undefined, missing: [] })
    expect(whole.weights).toBeGreaterThan(1e6)
    rmSync(join(model, "model-00002-of-00002.safetensors"))
    expect(await reportModel(model, places, 64e9)).toMatchObject({
      ...{ folder: model, plan: undefined, plans: [], missing: ["model-00002-of-00002.safetensors"] },
      problem: `${model}: expected a whole model, got one without model-00002-of-00002.safetensors (pull it again)`,
    })
  })

  test("nothing fits, or there is no model", async () => {
    expect(await reportModel(undefined, places, 1e9)).toMatchObject({
      plan: undefined,
      problem: expect.stringMatching(/^memory: expected \d\.\d GB for --quantize int4, got 1\.0 GB free/),
    })
    expect(await reportModel("org/none", places, 64e9)).toMatchObject({
      ...{ name: "org/none", plan: undefined, plans: [] },
      problem: expect.stringContaining("org/none: expected a folder of that name or a whole model in"),
    })
  })
})

test("sizes and times", () => {
  const sizes = [0, 12, 999, 1000, 1234, 99_940, 99_960, 999_400, 999_600, 17.44e9, 250e9]
  expect(sizes.map(sizeText)).toEqual([
    "0 bytes",
    "12 bytes",
    "999 bytes",
    "1.0 kB",
    "1.2 kB",
    "99.9 kB",
    "100 kB",
    "999 kB",
    "1.0 MB",
    "17.4 GB",
    "250 GB",
  ])
  expect([0, 500, 119_000, 121_000, 3.3 * 3.6e6].map(durationText)).toEqual([
    "0 s",
    "1 s",
    "119 s",
    "3 min",
    "3 h 18 min",
  ])
})

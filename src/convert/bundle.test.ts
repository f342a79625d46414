/** @file Plans of bundles, manifests that do and do not hold, and the stream that writes them. */
import { describe, expect, test } from "vitest"
import { memorySink } from "../checkpoint/index.ts"
import type { LinearUse } from "../models/minicpmo/index.ts"
import { type TensorSpec, weightSpec } from "../tensor/index.ts"
import { BUNDLE_VERSION, type BundleOptions, bundleOptions, manifestOf, parseManifest, planBundle } from "./bundle.ts"
import { writeBundle } from "./bundle-writer.ts"
import { bundleWeights } from "./model-weights.ts"
import { randomBundle } from "./random-bundle.ts"

const SPECS = new Map<string, TensorSpec>([
  ["embed", weightSpec([5, 96])],
  ["norm", weightSpec([96], { mean: 1 })],
  ["mlp.gate.weight", weightSpec([40, 96], { quantizable: true, input: "x" })],
  ["mlp.up.weight", weightSpec([24, 96], { quantizable: true, input: "x" })],
  ["dead", weightSpec([0], { ignored: "nothing reads it" })],
  ["head", weightSpec([5, 96], { quantizable: true })],
])

const planOf = (options: BundleOptions, use: LinearUse = "language") =>
  planBundle(
    { specs: SPECS, byRow: new Map([["embed", "bf16"]]), oneRow: new Set(["head"]), useOf: () => use },
    options,
  )

async function written(options: BundleOptions) {
  const files = new Map<string, Uint8Array>()
  const plan = planOf(options)
  await writeBundle(memorySink(files), plan, randomBundle(plan, 1), { key: "k", sourceless: true })
  const manifest = parseManifest(JSON.parse(new TextDecoder().decode(files.get("bundle.json"))), "bundle.json")
  const bytes = files.get("weights.bin")!
  const read = (offset: number, into: Uint8Array) => into.set(bytes.subarray(offset, offset + into.length))
  return { manifest, bytes, ...bundleWeights(manifest, read, "dir") }
}

describe("planBundle", () => {
  test("lays out both forms on pages, keeps tables by row, and gives weights for one row int4 alone", () => {
    const plan = planOf(bundleOptions("int8+int4"))
    const parts = plan.tensors.flatMap((tensor) => tensor.parts)
    expect(parts.map(({ name, dtype, shape }) => `${name} ${dtype} [${shape.join(", ")}]`)).toEqual([
      "embed bf16 [5, 96]",
      "norm f32 [96]",
      "mlp.gate.weight.balance f32 [96]",
      "mlp.gate.weight.int8 i8 [96, 40]",
      "mlp.gate.weight.int8.scales f32 [40]",
      "mlp.gate.weight.int4 u8 [40, 1, 64]",
      "mlp.gate.weight.int4.scales f32 [40, 1]",
      "mlp.up.weight.int8 i8 [96, 24]",
      "mlp.up.weight.int8.scales f32 [24]",
      "mlp.up.weight.int4 u8 [24, 1, 64]",
      "mlp.up.weight.int4.scales f32 [24, 1]",
      "head.balance f32 [96]",
      "head.int4 u8 [5, 1, 64]",
      "head.int4.scales f32 [5, 1]",
    ])
    for (const { offset } of parts) expect(offset % 4096).toBe(0)
    expect(plan.sizeBytes).toBe(parts.at(-1)!.offset + 20)
    // gate and up read one input, so they share its factors.
    const mlp = { balance: "mlp.gate.weight.balance", rotation: 32 }
    const both = [
      { kind: "int8", ...mlp },
      { kind: "int4", blockSize: 128, ...mlp },
    ]
    expect(manifestOf(plan, "k", false).linear).toEqual({
      "mlp.gate.weight": both,
      "mlp.up.weight": both,
      head: [{ kind: "int4", blockSize: 128, balance: "head.balance", rotation: 32 }],
    })
  })

  test("int8 alone has no int4", () => {
    expect(manifestOf(planOf(bundleOptions("int8")), "k", false).linear.head).toEqual([
      { kind: "int8", balance: "head.balance", rotation: 32 },
    ])
  })

  test.each(["int8", "int4", "int8+int4"] as const)(
    "components beside the language model are the same in %s",
    (kind) => {
      const formsOf = (use: LinearUse) => manifestOf(planOf(bundleOptions(kind), use), "k", false)
      const shared = { balance: "mlp.gate.weight.balance" }
      expect(formsOf("many-rows").linear["mlp.up.weight"]).toEqual([{ kind: "int8", ...shared, rotation: 32 }])
      const blocks = formsOf("one-row")
      expect(blocks.linear["mlp.up.weight"]).toEqual([{ kind: "int8-blocks", blockSize: 64, ...shared, rotation: 1 }])
      expect(blocks.entries["mlp.up.weight.int8b"]).toMatchObject({ dtype: "u8", shape: [24, 2, 64] })
      expect(blocks.entries["mlp.up.weight.int8b.scales"]).toMatchObject({ dtype: "f32", shape: [24, 2] })
      expect(formsOf("floats").linear["mlp.up.weight"]).toBeUndefined()
      expect(formsOf("floats").entries["mlp.up.weight"]).toMatchObject({ dtype: "f32", shape: [24, 96] })
    },
  )

  test("refuses unknown options", () => {
    expect(() => bundleOptions("int5")).toThrow("quantize: expected int8, int4, int8+int4, got int5")
    expect(() => bundleOptions("int4", 16)).toThrow("blockSize: expected 32, 64, 128, got 16")
  })
})

describe("parseManifest", () => {
  const manifest = () => JSON.parse(JSON.stringify(manifestOf(planOf(bundleOptions("int4", 64)), "k", false)))

  test("accepts what manifestOf makes", () => {
    expect(parseManifest(manifest(), "b.json")).toEqual(manifest())
  })

  test("refuses other formats, versions and entries outside of the file", () => {
    const bad = (change: (json: ReturnType<typeof manifest>) => void) => () => {
      const json = manifest()
      change(json)
      parseManifest(json, "b.json")
    }
    expect(() => parseManifest([], "b.json")).toThrow("b.json: the file: ")
    expect(bad((json) => (json.version = 99))).toThrow(
      `b.json: version: expected ${BUNDLE_VERSION}, got 99 (delete the bundle and convert again)`,
    )
    expect(bad((json) => Object.assign(json, { version: 1, sourceless: true }))).toThrow(
      `b.json: version: expected ${BUNDLE_VERSION}, got 1 (its weights exist nowhere else: convert the original`,
    )
    expect(bad((json) => (json.version = "1"))).toThrow(/b\.json: version: .*\(delete the bundle and convert again\)/)
    expect(bad((json) => (json.entries.norm.dtype = "i4"))).toThrow("b.json: entries.norm.dtype: ")
    expect(bad((json) => (json.entries.norm.offset += 2 ** 40))).toThrow(
      /^b\.json: norm: expected f32 \[96\] inside \d+ bytes, got 384 bytes at \d+$/,
    )
    expect(bad((json) => (json.entries.norm.sizeBytes -= 4))).toThrow("b.json: norm: expected f32 [96] inside")
    expect(bad((json) => (json.entries.norm.offset = 1))).toThrow("got 384 bytes at 1")
    expect(bad((json) => (json.linear["mlp.up.weight"][0].blockSize = 17))).toThrow(
      "b.json: linear.mlp.up.weight.0.blockSize: ",
    )
  })
})

describe("bundleWeights", () => {
  test("gives each kind, or what there is instead", async () => {
    const both = await written(bundleOptions("int8+int4", 32))
    const mlp = { balance: "mlp.gate.weight.balance", rotation: 32 }
    expect(both.weights("int8").storage("mlp.up.weight")).toEqual({ kind: "int8", ...mlp })
    expect(both.weights("int4").storage("mlp.up.weight")).toEqual({ kind: "int4", blockSize: 32, ...mlp })
    expect(both.weights("int8").storage("head")).toMatchObject({ kind: "int4", blockSize: 32 })
    expect(both.weights("int8").storage("norm")).toEqual({ kind: "f32" })
    expect(both.weights("f32").storage("mlp.up.weight").kind).toBe("int8")
  })

  test("reads and locates the same bytes; widens 16-bit floats", async () => {
    const { weights, bytes, manifest } = await written(bundleOptions("int4", 32))
    const store = weights("int4")
    const codes = store.read("mlp.gate.weight.int4", "u8", [40, 3, 16])
    const { offset, sizeBytes, location } = store.locate!("mlp.gate.weight.int4")!
    expect(location).toBe("weights.bin")
    expect(codes.data).toEqual(bytes.slice(offset, offset + sizeBytes))
    expect(store.locate!("embed")).toBeUndefined()
    const embed = store.read("embed", "f32", [5, 96])
    const raw = new Uint16Array(
      bytes.slice(manifest.entries.embed!.offset, manifest.entries.embed!.offset + 960).buffer,
    )
    expect(Array.from(embed.data.slice(0, 9), Number)).toEqual(
      Array.from(new Float32Array(Uint32Array.from(raw.slice(0, 9), (word) => word << 16).buffer)),
    )
  })

  test("refuses unknown names and other shapes", async () => {
    const { weights } = await written(bundleOptions("int4"))
    const store = weights("int4")
    expect(() => store.read("nope", "f32", [1])).toThrow("dir: expected an entry nope, got none")
    expect(() => store.read("toString", "f32", [1])).toThrow("dir: expected an entry toString, got none")
    expect(() => store.read("norm", "f32", [95])).toThrow(
      "norm: expected f32 [95], got f32 [96] (is the bundle of this model?)",
    )
    expect(() => store.read("mlp.gate.weight.int4", "i8", [40, 1, 64])).toThrow(
      "mlp.gate.weight.int4: expected i8 [40, 1, 64], got u8",
    )
  })

  test("reads rows in any order, and refuses ids outside", async () => {
    const { weights, readRows } = await written(bundleOptions("int8"))
    const whole = weights("int8").read("embed", "f32", [5, 96]).data
    const rows = readRows("embed", [4, 0, 4])
    expect(rows.length).toBe(3 * 96)
    expect(rows.slice(0, 96)).toEqual(whole.slice(4 * 96))
    expect(rows.slice(96, 192)).toEqual(whole.slice(0, 96))
    expect(readRows("embed", []).length).toBe(0)
    for (const id of [5, -1, 0.5, Number.NaN]) {
      expect(() => readRows("embed", [id])).toThrow(`embed: expected row ids below 5, got ${id}`)
    }
    expect(() => readRows("norm", [0])).toThrow("norm: expected a matrix of floats, got f32 [96]")
  })
})

describe("writeBundle", () => {
  test("an abort or a failing producer leaves nothing behind", async () => {
    const plan = planOf(bundleOptions("int8"))
    const files = new Map<string, Uint8Array>()
    const signal = AbortSignal.abort(new Error("stop"))
    const options = { key: "k", sourceless: false }
    await expect(writeBundle(memorySink(files), plan, randomBundle(plan, 1), { ...options, signal })).rejects.toThrow(
      "stop",
    )
    const short = [...randomBundle(plan, 1)].slice(0, -1)
    await expect(writeBundle(memorySink(files), plan, short, options)).rejects.toThrow("internal: bundle: ended at")
    expect(files.size).toBe(0)
  })

  test("reports bytes up to the whole size, and is the same for the same seed alone", async () => {
    const plan = planOf(bundleOptions("int8+int4"))
    const done: number[] = []
    const write = async (seed: number) => {
      const files = new Map<string, Uint8Array>()
      const onProgress = ({ doneBytes }: { doneBytes: number }) => void done.push(doneBytes)
      await writeBundle(memorySink(files), plan, randomBundle(plan, seed), { key: "k", sourceless: true, onProgress })
      return files
    }
    const first = await write(1)
    expect(done.at(-1)).toBe(plan.sizeBytes)
    expect(done).toEqual(done.toSorted((a, b) => a - b))
    expect(await write(1)).toEqual(first)
    expect((await write(2)).get("weights.bin")).not.toEqual(first.get("weights.bin"))
  })
})

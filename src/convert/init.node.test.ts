/** @file New model folders: complete, readable by everything, the same for the same seed, and never over other files. */
import { readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { openFolder } from "../checkpoint/index.node.ts"
import { checkAgainstSpecs, openCheckpoint, openPt, readJsonObject, readText } from "../checkpoint/index.ts"
import { parseImageConfig } from "../image/index.ts"
import { VOCOS_FILE } from "../models/minicpmo/index.ts"
import { f32Data } from "../tensor/index.ts"
import { readTokenizer, readTtsTokenizer } from "../tokenizer/index.ts"
import { openModelWeights } from "./convert.node.ts"
import { filesBelow, temporaryFolders } from "./folders.test-util.node.ts"
import { initCheckpoint } from "./init.node.ts"
import { officialTensors } from "./official-tensors.ts"
import { modelPlan } from "./presets.ts"
import { dequantizeInt8Blocks } from "./quantize-int8-blocks.ts"

const temporary = temporaryFolders()
const newPath = () => join(temporary(), "model")
const nano = { preset: "nano", layers: 1 } as const

describe("initCheckpoint", () => {
  test("makes a complete folder of at most 30 MB that every reader accepts", async () => {
    const directory = newPath()
    const done: number[] = []
    const { sizeBytes, parameters } = await initCheckpoint({
      directory,
      preset: "nano",
      onProgress: ({ doneBytes }) => void done.push(doneBytes),
    })
    expect(done.at(-1)).toBe(sizeBytes)
    expect(sizeBytes).toBe(2 * parameters)
    const total = filesBelow(directory).reduce((sum, file) => sum + statSync(join(directory, file)).size, 0)
    expect(total).toBeLessThan(30e6)
    await using source = openFolder(directory)
    const config = await readJsonObject(source, "config.json")
    const checkpoint = await openCheckpoint(source)
    const specs = officialTensors(config, modelPlan("nano").sizes)
    checkAgainstSpecs(checkpoint, specs, { ownedPrefixes: [""] })
    expect(new Set(checkpoint.names().map((name) => checkpoint.info(name).dtype))).toEqual(new Set(["bf16"]))
    const gains = await checkpoint.readF32("llm.model.norm.weight")
    expect(Math.max(...gains.data.map((gain) => Math.abs(gain - 1)))).toBeLessThan(0.1)
    expect((await openPt(source, VOCOS_FILE)).has("head.istft.window")).toBe(true)
    const files = { readText: (path: string) => readText(source, path) }
    const { tokenizer } = await readTokenizer(files)
    expect(tokenizer.decode(tokenizer.encode("Hello 你好"))).toBe("Hello 你好")
    await readTtsTokenizer(files)
    expect(parseImageConfig(await readJsonObject(source, "preprocessor_config.json")).tokens.featureSize).toBe(64)
  })

  test("says where nothing can be written", async () => {
    const long = join(temporary(), "x".repeat(250))
    await expect(initCheckpoint({ directory: long, ...nano })).rejects.toThrow(
      /x: expected to write there, got: ENAMETOOLONG: .*\(free some space, or choose another folder\)$/,
    )
  })

  test("the same seed gives the same bytes, another seed others", async () => {
    const bytesOf = async (seed: number) => {
      const directory = newPath()
      await initCheckpoint({ directory, ...nano, seed })
      return filesBelow(directory).map((file) => `${file} ${readFileSync(join(directory, file)).toString("base64")}`)
    }
    const first = await bytesOf(3)
    expect(await bytesOf(3)).toEqual(first)
    const other = await bytesOf(4)
    const changed = first.filter((text, i) => other[i] !== text).map((text) => text.split(" ")[0])
    expect(changed).toEqual(["assets/Vocos.pt", "model.safetensors"])
  })

  test("quantized: all weights exist as a bundle alone", async () => {
    const directory = newPath()
    await initCheckpoint({ directory, ...nano, seed: 1, quantize: "int8+int4", blockSize: 32 })
    expect(filesBelow(directory).filter((path) => path.endsWith(".safetensors"))).toEqual([])
    using weights = await openModelWeights({ directory, quantize: "int8" })
    const store = weights.weights("int8")
    expect(store.storage("llm.model.layers.0.mlp.down_proj.weight")).toEqual({
      ...{ kind: "int8", rotation: 128 },
      balance: "llm.model.layers.0.mlp.down_proj.weight.balance",
    })
    expect(store.storage("llm.lm_head.weight")).toMatchObject({ kind: "int4", blockSize: 32, rotation: 128 })
    expect(store.storage("llm.model.layers.1.mlp.down_proj.weight")).toEqual({ kind: "f32" })
    expect(weights.readRows("llm.model.embed_tokens.weight", [0, 2047]).every(Number.isFinite)).toBe(true)
    // Magnitudes are those of the floats; the table of positions is no random one.
    const name = "tts.model.layers.0.mlp.gate_proj.weight"
    expect(store.storage(name)).toMatchObject({ kind: "int8-blocks", blockSize: 64, rotation: 1 })
    const codes = store.read(`${name}.int8b`, "u8", [384, 2, 64]).data as Uint8Array
    const scales = f32Data(store.read(`${name}.int8b.scales`, "f32", [384, 2]))
    const gate = dequantizeInt8Blocks(codes, scales, { width: 128, blockSize: 64 })
    const deviation = Math.sqrt(gate.reduce((sum, value) => sum + value ** 2, 0) / gate.length)
    expect(deviation * Math.sqrt(128)).toBeCloseTo(1, 1)
    const positions = f32Data(store.read("apm.embed_positions.weight", "f32", [1500, 128]))
    expect(Array.from(positions.subarray(0, 128))).toEqual(Array.from({ length: 128 }, (_, i) => (i < 64 ? 0 : 1)))
    await expect(openModelWeights({ directory, quantize: "none" })).rejects.toThrow(
      `${directory}: expected weights for none, got a model that exists as int8+int4 alone`,
    )
  })

  test("refuses a folder with files, takes an empty one, and leaves nothing behind when aborted", async () => {
    const directory = temporary()
    writeFileSync(join(directory, "notes.txt"), "mine")
    await expect(initCheckpoint({ directory, ...nano })).rejects.toThrow(
      `init: expected a new or empty folder, got ${directory} with 1 files (choose another, or empty it)`,
    )
    await expect(initCheckpoint({ directory: join(directory, "notes.txt"), ...nano })).rejects.toThrow(
      "init: expected a new folder, got",
    )
    expect(filesBelow(directory)).toEqual(["notes.txt"])
    const empty = temporary()
    await initCheckpoint({ directory: empty, ...nano })
    expect(filesBelow(empty)).toContain("config.json")
    const parent = temporary()
    const signal = AbortSignal.abort(new Error("no"))
    await expect(initCheckpoint({ directory: join(parent, "a"), ...nano, signal })).rejects.toThrow("no")
    expect(filesBelow(parent)).toEqual([])
  })

  test("refuses options that make no sense", async () => {
    const directory = newPath()
    await expect(initCheckpoint({ directory, ...nano, seed: 0.5 })).rejects.toThrow(
      "seed: expected a whole number, got 0.5",
    )
    await expect(initCheckpoint({ directory, ...nano, layers: -1 })).rejects.toThrow("layers: expected a positive")
    await expect(initCheckpoint({ directory, ...nano, quantize: "int4", blockSize: 7 })).rejects.toThrow(
      "blockSize: expected 32, 64, 128, got 7",
    )
  })
})

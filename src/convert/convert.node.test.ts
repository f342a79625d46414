/** @file Converting model folders: made once, found again, rebuilt when broken, right when run, and honest errors. */
import { spawn } from "node:child_process"
import { appendFileSync, existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { folderSink, openFolder } from "../checkpoint/index.node.ts"
import { openCheckpoint, readJsonObject, writeCheckpoint } from "../checkpoint/index.ts"
import { parseQwen2Config, qwen2HeadGraph, qwen2LayersGraph } from "../models/minicpmo/index.ts"
import { rotaryTables } from "../nn/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createReferenceExecutor, type Executor, type WeightStore } from "../runtime/index.ts"
import { f32, f32Data, narrowFromF32 } from "../tensor/index.ts"
import { convertCheckpoint, openModelWeights } from "./convert.node.ts"
import { CHECKPOINT, copyCheckpoint, filesBelow, temporaryFolders } from "./folders.test-util.node.ts"
import { relativeError } from "./weights.test-util.ts"

const EMBEDDINGS = "llm.model.embed_tokens.weight"
const temporary = temporaryFolders()
const newCopy = () => copyCheckpoint(join(temporary(), "model"))

async function qwen2() {
  await using source = openFolder(CHECKPOINT)
  return parseQwen2Config(await readJsonObject(source, "config.json"))
}

/** Hidden states after all layers, and logits, of a few tokens. */
async function answer(executor: Executor, weights: WeightStore, embeddings: Float32Array) {
  const config = await qwen2()
  const steps = embeddings.length / config.hiddenSize
  const layers = await executor.compile(qwen2LayersGraph(config, { first: 0, end: config.numHiddenLayers }), weights)
  const head = await executor.compile(qwen2HeadGraph(config), weights)
  const positions = Array.from({ length: steps }, (_, i) => i)
  const { cos, sin } = rotaryTables(positions, [1, steps], config.headSize, config.ropeTheta)
  const spec = Array.from({ length: config.numHiddenLayers }, (_, i) => ({
    name: `layers.${i}`,
    kvHeads: config.numKeyValueHeads,
    headSize: config.headSize,
  }))
  const hidden = f32([1, steps, config.hiddenSize], embeddings)
  const { hiddenStates } = await executor.run(layers, { hidden, cos, sin }, { cache: executor.createCache(spec, 1) })
  const { logits } = await executor.run(head, { normed: hiddenStates! })
  return { hidden: f32Data(hiddenStates!), logits: f32Data(logits!) }
}

describe("convertCheckpoint", () => {
  test("makes a bundle beside the checkpoint once, one for each way to quantize", async () => {
    const directory = newCopy()
    const done: number[] = []
    const onProgress = ({ doneBytes, totalBytes }: { doneBytes: number; totalBytes: number }) =>
      void done.push(doneBytes / totalBytes)
    const first = await convertCheckpoint({ directory, quantize: "int8+int4", onProgress })
    expect(first.reused).toBe(false)
    expect(done.at(-1)).toBe(1)
    expect(filesBelow(first.bundleDirectory!)).toEqual(["bundle.json", "weights.bin"])
    expect(first.bundleDirectory).toContain(join(directory, ".omni"))
    expect(await convertCheckpoint({ directory, quantize: "int8+int4" })).toEqual({ ...first, reused: true })
    const keys = new Set([first.bundleDirectory])
    for (const options of [{ quantize: "int8" }, { quantize: "int4" }, { quantize: "int4", blockSize: 32 }] as const) {
      keys.add((await convertCheckpoint({ directory, ...options })).bundleDirectory)
    }
    expect(keys.size).toBe(4)
    // Blocks mean nothing to int8.
    expect((await convertCheckpoint({ directory, quantize: "int8", blockSize: 32 })).reused).toBe(true)
    expect(await convertCheckpoint({ directory, quantize: "none" })).toMatchObject({ bundleDirectory: undefined })
  })

  test("other weights of the same sizes give another bundle", async () => {
    const directory = newCopy()
    const first = await convertCheckpoint({ directory, quantize: "int4" })
    const file = join(directory, "model-00001-of-00002.safetensors")
    const bytes = readFileSync(file)
    for (let i = 100_000; i < bytes.length; i += 2) bytes[i]! ^= 1
    writeFileSync(file, bytes)
    const second = await convertCheckpoint({ directory, quantize: "int4" })
    expect(second.reused).toBe(false)
    expect(second.bundleDirectory).not.toBe(first.bundleDirectory)
  })

  test.each([
    ["a weights file cut short", (path: string) => truncateSync(join(path, "weights.bin"), 1000)],
    ["a weights file that grew", (path: string) => appendFileSync(join(path, "weights.bin"), "x")],
    ["no manifest", (path: string) => rmSync(join(path, "bundle.json"))],
    ["half a manifest", (path: string) => truncateSync(join(path, "bundle.json"), 100)],
    ["another version", (path: string) => replaceIn(join(path, "bundle.json"), '"version": 3', '"version": 2')],
  ])("%s: the bundle is made again", async (_, breakIt) => {
    const directory = newCopy()
    const first = await convertCheckpoint({ directory, quantize: "int4" })
    const want = readFileSync(join(first.bundleDirectory!, "weights.bin"))
    breakIt(first.bundleDirectory!)
    expect(await convertCheckpoint({ directory, quantize: "int4" })).toEqual(first)
    expect(readFileSync(join(first.bundleDirectory!, "weights.bin")).equals(want)).toBe(true)
    expect(filesBelow(join(directory, ".omni")).length).toBe(2)
  })

  test("two at once, here and in another process, end with one whole bundle", async () => {
    const directory = newCopy()
    const script = `import { convertCheckpoint } from ${JSON.stringify(join(import.meta.dirname, "index.node.ts"))}
      await convertCheckpoint({ directory: ${JSON.stringify(directory)}, quantize: "int8" })`
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit" })
    const exited = new Promise<number | null>((resolve) => child.on("exit", resolve))
    const here = await Promise.all([1, 2].map(() => convertCheckpoint({ directory, quantize: "int8" })))
    expect(await exited).toBe(0)
    expect(here[0]!.bundleDirectory).toBe(here[1]!.bundleDirectory)
    expect(filesBelow(join(directory, ".omni")).length).toBe(2)
    expect((await convertCheckpoint({ directory, quantize: "int8" })).reused).toBe(true)
  })

  test("an abort leaves nothing behind", async () => {
    const directory = newCopy()
    const controller = new AbortController()
    const onProgress = ({ doneBytes }: { doneBytes: number }) => {
      if (doneBytes > 500_000) controller.abort(new Error("enough"))
    }
    const { signal } = controller
    await expect(convertCheckpoint({ directory, quantize: "int8", onProgress, signal })).rejects.toThrow("enough")
    expect(filesBelow(join(directory, ".omni"))).toEqual([])
  })

  test("bundles go to the cache folder where the model folder cannot be written", async () => {
    const [directory, cacheDirectory] = [newCopy(), temporary()]
    writeFileSync(join(directory, ".omni"), "a file where the folder would be")
    const { bundleDirectory } = await convertCheckpoint({ directory, quantize: "int4", cacheDirectory })
    expect(bundleDirectory).toContain(cacheDirectory)
    expect((await convertCheckpoint({ directory, quantize: "int4", cacheDirectory })).reused).toBe(true)
    await expect(convertCheckpoint({ directory, quantize: "int4" })).rejects.toThrow(
      `convert: expected a folder that can be written, got ${join(directory, ".omni")} (check permissions)`,
    )
  })

  test("NaN in a weight is refused by name and row", async () => {
    const directory = temporary()
    await using source = openFolder(CHECKPOINT)
    const checkpoint = await openCheckpoint(source)
    const bad = "llm.model.layers.1.mlp.up_proj.weight"
    const plan = checkpoint.names().map((name) => ({ name, ...checkpoint.info(name) }))
    await writeCheckpoint(folderSink(directory), plan, async function* ({ name }) {
      const { data } = await checkpoint.read(name)
      if (name === bad)
        (data as Uint16Array)[5 * 256 + 3] = (narrowFromF32("bf16", Float32Array.of(Number.NaN)) as Uint16Array)[0]!
      yield data
    })
    writeFileSync(join(directory, "config.json"), readFileSync(join(CHECKPOINT, "config.json")))
    await expect(convertCheckpoint({ directory, quantize: "int8+int4" })).rejects.toThrow(
      `${bad}: expected finite weights, got NaN in row 5 (the checkpoint is damaged; download it again)`,
    )
    expect(filesBelow(join(directory, ".omni"))).toEqual([])
  })

  test("a folder that does not fit its config, or is none, is refused", async () => {
    const directory = newCopy()
    replaceIn(join(directory, "config.json"), '"intermediate_size": 320', '"intermediate_size": 352')
    await expect(convertCheckpoint({ directory, quantize: "int4" })).rejects.toThrow(
      "llm.model.layers.0.mlp.gate_proj.weight: expected [352, 256], got [320, 256] (check the sizes in config.json)",
    )
    await expect(convertCheckpoint({ directory: temporary(), quantize: "int4" })).rejects.toThrow(
      "config.json: expected",
    )
  })
})

describe("out", () => {
  test("makes a model folder that needs the original no more", async () => {
    const directory = newCopy()
    const out = join(temporary(), "small")
    await convertCheckpoint({ directory, quantize: "int4", out })
    expect(filesBelow(out).filter((path) => path.endsWith(".safetensors"))).toEqual([])
    expect(existsSync(join(out, "assets/Vocos.pt"))).toBe(true)
    expect(existsSync(join(out, "assets/chattts_tokenizer/tokenizer.json"))).toBe(true)
    await using source = openFolder(directory)
    const original = await openCheckpoint(source)
    using weights = await openModelWeights({ directory: out, quantize: "int4" })
    const store = weights.weights("int4")
    expect(store.storage("llm.lm_head.weight").kind).toBe("int4")
    for (const name of ["vpm.post_layernorm.bias", "tts.emb_text.weight", "tts.dvae.coef"]) {
      const { shape } = original.info(name)
      expect(store.read(name, "f32", shape).data, name).toEqual((await original.readF32(name)).data)
    }
    await expect(convertCheckpoint({ directory: out, quantize: "int8" })).rejects.toThrow(
      `${out}: expected weights for int8, got a model that exists as int4 alone (choose that, or take the original model)`,
    )
    await expect(convertCheckpoint({ directory: out, quantize: "int4", out: join(out, "x") })).rejects.toThrow(
      "got a model that is quantized already (leave out)",
    )
  })

  test("a config of another model, and a bundle of an older release, are told", async () => {
    const out = join(temporary(), "small")
    await convertCheckpoint({ directory: newCopy(), quantize: "int4", out })
    replaceIn(join(out, "config.json"), '"encoder_layers": 3', '"encoder_layers": 4')
    await expect(openModelWeights({ directory: out, quantize: "int4" })).rejects.toThrow(
      /bundle: apm\.layers\.3\.self_attn_layer_norm\.weight: expected f32 \[32\], got none; .* and \d+ more \(config.json and bundle must be of one model\)/,
    )
    replaceIn(join(out, "config.json"), '"encoder_layers": 4', '"encoder_layers": 2')
    await expect(openModelWeights({ directory: out, quantize: "int4" })).rejects.toThrow(
      "apm.layers.2.self_attn_layer_norm.weight: expected none, got f32 [32]",
    )
    replaceIn(join(out, "bundle", "bundle.json"), '"version": 3', '"version": 2')
    await expect(openModelWeights({ directory: out, quantize: "int4" })).rejects.toThrow(
      "bundle.json: version: expected 3, got 2 (its weights exist nowhere else: convert the original model again",
    )
  })

  test("refuses a folder with files in it", async () => {
    const out = temporary()
    writeFileSync(join(out, "thesis.txt"), "precious")
    await expect(convertCheckpoint({ directory: newCopy(), quantize: "int4", out })).rejects.toThrow(
      `convert: expected a new or empty folder, got ${out} with 1 files (choose another, or empty it)`,
    )
    expect(filesBelow(out)).toEqual(["thesis.txt"])
  })
})

describe("the weights of a bundle", () => {
  test("run in ONNX Runtime from the mapped file, close to exact floats", async () => {
    const directory = newCopy()
    using floats = await openModelWeights({ directory, quantize: "none" })
    using bundle = await openModelWeights({ directory, quantize: "int8+int4" })
    const ids = [5, 17, 300, 299, 41, 600]
    const embeddings = bundle.readRows(EMBEDDINGS, ids)
    expect(embeddings).toEqual(floats.readRows(EMBEDDINGS, ids))
    await using cpu = createOrtNodeExecutor({ device: "cpu" })
    const activationBits = await cpu.activationBits()
    const reference = createReferenceExecutor({ activationBits })
    const want = await answer(reference, floats.weights("f32"), embeddings)
    expect(relativeError((await answer(cpu, floats.weights("f32"), embeddings)).logits, want.logits)).toBeLessThan(1e-5)
    // Measured: 0.025 with activations of 8 bits, and 0.23, after three layers of random weights. ONNX Runtime rounds inputs to 8 bits for int4, too.
    for (const [kind, bound, apart] of [
      ["int8", activationBits === 8 ? 0.04 : 0.06, 1e-5],
      ["int4", 0.3, 0.04],
    ] as const) {
      const store = bundle.weights(kind)
      const unread = { ...store, read: (name: string) => expect.fail(`${name} was read, not mapped`) }
      const mapped = await answer(cpu, unread, embeddings)
      const evaluated = await answer(reference, bundle.weights(kind), embeddings)
      expect(relativeError(mapped.hidden, want.hidden), kind).toBeLessThan(bound)
      expect(relativeError(mapped.hidden, evaluated.hidden), kind).toBeLessThan(apart)
    }
  })

  test("close ends reading", async () => {
    const directory = newCopy()
    const bundle = await openModelWeights({ directory, quantize: "int4" })
    bundle.close()
    bundle.close()
    expect(() => bundle.readRows(EMBEDDINGS, [1])).toThrow("expected an open bundle, got one that was closed")
  })

  test("floats in memory refuse what bundles refuse", async () => {
    using floats = await openModelWeights({ directory: CHECKPOINT, quantize: "none" })
    expect(() => floats.readRows(EMBEDDINGS, [1e6])).toThrow(`${EMBEDDINGS}: expected row ids below 914, got 1000000`)
    expect(() => floats.readRows("nope", [1])).toThrow("nope: expected a weight of the model, got none")
  })
})

function replaceIn(path: string, from: string, to: string): void {
  const text = readFileSync(path, "utf8")
  expect(text).toContain(from)
  writeFileSync(path, text.replace(from, to))
}

/** @file The table of official tensors against a checkpoint in the official layout, and against the official counts. */
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { openFolder } from "../checkpoint/index.node.ts"
import { openCheckpoint, openPt, readJsonObject } from "../checkpoint/index.ts"
import { dvaeConfig, VOCOS_FILE, vocosConfig } from "../models/minicpmo/index.ts"
import { sizeOf, type TensorSpec } from "../tensor/index.ts"
import { modelFiles } from "./model-files.ts"
import { officialTensors, randomTensors, vocosTensors } from "./official-tensors.ts"
import { modelPlan } from "./presets.ts"

const CHECKPOINT = join(import.meta.dirname, "../../test/fixtures/tiny-a/checkpoint")

const shapes = (specs: ReadonlyMap<string, { readonly shape: readonly number[] }>) =>
  Object.fromEntries([...specs].map(([name, { shape }]) => [name, shape.join()] as const))

describe("officialTensors", () => {
  test("names and shapes are those of a checkpoint in the official layout", async () => {
    await using source = openFolder(CHECKPOINT)
    const checkpoint = await openCheckpoint(source)
    const shapeOf = (name: string) => (checkpoint.has(name) ? checkpoint.info(name).shape : undefined)
    const deadTokenRows = shapeOf("tts.model.embed_tokens.weight")![0]!
    const specs = officialTensors(await readJsonObject(source, "config.json"), {
      dvae: dvaeConfig(shapeOf, 4),
      deadTokenRows,
    })
    expect(shapes(specs)).toEqual(shapes(new Map(checkpoint.names().map((name) => [name, checkpoint.info(name)]))))
  })

  describe("at full size", () => {
    let specs: Map<string, TensorSpec>
    beforeAll(() => {
      const plan = modelPlan("full")
      specs = officialTensors(plan.config, plan.sizes)
    })
    const under = (prefix: string) => [...specs].filter(([name]) => name.startsWith(`${prefix}.`))
    const parameters = (prefix: string) => under(prefix).reduce((sum, [, { shape }]) => sum + sizeOf(shape), 0)

    test.each([
      ["llm", 339, 7_613_007_360],
      ["vpm", 437, 417_792_240],
      ["resampler", 13, 68_619_264],
      ["apm", 367, 307_216_384],
    ])("%s has %i tensors and %i parameters", (prefix, count, total) => {
      expect(under(prefix).length).toBe(count)
      expect(parameters(prefix)).toBe(total)
    })

    test("everything but speech has the official total, and the codec about 15 million", () => {
      const speech = parameters("tts")
      expect([...specs.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0) - speech).toBe(8_423_157_488)
      expect(parameters("tts.dvae") / 1e6).toBeCloseTo(15, 0)
      expect(speech / 1e6).toBeCloseTo(252, -0.5)
    })
  })
})

describe("vocosTensors", () => {
  test("names and shapes are those of the official file", async () => {
    await using source = openFolder(CHECKPOINT)
    const file = await openPt(source, VOCOS_FILE)
    const vocos = vocosConfig((name) => (file.has(name) ? file.info(name).shape : undefined))
    const tensors = vocosTensors({ vocos }, 1)
    expect(shapes(tensors)).toEqual(shapes(new Map(file.names().map((name) => [name, file.info(name)]))))
    for (const name of file.names().filter((name) => /window|\.fb$/.test(name))) {
      const want = (await file.readF32(name)).data
      const got = tensors.get(name)!.data
      const error = got.reduce((largest, value, i) => Math.max(largest, Math.abs(value - want[i]!)), 0)
      expect(error, name).toBeLessThan(1e-5)
    }
  })

  test("at full size there are 81 trained tensors of 13.53 million values", () => {
    const tensors = [...vocosTensors(modelPlan("full").sizes, 1)].filter(([name]) => !name.startsWith("feature"))
    expect(tensors.length).toBe(81)
    expect(tensors.reduce((sum, [, { shape }]) => sum + sizeOf(shape), 0) / 1e6).toBeCloseTo(13.53, 2)
  })
})

describe("randomTensors", () => {
  test("audio positions are the sinusoids of the official checkpoint", () => {
    const draw = randomTensors(new Map(), 1)
    const shape = [4, 6]
    const [bits] = draw({ name: "apm.embed_positions.weight", dtype: "f32", shape }) as [Float32Array]
    expect(bits[0]).toBe(0) // sin 0
    expect(bits[3]).toBe(1) // cos 0
    expect(bits[6]).toBeCloseTo(Math.sin(1), 6) // position 1, frequency 1
    expect(bits[6 + 2]).toBeCloseTo(Math.sin(1e-4), 6) // the last frequency is 1 / 10,000
  })
})

describe("modelFiles", () => {
  test("token ids of the configs are those of the tokenizers", () => {
    const { files, config } = modelFiles(modelPlan("nano"))
    const added = JSON.parse(files.get("added_tokens.json")!)
    expect(config.bos_token_id).toBe(added["<|endoftext|>"])
    expect(config.eos_token_id).toBe(added["<|im_end|>"])
    expect(JSON.parse(files.get("generation_config.json")!).eos_token_id).toEqual([
      added["<|im_end|>"],
      added["<|endoftext|>"],
    ])
    expect(Object.values(added).every((id) => (id as number) < config.vocab_size)).toBe(true)
    const tts = JSON.parse(files.get("assets/chattts_tokenizer/tokenizer.json")!)
    expect(tts.model.vocab["[CLS]"]).toBeDefined()
    expect(config.tts_config.audio_bos_token_id as number).toBeLessThan(config.tts_config.num_text_tokens)
  })

  test("presets and layers are checked", () => {
    expect(() => modelPlan("tiny")).toThrow("preset: expected nano or full, got tiny")
    expect(() => modelPlan("nano", 0)).toThrow("layers: expected a positive whole number, at most 1000, got 0")
    expect(() => modelPlan("nano", 1001)).toThrow("at most 1000, got 1001")
    expect(modelPlan("full", 3).config.num_hidden_layers).toBe(3)
  })
})

/** @file Loading model folders: what works, what each damaged folder is told, and that nothing stays open after it. */
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { copyCheckpoint, temporaryFolders } from "../convert/folders.test-util.node.ts"
import { convertCheckpoint } from "../convert/index.node.ts"
import { CheckpointError, ConfigError } from "../util/index.ts"
import { answer, load } from "./load.test-util.node.ts"
import type { LoadOptions } from "./messages.ts"

const temporary = temporaryFolders()
const newCopy = () => copyCheckpoint(join(temporary(), "model"))
const SHARD = "model-00002-of-00002.safetensors"
const INDEX = "model.safetensors.index.json"

/** Files below a folder that this process has open or mapped; undefined where the system does not say. */
function openBelow(directory: string): string[] | undefined {
  if (!existsSync("/proc/self/fd")) return undefined
  const descriptors = readdirSync("/proc/self/fd").map((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`)
    } catch {
      return "" // the one that listed the folder
    }
  })
  const mapped = readFileSync("/proc/self/maps", "utf8").split("\n")
  return [...descriptors, ...mapped].filter((path) => path.includes(directory))
}
const nothingOpen = (directory: string) => expect(openBelow(directory) ?? []).toEqual([])

function change(directory: string, file: string, edit: (text: string) => string): void {
  const path = join(directory, file)
  const text = readFileSync(path, "utf8")
  const edited = edit(text)
  expect(edited).not.toBe(text)
  writeFileSync(path, edited)
}

/** Loads a folder that was damaged, and expects the error that says how. */
async function refused(
  damage: (directory: string) => void,
  error: new (message: string) => Error,
  message: (directory: string) => string,
  options: Partial<LoadOptions> = {},
): Promise<void> {
  const directory = newCopy()
  damage(directory)
  const loading = load(directory, options)
  await expect(loading).rejects.toThrow(error)
  await expect(loading).rejects.toThrow(message(directory))
  nothingOpen(directory)
}

describe("a whole folder", () => {
  test("loads as it is wished, says what it is, and is closed whole", async () => {
    const directory = newCopy()
    for (const [quantize, device, got] of [
      ["auto", "reference", "none"],
      ["auto", "auto", "none"],
      ["int8", "cpu", "int8"],
      ["int8+int4", "cpu", "int8+int4"],
    ] as const) {
      const stages: string[] = []
      const loaded = await load(directory, { quantize, device }, (stage, fraction) => {
        expect(fraction).toBeGreaterThanOrEqual(0)
        expect(fraction).toBeLessThanOrEqual(1)
        if (stages.at(-1) !== stage) stages.push(stage)
      })
      expect(loaded.info).toMatchObject({
        ...{ name: "model", device: device === "auto" ? "cpu" : device, quantize: got, layers: 3, vocabSize: 914 },
      })
      expect(stages).toEqual(got === "none" ? ["loading"] : ["quantizing", "loading"])
      if (quantize === "int8") expect(openBelow(directory)?.length).not.toBe(0)
      await loaded[Symbol.asyncDispose]()
      nothingOpen(directory)
    }
  })

  test("answers the same each time it is loaded, on the reference as on the CPU", async () => {
    const directory = newCopy()
    const want = await answer(directory)
    expect(want).not.toBe("")
    expect(await answer(directory)).toBe(want)
    expect(await answer(directory, { device: "reference" })).toBe(want)
    expect(await answer(directory, { quantize: "int8" })).toBe(await answer(directory, { quantize: "int8" }))
  })

  test("that exists quantized alone gives what it has, and refuses what it has not", async () => {
    const directory = join(temporary(), "small")
    await convertCheckpoint({ directory: newCopy(), quantize: "int4", out: directory })
    await using loaded = await load(directory)
    expect(loaded.info.quantize).toBe("int4")
    for (const quantize of ["int8", "none", "int8+int4"] as const) {
      await expect(load(directory, { quantize })).rejects.toThrow(
        new ConfigError(
          `${directory}: expected weights for ${quantize}, got a model that exists as int4 alone ` +
            "(choose that, or take the original model)",
        ),
      )
    }
  })
})

describe("damaged folders", () => {
  test("none, or one that is no model", async () => {
    const empty = temporary()
    for (const path of [join(empty, "nowhere"), empty, "relative/nowhere"]) {
      await expect(load(path)).rejects.toThrow(
        new CheckpointError(
          `${path}: expected a model folder with a config.json, got none ` +
            "(give the folder of a checkpoint, or make one with omni init)",
        ),
      )
    }
  })

  test.each([
    ["{", "config.json: expected JSON, got an end at line 1, column 2"],
    ["", "config.json: expected JSON, got an end at line 1, column 1"],
    ["[1]", "config.json: expected a JSON object, got an array (check the file)"],
    ["{}", "config.json: hidden_size: expected number, got undefined"],
    [Buffer.from([0xff, 0xfe, 0]), "config.json: expected UTF-8 text, got other bytes"],
  ])("config.json that is %j", async (content, message) => {
    await refused(
      (directory) => writeFileSync(join(directory, "config.json"), content),
      ConfigError,
      () => message,
    )
  })

  test.each(["none", "int4"] as const)(
    "a config of other sizes than the tensors: both shapes, %s",
    async (quantize) => {
      await refused(
        (directory) => change(directory, "config.json", (text) => text.replace('_size": 320', '_size": 352')),
        CheckpointError,
        () =>
          "llm.model.layers.0.mlp.gate_proj.weight: expected [352, 256], got [320, 256] (check the sizes in config.json)",
        { quantize },
      )
      await refused(
        (directory) =>
          change(directory, "config.json", (text) => text.replace('hidden_layers": 3', 'hidden_layers": 4')),
        CheckpointError,
        () => "llm.model.layers.3.",
        { quantize },
      )
    },
  )

  test.each(["none", "int8"] as const)("a shard cut short, %s", async (quantize) => {
    await refused(
      (directory) => truncateSync(join(directory, SHARD), 1_000_000),
      CheckpointError,
      () => SHARD,
      {
        quantize,
      },
    )
    await refused(
      (directory) => truncateSync(join(directory, SHARD), 4),
      CheckpointError,
      () => SHARD,
      { quantize },
    )
    await refused(
      (directory) => truncateSync(join(directory, SHARD), 0),
      CheckpointError,
      () => SHARD,
      { quantize },
    )
  })

  test("a shard that is missing", async () => {
    await refused(
      (directory) => rmSync(join(directory, SHARD)),
      CheckpointError,
      (directory) => `${INDEX}: expected the shard "${SHARD}" in ${directory}, got none (download it)`,
    )
  })

  test("all weights missing", async () => {
    await refused(
      (directory) => rmSync(join(directory, INDEX)),
      CheckpointError,
      (directory) => `${directory}: expected model.safetensors or ${INDEX}, got neither`,
    )
  })

  test("an index without a tensor that its shard holds", async () => {
    await refused(
      (directory) =>
        change(directory, INDEX, (text) => {
          const index = JSON.parse(text) as { weight_map: { [name: string]: string } }
          delete index.weight_map["llm.model.norm.weight"]
          return JSON.stringify(index)
        }),
      CheckpointError,
      () =>
        `${INDEX}: expected "llm.model.norm.weight" in "model-00001-of-00002.safetensors", where it is stored, got no`,
    )
  })

  test("no tokenizer", async () => {
    await refused(
      (directory) => {
        for (const file of ["tokenizer.json", "vocab.json"]) rmSync(join(directory, file))
      },
      ConfigError,
      () => "tokenizer: expected the file vocab.json, got vocab.json: expected a file in",
    )
  })

  test.each([
    ["{", "tokenizer.json: expected JSON"],
    ["{}", "tokenizer.json: expected"],
    ['{"model": {"type": "BPE"}}', "tokenizer.json: expected"],
  ])("tokenizer.json that is %s", async (content, message) => {
    await refused(
      (directory) => writeFileSync(join(directory, "tokenizer.json"), content),
      ConfigError,
      () => message,
    )
  })

  test("a tokenizer of a larger model is told before anything is quantized", async () => {
    const directory = newCopy()
    const id = 914
    change(directory, "tokenizer.json", (text) => {
      const json = JSON.parse(text) as { added_tokens: object[] }
      json.added_tokens.push({ ...json.added_tokens[0]!, id, content: "<new>" })
      return JSON.stringify(json)
    })
    await expect(load(directory, { quantize: "int4" })).rejects.toThrow(
      new ConfigError(
        `tokenizer: expected ids below the model's vocab_size ${id}, got up to ${id} ` +
          "(tokenizer and config.json must come from the same checkpoint)",
      ),
    )
    expect(existsSync(join(directory, ".omni"))).toBe(false)
  })

  test("a bundle that broke is made again", async () => {
    const directory = newCopy()
    const want = await answer(directory, { quantize: "int4" })
    const [name] = readdirSync(join(directory, ".omni"))
    truncateSync(join(directory, ".omni", name!, "weights.bin"), 1000)
    expect(await answer(directory, { quantize: "int4" })).toBe(want)
  })

  test("a bundle that is all there was cannot be", async () => {
    const directory = join(temporary(), "small")
    await convertCheckpoint({ directory: newCopy(), quantize: "int4", out: directory })
    truncateSync(join(directory, "bundle", "weights.bin"), 1000)
    for (const quantize of ["auto", "int4"] as const) {
      const loading = load(directory, { quantize })
      await expect(loading).rejects.toThrow(CheckpointError)
      await expect(loading).rejects.toThrow(
        /bundle\/weights\.bin: expected \d+ bytes, got 1000 \(.*fetch or make the model again\)/,
      )
    }
    nothingOpen(directory)
    writeFileSync(join(directory, "bundle", "bundle.json"), "{")
    await expect(load(directory)).rejects.toThrow(CheckpointError)
  })
})

describe("options", () => {
  test.each([0, -1, 1.5, Number.NaN, 100_000])("%d threads", async (threads) => {
    const directory = newCopy()
    const loading = load(directory, { threads })
    await expect(loading).rejects.toThrow(ConfigError)
    await expect(loading).rejects.toThrow(/^threads: expected a whole number from 1 to \d+, got /)
    nothingOpen(directory)
  })
})

describe("an abort", () => {
  test.each(["quantizing", "loading"])("while %s rejects with its reason and frees everything", async (when) => {
    const directory = newCopy()
    const controller = new AbortController()
    const onStage = (stage: string) => {
      if (stage === when) controller.abort(new Error("changed my mind"))
    }
    await expect(load(directory, { quantize: "int4" }, onStage, controller.signal)).rejects.toThrow("changed my mind")
    nothingOpen(directory)
    const left = readdirSync(join(directory, ".omni"))
    expect(left.length).toBe(when === "quantizing" ? 0 : 1)
    expect(await answer(directory, { quantize: "int4" })).not.toBe("")
  })

  test("before it begins does nothing", async () => {
    const directory = newCopy()
    for (const quantize of ["int4", "none"] as const) {
      const loading = load(directory, { quantize }, undefined, AbortSignal.abort(new Error("no")))
      await expect(loading).rejects.toThrow("no")
    }
    nothingOpen(directory)
  })
})

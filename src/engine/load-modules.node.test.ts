/** @file Parts of a model that its config leaves out: their tensors may be there or not, as the official code has it. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { folderSink, openFolder } from "../checkpoint/index.node.ts"
import { openCheckpoint, writeCheckpoint } from "../checkpoint/index.ts"
import { copyCheckpoint, temporaryFolders } from "../convert/folders.test-util.node.ts"
import { convertCheckpoint } from "../convert/index.node.ts"
import type { HostTensor } from "../tensor/index.ts"
import { ConfigError } from "../util/index.ts"
import type { EngineModel } from "./host.ts"
import { answer, load } from "./load.test-util.node.ts"
import { question } from "./parts.test-util.node.ts"

const temporary = temporaryFolders()
const newCopy = () => copyCheckpoint(join(temporary(), "model"))

/** The text and the loudest sample of an answer aloud to a picture and a sound. */
async function replyTo(loaded: EngineModel) {
  const reply = { text: "", samples: 0, peak: 0 }
  for await (const event of loaded.chat({ ...question(), temperature: 0, maxNewTokens: 4 })) {
    if (event?.type === "text-delta") reply.text += event.text
    if (event?.type !== "audio-delta") continue
    reply.samples += event.pcm.length
    reply.peak = event.pcm.reduce((largest, value) => Math.max(largest, Math.abs(value)), reply.peak)
  }
  return reply
}

/** Changes the config, and what the shards hold; `undefined` takes a tensor away. */
async function rewrite(
  directory: string,
  fields: { readonly [name: string]: unknown },
  edit: (name: string) => string | undefined,
  more: readonly (readonly [name: string, of: string])[] = [],
): Promise<void> {
  const config = JSON.parse(readFileSync(join(directory, "config.json"), "utf8")) as object
  const tensors = new Map<string, HostTensor>()
  {
    await using source = openFolder(directory)
    const checkpoint = await openCheckpoint(source)
    for (const name of checkpoint.names()) {
      const kept = edit(name)
      if (kept !== undefined) tensors.set(kept, await checkpoint.read(name))
    }
    for (const [name, of] of more) tensors.set(name, await checkpoint.read(of))
  }
  for (const name of readdirSync(directory)) if (name.includes("safetensors")) rmSync(join(directory, name))
  const plan = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }))
  await writeCheckpoint(folderSink(directory), plan, ({ name }) => [tensors.get(name)!.data], {})
  writeFileSync(join(directory, "config.json"), JSON.stringify({ ...config, ...fields }))
}

const asIs = (name: string) => name

describe("weights that the config leaves out", () => {
  test("a dropped vision layer may still be in the file, as the official code loads it", async () => {
    const without = newCopy()
    await rewrite(without, { drop_vision_last_layer: true }, (name) =>
      name.startsWith("vpm.encoder.layers.2.") ? undefined : name,
    )
    const directory = newCopy()
    await rewrite(directory, { drop_vision_last_layer: true }, asIs)
    for (const quantize of ["none", "int8"] as const) {
      const [want, got] = [await load(without, { quantize }), await load(directory, { quantize })]
      expect(await replyTo(got)).toEqual(await replyTo(want))
      await got[Symbol.asyncDispose]()
      await want[Symbol.asyncDispose]()
    }
    const out = join(temporary(), "int8")
    await convertCheckpoint({ directory, quantize: "int8", out })
    expect(readdirSync(out).filter((name) => name.endsWith("safetensors"))).toEqual([])
    await rewrite(directory, { drop_vision_last_layer: false }, asIs)
    await using whole = await load(directory)
    expect(whole.info.sees).toBe(true)
  })

  test("the layer after the dropped one is too much, and so is one without a drop", async () => {
    const next = ["vpm.encoder.layers.3.layer_norm1.weight", "vpm.encoder.layers.2.layer_norm1.weight"] as const
    for (const drop_vision_last_layer of [true, false]) {
      const directory = newCopy()
      await rewrite(directory, { drop_vision_last_layer }, asIs, [next])
      await expect(load(directory)).rejects.toThrow(
        `"${next[0]}": expected no such tensor, got one that nothing uses (is config.json of this model?)`,
      )
    }
  })

  test("a head beside tied embeddings is not read", async () => {
    const tied = newCopy()
    await rewrite(tied, { tie_word_embeddings: true }, (name) => (name === "llm.lm_head.weight" ? undefined : name))
    const directory = newCopy()
    await rewrite(directory, { tie_word_embeddings: true }, asIs)
    for (const quantize of ["none", "int8"] as const) {
      expect(await answer(directory, { quantize })).toBe(await answer(tied, { quantize }))
    }
  })

  test.each([
    ["init_vision", ["vpm.", "resampler."], { sees: false, hears: true, speaks: true }, "a model that sees"],
    [
      "init_audio",
      ["apm.", "audio_projection_layer."],
      { sees: true, hears: false, speaks: true },
      "a model that hears",
    ],
    ["init_tts", ["tts."], { sees: true, hears: true, speaks: false }, "a model that speaks"],
  ])(
    "with %s false the part is absent, whether its tensors are there or not",
    async (field, prefixes, can, missing) => {
      const without = newCopy()
      await rewrite(without, { [field]: false }, (name) =>
        prefixes.some((prefix) => name.startsWith(prefix)) ? undefined : name,
      )
      if (field === "init_tts") rmSync(join(without, "assets"), { recursive: true })
      const directory = newCopy()
      await rewrite(directory, { [field]: false }, asIs)
      for (const folder of [without, directory]) {
        for (const quantize of ["none", "int8"] as const) {
          await using loaded = await load(folder, { quantize })
          expect(loaded.info).toMatchObject(can)
          await expect(replyTo(loaded)).rejects.toThrow(missing)
        }
        expect(await answer(folder)).toBe(await answer(newCopy()))
      }
    },
  )

  test("such a switch must be true or false", async () => {
    const directory = newCopy()
    await rewrite(directory, { init_tts: 0 }, asIs)
    await expect(load(directory)).rejects.toThrow(
      new ConfigError(
        `${join(directory, "config.json")}: init_tts: expected boolean, got 0 (compare with the official config.json)`,
      ),
    )
  })
})

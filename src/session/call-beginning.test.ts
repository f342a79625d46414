/** @file A saved call goes on as it began: options that are not given are those it had, and none contradicts what it has read. */
import { beforeAll, expect, test } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { PromptParts } from "../inference/index.ts"
import { ConfigError, InputError, runSteps } from "../util/index.ts"
import { Call } from "./call.ts"
import { scriptedModel } from "./scripted-model.test-util.ts"
import { decodeData, encodeData } from "./snapshot.ts"
import { readCallFile, writeCallFile } from "./snapshot-file.ts"
import type { CallOptions, CallSnapshot } from "./types.ts"
import { VoiceCache } from "./voices.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
let prompts: PromptParts
beforeAll(async () => {
  await using set = await openGoldenSet(TINY)
  prompts = await loadPromptParts(set)
})

const open = (options: CallOptions, snapshot?: CallSnapshot) =>
  runSteps(Call.open({ model: scriptedModel(prompts, []), voices: new VoiceCache(), now: () => 0 }, options, snapshot))
const voice = (amplitude: number) => ({ pcm: new Float32Array(16_000).fill(amplitude), sampleRateHz: 16_000 })
/** One with a member that saved arrays have, too. */
const TOOLS = [{ name: "look", parameters: { type: "object", properties: { $array: { type: "string" } } } }]
const BEGAN: CallOptions = {
  mode: "audio_roleplay",
  language: "zh",
  behaviour: "reference",
  perceive: "always",
  instructions: "Be brief.",
  voice: voice(0.1),
  tools: TOOLS,
}
const beginning = (call: Call) => (decodeData(call.snapshot().bytes) as { readonly began: object }).began

test("nothing has to be given again, and what is given again may be the same", async () => {
  const saved = readCallFile(writeCallFile((await open(BEGAN)).snapshot()))
  expect(saved.version).toBe(2)
  const first = decodeData(saved.bytes) as { readonly began: object }
  for (const options of [{}, BEGAN]) {
    const again = await open(options, saved)
    expect(beginning(again)).toEqual(first.began)
    const { language, mode, behaviour, perceive, tools } = again.options
    expect({ language, mode, behaviour, perceive, tools }).toEqual({
      ...{ language: "zh", mode: "audio_roleplay", behaviour: "reference", perceive: "always", tools: TOOLS },
    })
  }
  const live = await open({ behaviour: "live", perceive: "speech" }, saved)
  expect(live.options).toMatchObject({ behaviour: "live", perceive: "speech" })
})

test.each<[CallOptions, string]>([
  [{ mode: "omni" }, "mode: expected audio_roleplay, as the saved call has read it, got omni (leave mode out)"],
  [{ language: "en" }, "language: expected zh, as the saved call has read it, got en (leave language out)"],
  [
    { voice: voice(0.2) },
    "voice: expected what the saved call began with, as the saved call has read it, got something",
  ],
  [{ instructions: "Talk." }, "instructions: expected what the saved call began with"],
  [{ tools: [] }, "tools: expected what the saved call began with"],
])("what the model has read cannot be something else: case %#", async (options, message) => {
  const saved = (await open(BEGAN)).snapshot()
  await expect(open(options, saved)).rejects.toThrow(ConfigError)
  await expect(open(options, saved)).rejects.toThrow(message)
})

test("a call of the first version takes the options that are given", async () => {
  const { model, bytes } = (await open({ language: "zh" })).snapshot()
  const { began: _, ...data } = decodeData(bytes) as { readonly [key: string]: unknown }
  const saved = readCallFile(writeCallFile({ version: 1, model, bytes: encodeData(data) }))
  expect(saved.version).toBe(1)
  expect((await open({ language: "en" }, saved)).options).toMatchObject({ language: "en", mode: "audio_assistant" })
  await expect(open({}, { ...saved, version: 3 as never })).rejects.toThrow("snapshot: expected version 1 or 2, got 3")
})

test("damage anywhere is told", async () => {
  const { bytes, ...rest } = (await open(BEGAN)).snapshot()
  for (let at = 1; at < bytes.length; at += Math.ceil(bytes.length / 40)) {
    const damaged = bytes.slice()
    damaged[at]! ^= 0x40
    await expect(open({}, { ...rest, bytes: damaged }), `byte ${at} of ${bytes.length}`).rejects.toThrow(InputError)
  }
})

/** @file What a call tells the model at its start and with a question: modes, voices, descriptions, frames. */
import { beforeAll, describe, expect, test } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { PromptParts } from "../inference/index.ts"
import { IM_END } from "../tokenizer/index.ts"
import { runSteps } from "../util/index.ts"
import { Call } from "./call.ts"
import { readable, scriptedModel } from "./scripted-model.test-util.ts"
import type { CallOptions } from "./types.ts"
import { VoiceCache } from "./voices.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
let prompts: PromptParts
beforeAll(async () => {
  await using set = await openGoldenSet(TINY)
  prompts = await loadPromptParts(set)
})

const voiceOf = (pitch: number, sampleRateHz = 16_000) => ({
  pcm: Float32Array.from({ length: 2 * sampleRateHz }, (_, i) => 0.3 * Math.sin((i * pitch) / sampleRateHz)),
  sampleRateHz,
})

/** The system prompt of a call as text, sound as notes. */
async function systemOf(options: CallOptions, model = scriptedModel(prompts, []), voices = new VoiceCache()) {
  const call = await runSteps(Call.open({ model, voices, now: () => 0 }, { temperature: 0, ...options }))
  for await (const _ of call.respond({ speak: false, maxNewTokens: 1 }));
  const [system] = readable(prompts, model.seen.at(-1)!).split("<|im_start|>assistant")
  return { system: system!.replaceAll(/♪+/g, "♪"), model, voices }
}

describe("the system prompt", () => {
  const CLIP = "<|audio_start|>♪<|audio_end|><|audio_start|>♪<|audio_end|>"
  const turn = (text: string) => `<|im_start|>user\n${text}<|im_end|>\n`

  test("of an assistant clones a voice, or takes the built-in one", async () => {
    const ask = "Use the voice in the audio prompt to synthesize new content."
    const be = "You are a helpful assistant with the above voice style."
    expect((await systemOf({ voice: voiceOf(300) })).system).toBe(turn(`${ask}\n${CLIP}\n${be}`))
    expect((await systemOf({})).system).toBe(turn(`Use the <reserved_53> voice.\n${be}`))
  })

  test("of role play", async () => {
    const clone = "Clone the voice in the provided audio prompt."
    const play = "Try to role-play the character based on the audio prompt above."
    expect((await systemOf({ mode: "audio_roleplay", voice: voiceOf(300) })).system).toBe(
      turn(`${clone}\n${CLIP}\n${play}`),
    )
    const own = { mode: "audio_roleplay", language: "zh", voice: voiceOf(300), instructions: "你是孙悟空。" } as const
    expect((await systemOf(own)).system).toBe(turn(`模仿输入音频中的声音特征。\n${CLIP}\n你是孙悟空。`))
  })

  test("of a mode without a voice refuses one", async () => {
    const opening = systemOf({ mode: "default", voice: voiceOf(300) })
    await expect(opening).rejects.toThrow("voice: expected a mode that has a voice, got default (take another mode")
  })

  test("takes a voice described in words, and nothing in it acts", async () => {
    const described = "Speak like an old sailor, slowly. <|im_end|>"
    const { system, model } = await systemOf({ mode: "default", instructions: described })
    expect(system).toBe(turn(described))
    const ends = model.seen.at(-1)!.filter((id) => id === prompts.tokenizer.idOf(IM_END)).length
    expect(ends).toBe(1)
  })

  test("of video goes on with its instructions on a line of their own", async () => {
    const { system } = await systemOf({ mode: "omni", instructions: "Be brief." })
    expect(system).toMatch(/output voice and text\. \nBe brief\.<\|im_end\|>\n$/)
  })
})

describe("a voice", () => {
  test("is encoded once, however many calls speak with it, at any rate it was given", async () => {
    const model = scriptedModel(prompts, [])
    const voices = new VoiceCache()
    for (let call = 0; call < 4; call++) await systemOf({ voice: voiceOf(300) }, model, voices)
    expect(model.counts.encoded).toBe(1)
    expect(voices.encoded).toBe(1)
    await systemOf({ voice: voiceOf(500) }, model, voices)
    await systemOf({ voice: voiceOf(300), mode: "omni" }, model, voices)
    await systemOf({ voice: voiceOf(500), mode: "audio_roleplay" }, model, voices)
    expect([model.counts.encoded, voices.encoded]).toEqual([2, 2])
  })

  test("is not encoded again when a call is restored", async () => {
    const model = scriptedModel(prompts, [])
    const voices = new VoiceCache()
    const options = { voice: voiceOf(300) }
    const call = await runSteps(Call.open({ model, voices, now: () => 0 }, options))
    await runSteps(Call.open({ model, voices: new VoiceCache(), now: () => 0 }, options, call.snapshot()))
    expect(model.counts.encoded).toBe(1)
  })

  test("that was used lately is remembered longest; sixteen are", async () => {
    const model = scriptedModel(prompts, [])
    const voices = new VoiceCache()
    for (let pitch = 1; pitch <= 16; pitch++) await systemOf({ voice: voiceOf(pitch * 100) }, model, voices)
    await systemOf({ voice: voiceOf(100) }, model, voices)
    expect(voices.encoded).toBe(16)
    await systemOf({ voice: voiceOf(1700) }, model, voices) // the second one goes
    await systemOf({ voice: voiceOf(100) }, model, voices)
    expect(voices.encoded).toBe(17)
    await systemOf({ voice: voiceOf(200) }, model, voices)
    expect(voices.encoded).toBe(18)
  })
})

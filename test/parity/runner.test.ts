/** @file Which runner a case gets: names tell settings, so other sets have other names. */
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { audioCases } from "./audio.ts"
import { chatCases } from "./chat.ts"
import { openGoldenSet } from "./golden-set.ts"
import { languageModelCases } from "./language-model.ts"
import { promptCases } from "./prompts.ts"
import { runnerOf } from "./runner.ts"
import { speechCases } from "./speech.ts"
import { streamingCases } from "./streaming.ts"
import { tokenizerCases } from "./tokenizer.ts"
import { visionCases } from "./vision.ts"

await using set = await openGoldenSet(fileURLToPath(new URL("../fixtures/tiny-a", import.meta.url)))
const RUNNERS = {
  ...{ ...audioCases, ...chatCases, ...languageModelCases, ...promptCases },
  ...{ ...speechCases, ...streamingCases, ...tokenizerCases, ...visionCases },
}
const caseOf = (name: string) => set.cases.find((golden) => golden.name === name)!

test.each(set.cases.map(({ name }) => name))("%s gets its own runner, under a longer name as well", (name) => {
  const want = RUNNERS[name as keyof typeof RUNNERS]
  expect(want).toBeDefined()
  expect(runnerOf(caseOf(name))).toBe(want)
  expect(runnerOf({ ...caseOf(name), name: `${name}_b2` })).toBe(want)
})

test.each([
  ["apm_two_audios_chunk1", "apm_two_audios_chunk2"],
  ["inputs_embeds_image_audio", "inputs_embeds_two_images"],
  ["vision_images", "vision_wide_strip"],
  ["vision_small", "vision_padded"],
  ["speech_stream_hold_first", "speech_stream_emit_early"],
  ["streaming_voice", "streaming_text"],
  ["chat_two_images_history", "chat_three_images"],
  ["chat_batch", "chat_padded"],
  ["chat_beam", "chat_default"],
  ["chat_beam", "chat_image"],
])("a case like %s may be called %s", (like, name) => {
  expect(runnerOf({ ...caseOf(like), name })).toBe(RUNNERS[like as keyof typeof RUNNERS])
})

test.each(["video", "vision_video", "melody"])("%s is unknown", (name) => {
  expect(runnerOf({ ...caseOf("tokenizer"), name })).toBeUndefined()
})

/** @file Prompts of the official checkpoint's vocabulary and sizes, against numbers worked out by hand. */
import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { beforeAll, expect, test } from "vitest"
import { skipUnless } from "../../test/skip.ts"
import { WHISPER_MEL } from "../audio/index.ts"
import { parseImageConfig, rgbImage } from "../image/index.ts"
import { loadChatTemplate, loadTokenizer, type OmniTokenizer, tokenizerJsonFromParts } from "../tokenizer/index.ts"
import { chatPrompt, type Message, systemMessage } from "./prompt.ts"
import type { PromptParts } from "./prompt-content.ts"
import { answerPiece, INITIAL_STREAM_PROMPT, messagePiece } from "./stream-prompt.ts"

const VOCABULARY = new URL("../../../shared/data/qwen2-tokenizer/", import.meta.url)

const picture = (width: number, height: number) => ({
  image: rgbImage(width, height, new Uint8Array(3 * width * height)),
})

skipUnless(existsSync(VOCABULARY), "no official vocabulary beside the repository")("at the official sizes", () => {
  let tokenizer: OmniTokenizer
  let parts: PromptParts
  beforeAll(async () => {
    const read = (name: string) => readFile(new URL(name, VOCABULARY), "utf8")
    const added = JSON.parse(await read("added_tokens.json")) as { id: number; content: string }[]
    tokenizer = loadTokenizer({
      tokenizerJson: tokenizerJsonFromParts({
        vocab: JSON.parse(await read("vocab.json")) as Record<string, number>,
        merges: await read("merges.txt"),
        addedTokens: Object.fromEntries(added.map(({ content, id }) => [content, id])),
      }),
    })
    const image = parseImageConfig({
      ...{ scale_resolution: 448, patch_size: 14, max_slice_nums: 9, slice_mode: true, use_image_id: true },
      ...{ norm_mean: [0.5, 0.5, 0.5], norm_std: [0.5, 0.5, 0.5], image_feature_size: 64 },
      ...{ im_start: "<image>", im_end: "</image>", slice_start: "<slice>", slice_end: "</slice>" },
      ...{ im_id_start: "<image_id>", im_id_end: "</image_id>", unk: "<unk>" },
    })
    parts = { tokenizer, template: loadChatTemplate(), image, audio: { mel: WHISPER_MEL, poolStep: 2 } }
  }, 30_000)

  test("one image and a question", () => {
    const { ids, imageSpans } = chatPrompt(parts, [
      { role: "user", content: [picture(448, 448), "What is in the image?"] },
    ])
    expect([ids.length, imageSpans]).toEqual([105, [[28, 92]]])
    const features = new Array<number>(64).fill(128244)
    const question = [198, 3838, 374, 304, 279, 2168, 30, 151645, 198, 151644, 77091, 198]
    expect(ids.slice(21)).toEqual([151644, 872, 198, 151677, 15, 151678, 151665, ...features, 151666, ...question])
  })

  test("an image in slices", () => {
    const message: Message = { role: "user", content: [picture(1280, 720), "What is in the image?"] }
    const { ids, imageSpans } = chatPrompt(parts, [message])
    const turn = ids.slice(21, -3)
    expect(turn).toHaveLength(478)
    const [first] = imageSpans
    const starts = imageSpans.map(([start]) => start - first![0] + 7)
    expect(starts).toEqual([7, 73, 139, 205, 272, 338, 404])
    expect(first).toEqual([28, 92])
  })

  // Visual tokens and prompt tokens without numbers.
  test.each([
    [640, 480, 9, 198],
    [1080, 1920, 9, 597],
    [4032, 3024, 9, 662],
    [500, 3000, 9, 534],
    [450, 450, 9, 199],
    [1920, 1080, 2, 198],
    [1920, 1080, 1, 66],
    [30, 1000, 9, 66],
  ])("an image of %ix%i in at most %i slices takes %i tokens", (width, height, maxSliceNums, tokens) => {
    const options = { maxSliceNums, useImageId: false, useTtsTemplate: true, omniInput: true }
    const count = (content: Message["content"]) => chatPrompt(parts, [{ role: "user", content }], options).ids.length
    expect(count(["x", picture(width, height), "x"]) - count(["x", "<unit>", "x"])).toBe(tokens - 1)
  })

  test("a live conversation: system prompt, units of 94 tokens, the opening of the answer", () => {
    const { content } = systemMessage("omni", "en")
    const [system, first] = messagePiece(parts, INITIAL_STREAM_PROMPT, { role: "user", content })
    expect(system.ids.slice(0, 3)).toEqual([151644, 872, 198])
    expect(system.ids.slice(-4)).toEqual([13, 220, 151645, 198])
    const unit = ["<unit>", picture(1920, 1080), { audio: new Float32Array(16_000) }]
    const [opening, second] = messagePiece(parts, first, { role: "user", content: unit })
    expect(opening.ids).toHaveLength(3 + 94)
    const [next, third] = messagePiece(parts, second, { role: "user", content: unit })
    expect([next.ids.length, next.imageSpans, next.audioSpans]).toEqual([94, [[2, 66]], [[68, 93]]])
    const [answer] = answerPiece(parts, third)
    expect(answer.ids).toEqual([151645, 198, 151644, 77091, 198, 151688, 151689, 151690, 151691])
    expect(answer.speakerSpans).toEqual([[6, 7]])
  })

  test("sound is 25 tokens a second", () => {
    const spans = chatPrompt(parts, [{ role: "user", content: [{ audio: new Float32Array(56_000) }] }]).audioSpans
    expect(spans.map(([start, end]) => end - start)).toEqual([25, 25, 25, 12])
  })
})

import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { readTtsTokenizer } from "./files.ts"
import { checkpointFiles, fixtureJson, memoryFiles } from "./fixtures.test-util.ts"
import type { TtsPromptConfig, TtsPromptLayout, TtsTokenizer } from "./tts-tokenizer.ts"
import { loadTtsTokenizer, ttsPrompt, ttsPromptLayout, ttsTextMask } from "./tts-tokenizer.ts"

type Case = {
  rows: { text: string; ids: number[]; decoded: string }[]
  prepared: { text: string; num_text_tokens: number; ids: number[]; mask_ones: number[]; mask_len: number }[]
  start_ids: number[]
  num_text_tokens: number
}

const golden = fixtureJson<Case>("cases/tts_tokenizer.json")
const { tts_config } = fixtureJson<{ tts_config: TtsPromptConfig }>("checkpoint/config.json")
let tokenizer: TtsTokenizer
let layout: TtsPromptLayout
beforeAll(async () => {
  tokenizer = await readTtsTokenizer(checkpointFiles())
  layout = ttsPromptLayout(tokenizer, tts_config)
})

const ones = (mask: Uint8Array): number[] => [...mask.keys()].filter((i) => mask[i] === 1)

describe("recorded cases", () => {
  test("text to ids to text", () => {
    for (const row of golden.rows) {
      expect(tokenizer.encode(row.text), row.text).toEqual(row.ids)
      expect(tokenizer.decode(row.ids), row.text).toBe(row.decoded)
    }
    expect(tokenizer.size).toBe(golden.num_text_tokens)
  })

  test("prompts of fixed length and their masks", () => {
    expect(layout.startIds).toEqual(golden.start_ids)
    expect(golden.prepared.some((row) => row.num_text_tokens === 300)).toBe(true)
    for (const row of golden.prepared) {
      const prompt = ttsPrompt(tokenizer, layout, row.text)
      expect(prompt.ids, row.text).toEqual(row.ids)
      expect(prompt.textTokens).toBe(row.num_text_tokens)
      expect(prompt.mask).toHaveLength(row.mask_len)
      expect(ones(prompt.mask), row.text).toEqual(row.mask_ones)
    }
  })

  test("names alone give the same layout as tts_config", () => {
    expect(ttsPromptLayout(tokenizer)).toEqual(layout)
  })
})

describe("laws and edges", () => {
  test("every prompt has the same length and frame", () => {
    const texts = fc.string({ unit: "binary", maxLength: 500 })
    fc.assert(
      fc.property(texts, (text) => {
        const { ids, mask, textTokens } = ttsPrompt(tokenizer, layout, text)
        expect([ids.length, mask.length]).toEqual([303, 303])
        expect([ids[0], ids[1], ids[302]]).toEqual([...layout.startIds, layout.audioStartId])
        if (textTokens < 300) expect(ids[2 + textTokens]).toBe(layout.textEndId)
      }),
      { numRuns: 20 },
    )
  })

  test("a text cut inside a word still fills exactly its slots", () => {
    // Cut after 300 tokens, the remaining half word is spelled in other pieces.
    for (let shift = 0; shift < 8; shift++) {
      const text = `${"a ".repeat(shift)}${"supercalifragilistic ".repeat(40)}`
      expect(ttsPrompt(tokenizer, layout, text).ids).toHaveLength(303)
    }
  })

  test("other slot counts and several speakers", () => {
    const wide = ttsPromptLayout(tokenizer, { ...tts_config, num_spk_embs: 2, streaming_text_reserved_len: 5 })
    const prompt = ttsPrompt(tokenizer, wide, "ok")
    const [stts, speaker] = golden.start_ids
    const [end, pad] = [tokenizer.idOf("[Etts]"), tokenizer.idOf("[PAD]")]
    const text = tokenizer.encode("ok")
    expect(prompt.ids).toEqual([stts, speaker, speaker, ...text, end, pad, pad, tokenizer.idOf("[Ptts]")])
    expect(ones(prompt.mask)).toEqual([0, 1, 2, 3, 4, 5, 8])
    expect(ones(ttsTextMask(wide, 5))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  })

  test("texts longer than the stored truncation stay whole", () => {
    expect(tokenizer.encode("a ".repeat(1000))).toHaveLength(1000)
  })

  test("characters beyond U+FFFF are words of their own, and sigma has one lower case", () => {
    const unknown = tokenizer.idOf("[UNK]")
    expect(tokenizer.encode("𠀋𠀋")).toEqual([unknown, unknown])
    const vocab = { "[UNK]": 0, ο: 1, "##σ": 2, "##ς": 3 }
    const json = fixtureJson<{ model: { vocab: unknown }; added_tokens: unknown }>(
      "checkpoint/assets/chattts_tokenizer/tokenizer.json",
    )
    const greek = loadTtsTokenizer({
      tokenizerJson: { ...json, added_tokens: [], model: { ...json.model, type: "WordPiece", vocab } },
    })
    expect(greek.encode("ΟΣ")).toEqual([1, 2])
  })

  test("an unpaired surrogate and an unknown id do no harm", () => {
    expect(tokenizer.encode("ok \ud800")).toEqual(tokenizer.encode("ok"))
    expect(tokenizer.decode([...tokenizer.encode("ok"), 99_999])).toBe("ok")
    expect(tokenizer.decode([])).toBe("")
  })
})

test("errors", async () => {
  expect(() => tokenizer.idOf("[nobody]")).toThrow('expected a token "[nobody]", got none among 755')
  const language = fixtureJson<never>("checkpoint/tokenizer.json")
  expect(() => loadTtsTokenizer({ tokenizerJson: language })).toThrow(
    "tts tokenizer.json: expected a WordPiece model, got BPE (is this the language model's file?)",
  )
  await expect(readTtsTokenizer(memoryFiles({}))).rejects.toThrow(
    "tokenizer: expected the file assets/chattts_tokenizer/tokenizer.json, got no such file",
  )
})

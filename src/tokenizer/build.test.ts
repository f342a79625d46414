import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { learnMerges } from "./bpe-train.ts"
import { buildTokenizer, MIN_VOCAB_SIZE } from "./build.ts"
import { buildTtsTokenizer, MIN_TTS_VOCAB_SIZE } from "./build-tts.ts"
import { readTokenizer, readTtsTokenizer } from "./files.ts"
import { fixtureJson, memoryFiles } from "./fixtures.test-util.ts"
import { ADDED_TOKENS, isSpecialName, TTS_TOKENS, UNK } from "./special-tokens.ts"
import { ttsPrompt, ttsPromptLayout } from "./tts-tokenizer.ts"

const built = buildTokenizer({ vocabSize: 1000 })
const { tokenizer } = await readTokenizer(memoryFiles(built.files))

describe("language model", () => {
  test("encode and decode are inverse up to NFC, also without tokenizer.json", async () => {
    const { "tokenizer.json": _, ...parts } = built.files
    const fromParts = (await readTokenizer(memoryFiles(parts))).tokenizer
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        const ids = tokenizer.encode(text)
        expect(tokenizer.decode(ids)).toBe(text.normalize("NFC"))
        expect(fromParts.encode(text)).toEqual(ids)
      }),
    )
  })

  test("has the strings of the official model, in its order and with its flags", () => {
    type Added = { content: string; special: boolean }[]
    const flags = (added: Added) => added.map(({ content, special }) => [content, special])
    const official = fixtureJson<{ added_tokens: Added }>("checkpoint/tokenizer.json")
    const ours = JSON.parse(built.files["tokenizer.json"]) as { added_tokens: Added }
    expect(flags(ours.added_tokens)).toEqual(flags(official.added_tokens))
    const map = (text: string) => Object.keys(JSON.parse(text) as object)
    expect(map(built.files["added_tokens.json"])).toEqual(Object.keys(fixtureJson("checkpoint/added_tokens.json")))
    expect(JSON.parse(built.files["special_tokens_map.json"])).toEqual(
      fixtureJson("checkpoint/special_tokens_map.json"),
    )
  })

  test("its files are those of the official layout", () => {
    type Json = { model: object; added_tokens: unknown }
    const { model, added_tokens: _, ...frame } = JSON.parse(built.files["tokenizer.json"]) as Json
    const official = fixtureJson<Json>("checkpoint/tokenizer.json")
    const { model: officialModel, added_tokens: __, ...officialFrame } = official
    expect(frame).toEqual(officialFrame)
    expect({ ...model, vocab: 0, merges: 0 }).toEqual({ ...officialModel, vocab: 0, merges: 0 })
    const keys = (json: object) => new Set(Object.keys(json))
    expect(keys(JSON.parse(built.files["tokenizer_config.json"]) as object)).toEqual(
      keys(fixtureJson<object>("checkpoint/tokenizer_config.json")),
    )
  })

  test("<unk> stands inside the base vocabulary and no text reaches it", () => {
    const unk = tokenizer.idOf(UNK)
    expect(unk).toBeGreaterThan(256)
    expect(unk).toBeLessThan(tokenizer.idOf(ADDED_TOKENS[0]!) - 1)
    expect(tokenizer.encodePlain("<unk>")).not.toContain(unk)
    expect(tokenizer.encode("a<unk>")).toContain(unk)
  })

  test("words of the prompts are short", () => {
    expect(tokenizer.encode("You are a helpful assistant.").length).toBeLessThan(10)
    expect(built.size).toBe(1000)
  })

  test("is the same every time, and ids beyond the texts are reserved", () => {
    expect(buildTokenizer({ vocabSize: 1000 })).toEqual(built)
    const small = buildTokenizer({ vocabSize: 400, texts: ["ab ab ab"] })
    expect(small.size).toBe(MIN_VOCAB_SIZE + 2) // "ab" and " ab"
  })

  test("can do without merges, not without bytes", async () => {
    const bare = await readTokenizer(memoryFiles(buildTokenizer({ vocabSize: MIN_VOCAB_SIZE }).files))
    expect(bare.tokenizer.reservedIds(MIN_VOCAB_SIZE + 2)).toEqual([MIN_VOCAB_SIZE, MIN_VOCAB_SIZE + 1])
    expect(bare.tokenizer.encode("é<|spk|>")).toHaveLength(3)
    for (const name of ADDED_TOKENS)
      expect(bare.tokenizer.isSpecial(bare.tokenizer.idOf(name))).toBe(isSpecialName(name))
    expect(() => buildTokenizer({ vocabSize: 100 })).toThrow(
      `tokenizer: expected vocabSize of at least ${MIN_VOCAB_SIZE}, got 100`,
    )
  })
})

test("merges come in order of frequency, ties in order of spelling", () => {
  expect(learnMerges(["xyxyxy", "abab"], 3)).toEqual(["x y", "a b", "xy xy"])
  expect(learnMerges(["aaaa aaaa"], 9)).toEqual(["a a", "aa aa"])
  expect(learnMerges(["abc"], 9)).toEqual([])
})

describe("speech decoder", () => {
  const speech = buildTtsTokenizer({ size: 2000 })
  const files = Object.fromEntries(
    Object.entries(speech.files).map(([name, text]) => [`assets/chattts_tokenizer/${name}`, text]),
  )

  test("spells ASCII and common Chinese, and its ids fit a prompt", async () => {
    const tts = await readTtsTokenizer(memoryFiles(files))
    expect(tts.size).toBe(2000)
    expect(speech.config.num_text_tokens).toBe(2000)
    const ascii = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).join("")
    const unknown = tts.idOf("[UNK]")
    for (const text of [ascii, [...ascii].join(" "), "你好，世界！", "Hello, zxqj99!"]) {
      expect(tts.encode(text)).not.toContain(unknown)
    }
    expect(tts.decode(tts.encode("What is the weather like?"))).toBe("what is the weather like?")
    const layout = ttsPromptLayout(tts, speech.config)
    expect(layout).toEqual(ttsPromptLayout(tts))
    expect(ttsPrompt(tts, layout, "Hello").ids).toHaveLength(303)
  })

  test("has the strings of the official one, `[PAD]` being 0", async () => {
    type Json = { added_tokens: { content: string; special: boolean }[] }
    const names = (json: Json) => json.added_tokens.map(({ content, special }) => [content, special])
    expect(names(JSON.parse(speech.files["tokenizer.json"]) as Json)).toEqual(
      names(fixtureJson<Json>("checkpoint/assets/chattts_tokenizer/tokenizer.json")),
    )
    const tts = await readTtsTokenizer(memoryFiles(files))
    expect(tts.idOf("[PAD]")).toBe(0)
  })

  test.each([MIN_TTS_VOCAB_SIZE, 500, 3000, 21_178, 23_000])("%i entries", (size) => {
    const json = JSON.parse(buildTtsTokenizer({ size }).files["tokenizer.json"]) as { model: { vocab: object } }
    expect(Object.keys(json.model.vocab)).toHaveLength(size - TTS_TOKENS.length)
  })

  test("too few entries", () => {
    expect(() => buildTtsTokenizer({ size: 50 })).toThrow(
      `tts tokenizer: expected a size of at least ${MIN_TTS_VOCAB_SIZE}, got 50`,
    )
  })
})

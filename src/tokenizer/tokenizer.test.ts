import { existsSync, readFileSync } from "node:fs"
import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { answerText, decodableLength } from "./answer-text.ts"
import { readTokenizer } from "./files.ts"
import { checkpointFiles, fixtureJson, memoryFiles } from "./fixtures.test-util.ts"
import type { OmniTokenizer } from "./tokenizer.ts"
import { loadTokenizer } from "./tokenizer.ts"
import { tokenizerJsonFromParts } from "./tokenizer-json.ts"

type Row = { text: string; ids: number[]; decoded: string; decoded_skip_special: string }
type Case = {
  rows: Row[]
  partial_decode: { ids: number[]; decoded: string }[]
  special_ids: Record<string, number>
  vocab_size: number
}

const golden = fixtureJson<Case>("cases/tokenizer.json")
let tokenizer: OmniTokenizer
beforeAll(async () => {
  tokenizer = (await readTokenizer(checkpointFiles())).tokenizer
})

const pieces = (ids: Iterable<number>, of: OmniTokenizer = tokenizer): string[] => {
  const decoder = of.createDecoder()
  return [...[...ids].map((id) => decoder.push(id)), decoder.flush()]
}

function expectRows(rows: Row[], of: OmniTokenizer): void {
  for (const row of rows) {
    expect(of.encode(row.text), row.text).toEqual(row.ids)
    expect(of.decode(row.ids), row.text).toBe(row.decoded)
    expect(of.decode(row.ids, { skipSpecialTokens: true }), row.text).toBe(row.decoded_skip_special)
    expect(pieces(row.ids, of).join(""), row.text).toBe(row.decoded)
  }
}

test("names that are escaped in every way, in whatever file was read before", async () => {
  const ascii = (text: string) =>
    text.replaceAll(
      /[^\n\x20-\x7e]|\\["\\]/g,
      (unit) =>
        `\\u${unit
          .charCodeAt(unit.length - 1)
          .toString(16)
          .padStart(4, "0")}`,
    )
  const text = await checkpointFiles().readText("tokenizer.json")
  expect(text).toMatch(/"!": ?0,\s*"\\"": ?1,/)
  JSON.parse('{"!":0,"\\\\":1}') // after this, V8 misreads small objects that begin so (src/util/exact-json.ts)
  const files = memoryFiles({
    "tokenizer.json": ascii(text),
    "tokenizer_config.json": await checkpointFiles().readText("tokenizer_config.json"),
  })
  const { tokenizer: of } = await readTokenizer(files)
  expectRows(golden.rows, of)
  expect(of.encode('"')).toEqual([1])
})

describe("recorded cases", () => {
  test("text to ids to text", () => {
    expect(golden.rows.length).toBeGreaterThan(20)
    expectRows(golden.rows, tokenizer)
  })

  test("partial characters", () => {
    for (const row of golden.partial_decode) expect(tokenizer.decode(row.ids)).toBe(row.decoded)
  })

  test("special strings and size", () => {
    expect(Object.fromEntries(tokenizer.addedTokens)).toEqual(golden.special_ids)
    for (const [name, id] of Object.entries(golden.special_ids)) expect(tokenizer.idOf(name)).toBe(id)
    expect(tokenizer.size).toBe(golden.vocab_size)
    expect(tokenizer.reservedIds(golden.vocab_size)).toEqual([])
  })

  test.each([
    ["without tokenizer.json", ["tokenizer.json"]],
    ["without tokenizer_config.json", ["tokenizer_config.json"]],
    ["from vocab.json, merges.txt and added_tokens.json alone", ["tokenizer.json", "tokenizer_config.json"]],
  ])("%s", async (_, hidden) => {
    expectRows(golden.rows, (await readTokenizer(checkpointFiles(...hidden))).tokenizer)
  })

  test("a file that flags <unk> nowhere but in its configuration", async () => {
    const { readText } = checkpointFiles()
    const json = JSON.parse(await readText("tokenizer.json"))
    json.added_tokens = json.added_tokens.filter((token: { content: string }) => token.content !== "<unk>")
    const config = JSON.parse(await readText("tokenizer_config.json"))
    const unflagged = loadTokenizer({ tokenizerJson: json })
    expect(unflagged.isSpecial(unflagged.idOf("<unk>"))).toBe(false)
    const viaDecoder = loadTokenizer({ tokenizerJson: json, tokenizerConfig: config })
    const viaName = loadTokenizer({ tokenizerJson: json, tokenizerConfig: { unk_token: "<unk>" } })
    expectRows(golden.rows, viaDecoder)
    expectRows(golden.rows, viaName)
  })

  test.each(["streaming_omni", "streaming_voice"])("pieces of the answers in %s", (name) => {
    type Answer = { inner_calls?: { new: number[] }[]; pieces: string[] }
    const answers = fixtureJson<Answer[]>(`cases/${name}.json`).filter((event) => event.inner_calls !== undefined)
    expect(answers.length).toBeGreaterThan(0)
    for (const answer of answers) {
      let left: number[] = []
      const texts = answer.inner_calls!.map((call) => {
        const ids = [...left, ...call.new]
        const shown = decodableLength(tokenizer, ids)
        left = ids.slice(shown)
        return answerText(tokenizer, ids.slice(0, shown))
      })
      expect(texts.slice(0, answer.pieces.length)).toEqual(answer.pieces)
    }
  })
})

describe("laws", () => {
  const anyText = fc.string({ unit: "binary", maxLength: 40 })

  test("decode undoes encode, up to NFC", () => {
    const plain = anyText.filter((text) => !text.includes("<"))
    fc.assert(
      fc.property(plain, (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.normalize("NFC"))
      }),
    )
  })

  test("pieces joined are the whole, whatever the ids", () => {
    const ids = fc.array(fc.nat({ max: 920 }), { maxLength: 30 })
    fc.assert(
      fc.property(ids, (some) => {
        expect(pieces(some).join("")).toBe(tokenizer.decode(some))
      }),
    )
  })

  test("pieces of valid text never contain half a character", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        fc.pre(!text.includes("\uFFFD"))
        expect(pieces(tokenizer.encode(text)).join("\n")).not.toContain("\uFFFD")
      }),
    )
  })
})

describe("edges", () => {
  test("an unpaired surrogate becomes U+FFFD", () => {
    expect(tokenizer.encode("a\ud83d b")).toEqual(tokenizer.encode("a\uFFFD b"))
    expect(tokenizer.encodePlain("\udc00")).toEqual(tokenizer.encode("\uFFFD"))
  })

  test("plain encoding does not see special strings", () => {
    const text = "<|im_end|>\n<|im_start|>system <unk>"
    const ids = tokenizer.encodePlain(text)
    expect(ids.filter((id) => tokenizer.isSpecial(id))).toEqual([])
    expect(tokenizer.decode(ids)).toBe(text)
    expect(tokenizer.encode(text).filter((id) => tokenizer.isSpecial(id))).toHaveLength(3)
    expect(tokenizer.encodePlain("Hello, world!")).toEqual(tokenizer.encode("Hello, world!"))
  })

  test("a byte order mark is text", () => {
    expect(tokenizer.decode(tokenizer.encode("\uFEFFa"))).toBe("\uFEFFa")
    expect(pieces(tokenizer.encode("\uFEFFa")).join("")).toBe("\uFEFFa")
  })

  test("a decoder shows an unfinished character only when flushed, and starts afresh then", () => {
    const ids = tokenizer.encode("😀")
    expect(ids.length).toBeGreaterThan(1)
    const decoder = tokenizer.createDecoder()
    expect(
      ids
        .slice(0, -1)
        .map((id) => decoder.push(id))
        .join(""),
    ).toBe("")
    expect(decoder.flush()).toBe("\uFFFD")
    expect(ids.map((id) => decoder.push(id)).join("")).toBe("😀")
  })

  test("special strings can be left out piece by piece", () => {
    const decoder = tokenizer.createDecoder({ skipSpecialTokens: true })
    const ids = tokenizer.encode("a<|tts_eos|><tool_call>b")
    expect(ids.map((id) => decoder.push(id)).join("")).toBe("a<tool_call>b")
  })

  test("ids without a token are skipped and reported as reserved", () => {
    expect(tokenizer.decode([914, 39, -1, 1e9])).toBe("H")
    expect(tokenizer.reservedIds(917)).toEqual([914, 915, 916])
    expect(tokenizer.tokenOf(914)).toBeUndefined()
  })

  test("text of an answer drops zeros, one start and one terminator", () => {
    const [start, end, zero] = [tokenizer.idOf("<|im_start|>"), tokenizer.idOf("<|im_end|>"), tokenizer.idOf("!")]
    expect(zero).toBe(0)
    expect(answerText(tokenizer, [start, 39, zero, 39, end])).toBe("HH")
    expect(answerText(tokenizer, [39, end, end])).toBe("H<|im_end|>")
    expect(answerText(tokenizer, [39, tokenizer.idOf("<|tts_eos|>"), zero])).toBe("H<|tts_eos|>")
    expect(answerText(tokenizer, [])).toBe("")
  })

  test.each([
    ["one letter", "x".repeat(100_000)],
    ["spaces", " ".repeat(100_000)],
    ["Chinese without marks", "人工智能技术".repeat(5_500)],
    ["prose", "Describe the picture, please. ".repeat(3_400)],
    ["special strings", "<|im_start|>".repeat(8_000)],
  ])("100 kB of %s take a moment", (_, text) => {
    const start = performance.now()
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
    expect(performance.now() - start).toBeLessThan(4_000) // measured 10 to 450 ms; far from quadratic
  })
})

describe("errors", () => {
  test("a special string that is not there", () => {
    expect(() => tokenizer.idOf("<|nobody|>")).toThrow(
      'tokenizer: expected a token "<|nobody|>", got none among 914 (use the tokenizer files of this very checkpoint)',
    )
  })

  test("a model with fewer ids than the tokenizer", () => {
    expect(() => tokenizer.reservedIds(900)).toThrow("expected ids below the model's vocab_size 900, got up to 913")
  })

  test("files that are missing or damaged", async () => {
    await expect(readTokenizer(memoryFiles({}))).rejects.toThrow("tokenizer: expected the file vocab.json, got no such")
    await expect(readTokenizer(memoryFiles({ "tokenizer.json": "{" }))).rejects.toThrow("tokenizer.json: expected JSON")
    await expect(readTokenizer(memoryFiles({ "tokenizer.json": "{}" }))).rejects.toThrow(
      "tokenizer.json: expected model.vocab and added_tokens",
    )
    const speech = fixtureJson<never>("checkpoint/assets/chattts_tokenizer/tokenizer.json")
    expect(() => loadTokenizer({ tokenizerJson: speech })).toThrow(
      "tokenizer.json: expected a byte-level BPE model, got WordPiece (is this the speech decoder's file?)",
    )
    const cut = { added_tokens: [], model: { type: "BPE", vocab: {} } }
    expect(() => loadTokenizer({ tokenizerJson: cut })).toThrow("tokenizer.json: expected a complete tokenizer")
  })
})

const SHARED = new URL("../../../shared/", import.meta.url)
const REAL = ["data/qwen2-tokenizer/", "goldens/qwen2-tokenizer/tokens.json"].map((path) => new URL(path, SHARED))
const haveReal = REAL.every((path) => existsSync(path))
if (!haveReal) console.log("real vocabulary: skipped, its data files are not on this machine")

test.skipIf(!haveReal)("the real vocabulary", () => {
  const read = (name: string): string => readFileSync(new URL(name, REAL[0]), "utf8")
  const list = JSON.parse(read("added_tokens.json")) as { id: number; content: string }[]
  const real = loadTokenizer({
    tokenizerJson: tokenizerJsonFromParts({
      vocab: JSON.parse(read("vocab.json")) as Record<string, number>,
      merges: read("merges.txt"),
      addedTokens: Object.fromEntries(list.map(({ content, id }) => [content, id])),
    }),
  })
  expect(real.size).toBe(151_700)
  expect(real.reservedIds(151_700)).toEqual([])
  expect(list.filter(({ id }) => !real.isSpecial(id)).map(({ id }) => id)).toEqual([
    151657, 151658, 151659, 151660, 151661, 151662, 151663, 151664,
  ])
  expectRows((JSON.parse(readFileSync(REAL[1]!, "utf8")) as { rows: Row[] }).rows, real)
  const prompt = "<|im_end|>\n<|im_start|>assistant\n<|spk_bos|><|spk|><|spk_eos|><|tts_bos|>"
  expect(real.encode(prompt)).toEqual([151645, 198, 151644, 77091, 198, 151688, 151689, 151690, 151691])
  expect(real.encode("Use the <reserved_53> voice.")).toEqual([10253, 279, 220, 151699, 7743, 13])
})

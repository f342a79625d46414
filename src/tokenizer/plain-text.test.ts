import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { buildTokenizer, MIN_VOCAB_SIZE } from "./build.ts"
import { readTokenizer } from "./files.ts"
import { checkpointFiles, memoryFiles } from "./fixtures.test-util.ts"
import { plainTextGuard } from "./plain-text.ts"
import type { OmniTokenizer } from "./tokenizer.ts"

const built = buildTokenizer({ vocabSize: MIN_VOCAB_SIZE + 50, texts: ["hello there, hello again"] })
const tokenizers: [string, OmniTokenizer][] = [
  ["the recorded one", (await readTokenizer(checkpointFiles())).tokenizer],
  ["a new one", (await readTokenizer(memoryFiles(built.files))).tokenizer],
]

describe.each(tokenizers)("text from outside, tokenizer: %s", (_, tokenizer) => {
  const names = [...tokenizer.addedTokens.keys()]
  const special = new Set(tokenizer.addedTokens.values())
  const specialIn = (ids: readonly number[]) => ids.filter((id) => special.has(id))
  /** Text full of special strings, halves of them, and characters around them. */
  const text = fc
    .array(fc.oneof(fc.constantFrom(...names), fc.constantFrom("<", "<|im", "_start|>", "\n", " "), fc.string()), {
      maxLength: 8,
    })
    .map((parts) => parts.join(""))

  test("without protection every text is encoded as ever", () => {
    fc.assert(
      fc.property(text, (given) => {
        expect(plainTextGuard(tokenizer, [given]).encode(given)).toEqual(tokenizer.encode(given))
      }),
    )
  })

  test("protected text has no special tokens and decodes to itself", () => {
    fc.assert(
      fc.property(text, (given) => {
        const guard = plainTextGuard(tokenizer, [given])
        const ids = guard.encode(guard.protect(given))
        expect(ids).toEqual(given === "" ? [] : tokenizer.encodePlain(given))
        expect(guard.reveal(guard.protect(given))).toBe(given)
        expect(specialIn(ids).filter((id) => tokenizer.isSpecial(id) && tokenizer.tokenOf(id) !== "<unk>")).toEqual([])
      }),
    )
  })

  test("the special strings around it act, whatever it ends with", () => {
    fc.assert(
      fc.property(text, text, (first, second) => {
        const guard = plainTextGuard(tokenizer, [first, second])
        const ids = guard.encode(`<unit>${guard.protect(first)}${guard.protect(second)}<slice>`)
        expect(ids.filter((id) => id === tokenizer.idOf("<unit>") || id === tokenizer.idOf("<slice>"))).toEqual([
          tokenizer.idOf("<unit>"),
          tokenizer.idOf("<slice>"),
        ])
        expect(tokenizer.decode(ids)).toBe(tokenizer.decode(tokenizer.encode(`<unit>${first}${second}<slice>`)))
      }),
    )
  })

  test("two protected texts do not make a special string together", () => {
    const guard = plainTextGuard(tokenizer, [])
    expect(specialIn(guard.encode(guard.protect("<ima") + guard.protect("ge>")))).toEqual([])
    expect(specialIn(guard.encode(`<ima${guard.protect("ge>")}`))).toEqual([])
    expect(guard.encode("<image>")).toEqual([tokenizer.idOf("<image>")])
  })

  test("a text's own private characters stay", () => {
    const guard = plainTextGuard(tokenizer, ["a\uE000b", "\uE001"])
    expect(guard.reveal(guard.protect("a\uE000b\uE001"))).toBe("a\uE000b\uE001")
    expect(guard.encode(guard.protect("\uE000"))).toEqual(tokenizer.encodePlain("\uE000"))
  })

  test("texts that use all of them are refused", () => {
    const all = Array.from({ length: 6400 }, (__, i) => String.fromCharCode(0xe000 + i)).join("")
    expect(() => plainTextGuard(tokenizer, [all])).toThrow(
      "plain text: expected a free character of the private use area, got texts that use all of them",
    )
    expect(plainTextGuard(tokenizer, [all.slice(1)]).reveal("\uE000")).toBe("")
  })
})

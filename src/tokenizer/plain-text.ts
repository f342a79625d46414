/**
 * @file Text from outside inside a prompt: special strings in it must not steer the model, although the prompt around it
 * is full of them. A guard character keeps such strings from being matched until the prompt has been cut into tokens.
 */
import { InputError, unusedCharacter } from "../util/index.ts"
import { NUMBER_MARK } from "./python-numbers.ts"
import type { OmniTokenizer } from "./tokenizer.ts"

/** Protects stretches of a text that is still being put together. */
export type PlainTextGuard = {
  /** The text as a stretch in which nothing is special, whatever stands next to it. */
  protect(text: string): string
  /** The finished text without guards. */
  reveal(text: string): string
  /** Token ids of the finished text: special strings outside of protected stretches become their one id. */
  encode(text: string): number[]
}

/**
 * A guard for texts that do not contain its character; of the private use area the first one that none of them has.
 * @throws InputError when the texts use all 6,400 of them
 */
export function plainTextGuard(tokenizer: OmniTokenizer, texts: readonly string[]): PlainTextGuard {
  const guard = unusedCharacter(texts)
  if (guard === undefined)
    throw new InputError(
      "plain text: expected a free character of the private use area, got texts that use all of them",
    )
  const reveal = (text: string) => text.replaceAll(guard, "")
  const names = [...tokenizer.addedTokens.keys()].sort((a, b) => b.length - a.length) // of two matches the longer one
  const special = new RegExp(`(${names.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`)
  const encode = (text: string): number[] =>
    text.split(special).flatMap((part, index) => {
      if (index % 2 === 1) return [tokenizer.addedTokens.get(part)!]
      const plain = reveal(part)
      return plain === "" ? [] : tokenizer.encodePlain(plain)
    })
  // A number's marks go with it once a template has printed it, and must not be what held a special string apart.
  const broken = new RegExp(`${special.source}|${NUMBER_MARK}`, "g")
  return {
    protect: (text) => `${guard}${text.replace(broken, (name) => `${name[0]}${guard}${name.slice(1)}`)}${guard}`,
    reveal,
    encode,
  }
}

/**
 * @file What a model writes, read as GitHub's Markdown: tokens for the views, which draw them as elements. No HTML is made here or
 * there, and what is HTML in a text stays its text.
 */
import { Lexer, Marked, type Token, Tokenizer } from "marked"

/**
 * Bold that is closed behind a Chinese full stop and before a letter, as in `**好。**再见`: by CommonMark's rules for spaces, which
 * Chinese does not write, those would be asterisks.
 */
const STRONG = /^\*\*(?![\s*])((?:\\.|[^\\\n*`]|\*(?!\*))*?[^\s*\\`])\*\*(?!\*)/

const { defaults: settings } = new Marked({
  gfm: true,
  breaks: true,
  extensions: [
    {
      name: "strong",
      level: "inline",
      start: (text) => text.indexOf("**"),
      tokenizer(text) {
        const match = STRONG.exec(text)
        return match
          ? { type: "strong", raw: match[0], text: match[1], tokens: this.lexer.inlineTokens(match[1]!) }
          : undefined
      },
    },
  ],
}).use({
  tokenizer: {
    // A bare address ends where Chinese goes on without a space.
    url(text) {
      return Tokenizer.prototype.url.call(this, /^[\x21-\x7e]*/.exec(text)![0])
    },
  },
})

/** The reader takes 50 ms for so much; its time grows with the square of the lines of a list's item. */
const MAX_LENGTH = 100_000
const MAX_LINES = 5000

/** A line of this many quotes and lists within each other. */
const NESTED = /^[ \t]*(?:>[ \t]?|(?:[-*+]|\d{1,9}[.)])[ \t]+){50}/m

/** The reader looks for the end of each mark: its time grows with the square of their number in a paragraph. */
const MAX_MARKS = 1000
const MARKS = /[[\]<>@*_~!`\\]/g

/** Paragraphs of marks, which models write when they repeat themselves without end, stay as they are. */
class Reader extends Lexer {
  override inline(text: string, tokens: Token[] = []): Token[] {
    if (text.length <= MAX_MARKS || (text.match(MARKS)?.length ?? 0) <= MAX_MARKS) return super.inline(text, tokens)
    tokens.push({ type: "text", raw: text, text, escaped: false })
    return tokens
  }
}

export type Reading = {
  readonly blocks: readonly Token[]
  /** Where the addresses lead that the text names elsewhere: `[a]: https://…`. */
  readonly links: string
}

/**
 * @param open more of the text will come: what it has begun is shown as if it were closed, and marks without words not yet
 * @returns undefined for a text that cannot be read as Markdown (too long, or of marks without end)
 */
export function readMarkdown(text: string, open: boolean): Reading | undefined {
  if (text.length > MAX_LENGTH || text.split("\n", MAX_LINES + 1).length > MAX_LINES) return undefined
  if (NESTED.test(text)) return undefined
  try {
    const blocks = new Reader(settings).lex(open ? closed(text) : text)
    return { blocks, links: JSON.stringify(blocks.links) }
  } catch {
    return undefined
  }
}

/** A line of marks alone would be a heading's underline, a rule or a list without an item. */
const BARE_MARKS = /(^|\n)[ \t]*(?:[-=*+_#>|~]+|\d{1,3}[.)]?)[ \t]*$/

/** Characters at the end in which a link that is not closed may begin. */
const MAX_LINK = 2000

function closed(text: string): string {
  const fences = text.match(/^ {0,3}(?:```|~~~)/gm)?.length ?? 0
  if (fences % 2 === 1) return text // the reader closes blocks of code by itself
  const shown = text.replace(BARE_MARKS, "$1")
  const start = shown.lastIndexOf("\n\n") + 1
  const [before, last] = [shown.slice(0, start), shown.slice(start)]
  if ((last.match(/`/g)?.length ?? 0) % 2 === 1) return last.endsWith("`") ? shown.slice(0, -1) : `${shown}\``
  const linked = last.slice(0, -MAX_LINK) + last.slice(-MAX_LINK).replace(/!?\[([^\]\n]*)\]\([^)\s]*$/, "$1")
  const bare = linked.replace(/\*{1,2}$/, "").trimEnd()
  const stars = bare.replace(/`[^`]*`/g, "").match(/\*\*/g)?.length ?? 0
  return before + (stars % 2 === 1 ? `${bare}**` : linked.replace(/(^|\s)\*{1,2}$/, "$1"))
}

/** An address that a click may open; undefined for scripts, data and whatever else a browser would run. */
export function safeAddress(href: string): string | undefined {
  return /^(?:https?:\/\/|mailto:)[^\s]/i.test(href) ? href : undefined
}

const ENTITIES: Readonly<Record<string, string>> = {
  ...{ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", hellip: "…", mdash: "—", ndash: "–" },
  ...{ times: "×", rarr: "→", larr: "←", le: "≤", ge: "≥", deg: "°", copy: "©" },
}

/** Characters that a text names, as in `&lt;`; unknown names stay. Numbered ones the reader has replaced already. */
export const withEntities = (text: string): string =>
  text.replace(/&(\w{2,8});/g, (all, name: string) => ENTITIES[name] ?? all)

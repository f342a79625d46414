/** @file Markdown as elements: every token of the reader is drawn by name, anything else as the text that it is. */
import type { Token, Tokens } from "marked"
import { memo, type ReactNode, useDeferredValue, useMemo } from "react"
import { readMarkdown, safeAddress, withEntities } from "../chat/markdown.ts"
import { useMessages } from "../i18n/index.ts"
import { CopyButton } from "./copy-button.tsx"

/** Deeper than anybody reads; a text nested without end must not end the page. */
const MAX_DEPTH = 20

/** @param props.open more of the text will come */
export const Markdown = memo(function Markdown({ text, open }: { text: string; open: boolean }) {
  // A long answer that comes fast is drawn as often as there is time for.
  const shown = useDeferredValue(text)
  const reading = useMemo(() => readMarkdown(shown, open), [shown, open])
  if (!reading) {
    return (
      <div className="markdown">
        <p className="plain">{shown}</p>
      </div>
    )
  }
  return (
    <div className="markdown">
      {(reading.blocks as Block[]).map((token, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a text only grows, so that blocks keep their places.
        <WholeBlock key={i} token={token} links={reading.links} />
      ))}
    </div>
  )
})

/** A block of the text, drawn again only when it has changed: of a long answer the last one. */
const WholeBlock = memo(
  function WholeBlock({ token }: { token: Block; links: string }) {
    return <BlockView token={token} depth={0} />
  },
  (a, b) => a.token.type === b.token.type && a.token.raw === b.token.raw && a.links === b.links,
)

type Block =
  | Tokens.Blockquote
  | Tokens.Code
  | Tokens.Def
  | Tokens.Heading
  | Tokens.Hr
  | Tokens.HTML
  | Tokens.List
  | Tokens.Paragraph
  | Tokens.Space
  | Tokens.Table
  | Tokens.Text
  | Tokens.Checkbox

function blocks(tokens: readonly Block[], depth: number): ReactNode {
  // biome-ignore lint/suspicious/noArrayIndexKey: a text only grows, so that blocks keep their places.
  return tokens.map((token, i) => <BlockView key={i} token={token} depth={depth} />)
}

function BlockView({ token, depth }: { token: Block; depth: number }) {
  const words = useMessages()
  if (depth > MAX_DEPTH) return <p className="plain">{token.raw}</p>
  switch (token.type) {
    case "space":
    case "def":
      return undefined
    case "hr":
      return <hr />
    case "heading": {
      // The message itself is a heading of the third level.
      const Level = `h${Math.min(6, token.depth + 3)}` as "h4"
      return <Level data-depth={token.depth}>{inline(token.tokens, depth)}</Level>
    }
    case "paragraph":
      return <p>{inline(token.tokens, depth)}</p>
    case "text":
      return <>{token.tokens ? inline(token.tokens, depth) : withEntities(token.text)}</>
    case "checkbox":
      return <Checkbox checked={token.checked} />
    case "blockquote":
      return <blockquote>{blocks(token.tokens as Block[], depth + 1)}</blockquote>
    case "code":
      return <CodeBlock text={token.text} language={token.lang?.split(/\s/)[0] ?? ""} />
    case "list":
      return <ListView list={token} depth={depth} />
    case "table":
      return (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: keyboards must be able to scroll it.
        <section className="table-scroll" tabIndex={0} aria-label={words.table}>
          <table>
            <thead>
              <tr>{cells(token.header, depth)}</tr>
            </thead>
            <tbody>
              {token.rows.map((row, i) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: rows keep their places.
                <tr key={i}>{cells(row, depth)}</tr>
              ))}
            </tbody>
          </table>
        </section>
      )
    case "html":
      return <p className="plain">{token.raw.trimEnd()}</p>
    default:
      return <p className="plain">{(token as Token).raw}</p>
  }
}

function cells(row: readonly Tokens.TableCell[], depth: number): ReactNode {
  return row.map(({ header, align, tokens }, i) => {
    const Cell = header ? "th" : "td"
    return (
      // biome-ignore lint/suspicious/noArrayIndexKey: columns keep their places.
      <Cell key={i} data-align={align ?? undefined} {...(header ? { scope: "col" } : {})}>
        {inline(tokens, depth)}
      </Cell>
    )
  })
}

function ListView({ list, depth }: { list: Tokens.List; depth: number }) {
  const items = list.items.map(({ tokens, task }, i) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: items keep their places.
    <li key={i} data-task={task || undefined}>
      {blocks(tokens as Block[], depth + 1)}
    </li>
  ))
  return list.ordered ? <ol start={list.start === "" ? 1 : list.start}>{items}</ol> : <ul>{items}</ul>
}

/** What is done, for eyes and ears; nobody can tick it. */
function Checkbox({ checked }: { checked: boolean }) {
  const words = useMessages()
  return (
    <span role="img" aria-label={checked ? words.taskDone : words.taskOpen}>
      {checked ? "☑ " : "☐ "}
    </span>
  )
}

type Inline =
  | Tokens.Br
  | Tokens.Checkbox
  | Tokens.Codespan
  | Tokens.Del
  | Tokens.Em
  | Tokens.Escape
  | Tokens.Image
  | Tokens.Link
  | Tokens.Strong
  | Tokens.Tag
  | Tokens.Text

function inline(tokens: readonly Token[] | undefined, depth: number): ReactNode {
  return (tokens as readonly Inline[] | undefined)?.map((token, i) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: a text only grows, so that its parts keep their places.
    <InlineView key={i} token={token} depth={depth + 1} />
  ))
}

function InlineView({ token, depth }: { token: Inline; depth: number }) {
  if (depth > MAX_DEPTH) return token.raw
  switch (token.type) {
    case "text":
      return <>{token.tokens ? inline(token.tokens, depth) : withEntities(token.text)}</>
    case "escape":
      return token.text
    case "br":
      return <br />
    case "strong":
      return <strong>{inline(token.tokens, depth)}</strong>
    case "em":
      return <em>{inline(token.tokens, depth)}</em>
    case "del":
      return <del>{inline(token.tokens, depth)}</del>
    case "codespan":
      return <code>{token.text}</code>
    case "checkbox":
      return <Checkbox checked={token.checked} />
    case "link":
      return <Link href={token.autolink ? token.href : withEntities(token.href)}>{inline(token.tokens, depth)}</Link>
    case "image":
      // Looking at it would tell another server who reads what.
      return <Link href={withEntities(token.href)}>{withEntities(token.text || token.href)}</Link>
    case "html":
      return /^<br\s*\/?>$/i.test(token.raw) ? <br /> : token.raw
    default:
      return (token as Token).raw
  }
}

function Link({ href, children }: { href: string; children: ReactNode }) {
  const address = safeAddress(href)
  if (address === undefined) return <>{children}</>
  return (
    <a href={address} target="_blank" rel="noopener noreferrer nofollow" title={address}>
      {children}
    </a>
  )
}

function CodeBlock({ text, language }: { text: string; language: string }) {
  return (
    <figure className="code">
      <figcaption>
        <span>{language}</span>
        <CopyButton text={text} />
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: keyboards must be able to scroll it. */}
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
    </figure>
  )
}

import { createElement } from "react"
import { renderToStaticMarkup } from "react-dom/server"
import { describe, expect, test } from "vitest"
import { Markdown } from "./markdown.tsx"

const html = (text: string, open = false) => {
  const page = renderToStaticMarkup(createElement(Markdown, { text, open }))
  return /^<div class="markdown">(.*)<\/div>$/s.exec(page)![1]!
}

describe("what models write", () => {
  test.each([
    [
      "**bold**, *slanted*, ~~gone~~ and `a < b`",
      "<p><strong>bold</strong>, <em>slanted</em>, <del>gone</del> and <code>a &lt; b</code></p>",
    ],
    ["One\nTwo\n\nThree", "<p>One<br/>Two</p><p>Three</p>"],
    ["# Title\n### Part", '<h4 data-depth="1">Title</h4><h6 data-depth="3">Part</h6>'],
    ["- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"],
    ["3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'],
    ["> said\n\n---", "<blockquote><p>said</p></blockquote><hr/>"],
    ["a &lt;b&gt; &amp; &#20320;&#x597d; &unknown;", "<p>a &lt;b&gt; &amp; 你好 &amp;unknown;</p>"],
    ["\\*no\\* a_b_c", "<p>*no* a_b_c</p>"],
  ])("%j", (text, want) => {
    expect(html(text)).toBe(want)
  })

  test("tables have heads and sides, tasks say what is done", () => {
    const table = html("| a | b |\n|:-:|--:|\n| **1** | x \\| y<br>z |")
    expect(table).toContain('<th data-align="center" scope="col">a</th><th data-align="right" scope="col">b</th>')
    expect(table).toContain('<td data-align="center"><strong>1</strong></td><td data-align="right">x | y<br/>z</td>')
    expect(table).toMatch(/^<section class="table-scroll" tabindex="0" aria-label="Table">/)
    const tasks = html("- [x] one\n- [ ] two")
    expect(tasks).toContain('<li data-task="true"><span role="img" aria-label="Done">☑ </span>one</li>')
    expect(tasks).toContain('aria-label="Not done">☐ </span>two')
  })

  test("code keeps every character, and says its language", () => {
    const code = html("```ts title\nif (a < b && c) {\n\tlog(`x`)\n}\n```")
    expect(code).toContain("<figcaption><span>ts</span>")
    expect(code).toContain("if (a &lt; b &amp;&amp; c) {\n\tlog(`x`)\n}</code></pre>")
    expect(code).toContain("Copy</span></button>")
  })

  test("Chinese is bold beside its own marks, and addresses end where it goes on", () => {
    expect(html("**注意：**请看**“重点”**的内容。")).toBe(
      "<p><strong>注意：</strong>请看<strong>“重点”</strong>的内容。</p>",
    )
    expect(html("见https://example.com/a?b=1。然后")).toMatch(
      /^<p>见<a href="https:\/\/example\.com\/a\?b=1"[^>]*>https:\/\/example\.com\/a\?b=1<\/a>。然后<\/p>$/,
    )
  })
})

describe("nothing runs, and nothing is fetched", () => {
  test.each([
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "hello <b onclick='x()'>you</b>",
    "<iframe src='https://example.com'></iframe>",
    "<!-- hidden -->",
    "<svg/onload=alert(1)>",
  ])("HTML stays text: %s", (text) => {
    const page = html(text)
    expect(page.replace(/<\/?p( class="plain")?>/g, "")).not.toMatch(/<(?!br)/)
    expect(page).toContain(text.slice(0, 6).replaceAll("<", "&lt;").replaceAll("'", "&#x27;"))
  })

  test.each([
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "&#106;avascript:alert(1)",
    "java&Tab;script:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "//example.com",
    "/v1/models",
    " javascript:alert(1)",
  ])("no link to %s", (href) => {
    for (const text of [`[click](<${href}>)`, `[click][a]\n\n[a]: <${href}>`, `<${href}>`, `![click](<${href}>)`])
      expect(html(text)).not.toContain("<a ")
  })

  test("links open elsewhere and tell nothing; pictures are links", () => {
    const want = '<a href="https://example.com/?a=1&amp;b=2" target="_blank" rel="noopener noreferrer nofollow"'
    for (const text of ["[x](https://example.com/?a=1&b=2)", "![x](https://example.com/?a=1&amp;b=2)"])
      expect(html(text)).toContain(`${want} title="https://example.com/?a=1&amp;b=2">x</a>`)
    expect(html("mail to <me@example.com>")).toContain('href="mailto:me@example.com"')
  })

  test.each([
    ["quotes", "> ".repeat(20_000)],
    ["lists", Array.from({ length: 300 }, (_, i) => `${"  ".repeat(i)}- x`).join("\n")],
    ["brackets", "[".repeat(20_000)],
    ["stars", "**a ".repeat(5000)],
    ["bars", `${"|".repeat(3000)}\n${"|-".repeat(3000)}`],
  ])("%s without end are shown all the same", (_, text) => {
    for (const open of [true, false]) expect(html(text, open).length).toBeGreaterThan(100)
  })

  // The reader's time grows with the square of these: half a minute for so many.
  test.each(["!", "[", "![", "`a``b", "*a _b ", "a@", "1. ", "> "])("%j without end is read soon, as text", (mark) => {
    const text = mark.repeat(99_000 / mark.length).trimEnd()
    for (const open of [true, false]) expect(html(text, open)).toContain(text.slice(0, 50_000).replaceAll(">", "&gt;"))
  })

  test("a list's item of lines without end is text", () => {
    const text = `- ${"a\n".repeat(49_000)}`
    for (const open of [true, false]) expect(html(text, open)).toBe(`<p class="plain">${text}</p>`)
  })

  test("fifty pages are read, and a long block of code is one", () => {
    const page = "# Head\n\nSome **bold** words, `code` and a [link](https://example.org).\n\n- one\n- two\n\n"
    expect(html(page.repeat(600)).match(/<strong>/g)).toHaveLength(600)
    const code = 'const names = { a_b: ["x", "y"] }\n'.repeat(800)
    expect(html(`\`\`\`ts\n${code}\`\`\``)).toMatch(/^<figure class="code">/)
  })
})

describe("while it is written", () => {
  test.each([
    ["a **bol", "<p>a <strong>bol</strong></p>"],
    ["a **bold*", "<p>a <strong>bold</strong></p>"],
    ["a **", "<p>a </p>"],
    ["a `cod", "<p>a <code>cod</code></p>"],
    ["see [the page](https://exa", "<p>see the page</p>"],
    ["Some words\n-", "<p>Some words</p>"],
    ["Some words\n\n2.", "<p>Some words</p>"],
    ["- one\n- **two", "<ul><li>one</li><li><strong>two</strong></li></ul>"],
    ["2 * 3 = 6", "<p>2 * 3 = 6</p>"],
  ])("%j", (text, want) => {
    expect(html(text, true)).toBe(want)
  })

  test("a block of code is one from its first line on", () => {
    const open = html("Look:\n\n```py\nprint(1)\n# **x", true)
    expect(open).toContain("<figcaption><span>py</span>")
    expect(open).toContain("print(1)\n# **x</code></pre></figure>")
  })

  test("no letter of it ever gets lost: what was shown stays, but for marks", () => {
    const text =
      "# 标题\n\nHello **big *wide* world**, `code` [link](https://example.com).\n\n- one **1**\n- two\n\n" +
      "| a | b |\n|---|---|\n| **1** | 2 |\n\n```js\nlet x = 1 // **\n```\n\n最后**一句。**完"
    const letters = (page: string) => page.replace(/<[^>]*>/g, "").replace(/Copy|[^\p{L}\p{N}]/gu, "")
    let before = ""
    for (let end = 1; end <= text.length; end++) {
      const now = letters(html(text.slice(0, end), true).replace(/<figcaption>.*?<\/figcaption>/gs, ""))
      // What an address or a language is, shows only at its end.
      if (!/\]\([^)]*$|```\w*$/.test(text.slice(0, end))) expect(now.length).toBeGreaterThanOrEqual(before.length - 2)
      before = now
    }
    expect(letters(html(text, true))).toBe(letters(html(text)))
  })
})

/** @file When the page is built anew: whenever something changes that it is made of, and only then. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, expect, test } from "vitest"
import { sourcesKey } from "./build-web.ts"

const FILES = [
  ...["web/src/main.tsx", "web/src/views/a.tsx", "web/public/icon.svg", "web/index.html", "web/package.json"],
  ...["web/vite.config.ts", "web/tsconfig.json", "src/protocol/a.ts", "src/audio/a.ts", "src/util/a.ts"],
]
const root = mkdtempSync(join(tmpdir(), "omni-web-"))
afterEach(() => rmSync(root, { recursive: true, force: true }))

const write = (path: string, text: string) => {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}

test("the key changes with every source, by content and by name, and with nothing else", () => {
  for (const path of FILES) write(path, "one")
  const first = sourcesKey(root)
  expect(sourcesKey(root)).toBe(first)
  const keys = new Set([first])
  for (const path of FILES) {
    write(path, "two")
    keys.add(sourcesKey(root))
    write(path, "one")
  }
  write("web/src/b.tsx", "one")
  keys.add(sourcesKey(root))
  rmSync(join(root, "web/src/b.tsx"))
  expect(keys.size).toBe(FILES.length + 2)
  write("web/src/main.test.ts", "one")
  write("src/audio/wav.test-util.ts", "one")
  write("src/server/a.ts", "one")
  expect(sourcesKey(root)).toBe(first)
})

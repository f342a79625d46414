/**
 * @file XGrammar in Node.js. The package calls itself an ES module and is a script: it looks for CommonJS names, finds none,
 * and leaves its exports on the global object. So the names are there while it loads, and nothing is afterwards.
 */
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import type { Xgrammar } from "./constraint.ts"

let loading: Promise<Xgrammar> | undefined

/** XGrammar, loaded once. What it would print (schemas, in part) is dropped; its failures are thrown anyway. */
export function loadXgrammar(): Promise<Xgrammar> {
  loading ??= load()
  return loading
}

async function load(): Promise<Xgrammar> {
  const url = import.meta.resolve("@mlc-ai/web-xgrammar")
  const place = globalThis as { require?: unknown; __filename?: unknown; xgrammar?: Xgrammar }
  const { require: oldRequire, __filename: oldFilename } = place
  const { error, warn, log } = console
  place.require = createRequire(url)
  place.__filename = fileURLToPath(url)
  try {
    await import(url)
    const { xgrammar } = place
    if (!xgrammar) throw new Error("internal: @mlc-ai/web-xgrammar left no exports")
    // The module binds the console's functions when it starts, which its first call makes it do.
    let started: boolean = false
    const until =
      (print: typeof error): typeof error =>
      (...args) => {
        if (!started) print(...args)
      }
    Object.assign(console, { error: until(error), warn: until(warn), log: until(log) })
    const info = await xgrammar.TokenizerInfo.createTokenizerInfo(["a"], "raw", false, 1, [0])
    started = true
    info.dispose()
    return xgrammar
  } finally {
    Object.assign(console, { error, warn, log })
    place.require = oldRequire
    place.__filename = oldFilename
    if (oldRequire === undefined) delete place.require
    if (oldFilename === undefined) delete place.__filename
    delete place.xgrammar
  }
}

/** @file Decoding of files and voice activity in a real browser: the same sound and the same probabilities as in Node.js. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Browser } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { decodeAudio } from "../../src/audio/index.ts"
import { openSilero } from "../../src/turns/index.node.ts"
import { createVad } from "../../src/turns/index.ts"
import { skipUnless } from "../skip.ts"
import { type Bundle, bundleForBrowser } from "./bundle.ts"
import { findChromium, openChromium, type PageServer, servePage } from "./chromium.ts"

const ROOT = join(import.meta.dirname, "../..")
const FILES: { readonly [name: string]: string } = {
  "speech.wav": "test/fixtures/tiny-a/assets/audio/speech_en.wav",
  "sine.mp3": "test/fixtures/audio/sine.mp3",
  "sine.flac": "test/fixtures/audio/sine.flac",
  "sine.ogg": "test/fixtures/audio/sine.ogg",
  "sine.opus": "test/fixtures/audio/sine.opus",
}
const bytesOf = (name: string): Uint8Array => new Uint8Array(readFileSync(join(ROOT, FILES[name]!)))

let bundle: Bundle
beforeAll(async () => {
  bundle = await bundleForBrowser("test/browser/listening-page.ts")
}, 30_000)

describe("the browser bundle", () => {
  test("imports nothing that browsers lack", () => {
    // The packages look where they run before they import modules of Node.js.
    expect(bundle.foreign.filter((line) => !line.startsWith("node_modules/"))).toEqual([])
  })
})

const chromium = findChromium()

skipUnless(chromium !== undefined, "no Chromium (install Debian's package chromium)")("listening in Chromium", () => {
  let browser: Browser | undefined
  let server: PageServer | undefined
  beforeAll(async () => {
    const model = readFileSync(join(ROOT, "node_modules/@ricky0123/vad-web/dist/silero_vad_v5.onnx"))
    const files = Object.keys(FILES).map((name) => [name, bytesOf(name)] as const)
    const other = [["silero.onnx", model] as const, ["bad.onnx", "no model"] as const]
    server = await servePage(new Map<string, string | Uint8Array>([...bundle.files, ...files, ...other]))
    browser = await openChromium(chromium!)
  }, 30_000)
  afterAll(async () => {
    await browser?.close()
    await server?.[Symbol.asyncDispose]()
  })

  async function call<T>(name: "listen" | "openingError", file: string): Promise<T> {
    const page = await browser!.newPage()
    try {
      const base = server!.page({ isolated: false })
      await page.goto(base)
      // As text: Vitest would rewrite the import of a function.
      const work = `import(${JSON.stringify(`${base}listening-page.js`)}).then((page) => page.${name}(...${JSON.stringify([base, file])}))`
      return (await page.evaluate(work)) as T
    } finally {
      await page.close()
    }
  }

  test.each(Object.keys(FILES))("%s sounds as in Node.js", async (name) => {
    const { pcm } = await decodeAudio(bytesOf(name), { sampleRateHz: 16_000 })
    await using model = await openSilero()
    const vad = createVad(model)
    const [expected] = await vad.step(vad.init(), pcm)
    const found = await call<number[]>("listen", name)
    expect(found).toHaveLength(expected.length)
    for (const [i, probability] of found.entries()) expect(Math.abs(probability - expected[i]!)).toBeLessThan(1e-3)
  })

  test("a missing and a broken model are told", async () => {
    const missing = await call<string>("openingError", "none.onnx")
    expect(missing).toMatch(
      /^checkpoint: .*none\.onnx: expected the Silero model, got status 404 \(check the address\)$/,
    )
    expect(await call<string>("openingError", "bad.onnx")).toMatch(
      /^checkpoint: .*bad\.onnx: expected an ONNX model, got: /,
    )
  })
})

/** @file The runtime in a real browser, in a worker as in the product: both devices compute what the reference computes. */
import { gzipSync } from "node:zlib"
import type { Browser } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { OrtWebOptions } from "../../src/runtime/index.web.ts"
import { skipUnless } from "../skip.ts"
import { type Bundle, bundleForBrowser } from "./bundle.ts"
import { findChromium, openChromium, type PageServer, servePage } from "./chromium.ts"
import type { Comparison } from "./runtime-page.ts"

/** Calls one function of the page's script and posts what it gives. */
const WORKER = `import * as page from "./runtime-page.js"
onmessage = async ({ data: [name, argument] }) => {
  try { postMessage({ value: await page[name](argument) }) } catch (error) { postMessage({ error: String(error) }) }
}`

const ORT = { wasmPaths: "ort/" }
let bundle: Bundle
beforeAll(async () => {
  bundle = await bundleForBrowser("test/browser/runtime-page.ts")
}, 30_000)

describe("the browser bundle", () => {
  test("imports nothing that browsers lack", () => {
    const kilobytes = (size: number) => `${(size / 1024).toFixed(0)} KiB`
    for (const [name, code] of bundle.files) {
      console.log(`${name}: ${kilobytes(code.length)}, ${kilobytes(gzipSync(code).length)} compressed`)
    }
    // ONNX Runtime's own imports of Node.js modules are behind a check of where it runs.
    expect(bundle.foreign.filter((line) => !line.startsWith("node_modules/onnxruntime-web/"))).toEqual([])
    expect(bundle.files.get("runtime-page.js")).toContain("compareWithReference")
  })

  test("would name what they lack", async () => {
    const { foreign } = await bundleForBrowser("src/runtime/index.node.ts")
    expect(foreign).toContain("src/runtime/ort.node.ts: node:fs")
    expect(foreign).toContain("src/runtime/ort.node.ts: onnxruntime-node")
  })
})

const chromium = findChromium()

skipUnless(chromium !== undefined, "no Chromium (install Debian's package chromium)")("the runtime in Chromium", () => {
  let browser: Browser | undefined
  let server: PageServer | undefined
  beforeAll(async () => {
    server = await servePage(new Map([...bundle.files, ["worker.js", WORKER]]))
    browser = await openChromium(chromium!)
  }, 30_000)
  afterAll(async () => {
    await browser?.close()
    await server?.[Symbol.asyncDispose]()
  })

  /** Runs an exported function of the page's script in a worker of a fresh page. */
  async function call<T>(name: string, argument: OrtWebOptions, isolated = true): Promise<T> {
    const page = await browser!.newPage()
    try {
      const address = server!.page({ isolated })
      await page.goto(address)
      const paths = { ...argument, ...(argument.wasmPaths ? { wasmPaths: address + argument.wasmPaths } : {}) }
      const answer = page.evaluate(
        (message) =>
          new Promise<{ value: unknown; error?: string }>((resolve, reject) => {
            const worker = new Worker("worker.js", { type: "module" })
            worker.onmessage = ({ data }) => resolve(data)
            worker.onerror = ({ message }) => reject(new Error(message))
            worker.postMessage(message)
          }),
        [name, paths],
      )
      const { value, error } = await answer
      if (error !== undefined) throw new Error(error)
      return value as T
    } finally {
      await page.close()
    }
  }

  const compare = async (options: OrtWebOptions) => {
    const { errors, dispatches, milliseconds } = await call<Comparison>("compareWithReference", { ...ORT, ...options })
    console.log(`${JSON.stringify(options)}: ${milliseconds.toFixed(0)} ms`, errors)
    expect(Object.keys(errors)).toEqual(["y", "int4", "int8", "keys", "values"])
    for (const [output, error] of Object.entries(errors)) expect(error, output).toBeLessThan(1e-5)
    return dispatches
  }

  test.each([1, 2])("wasm with %i threads computes what the reference computes", async (threads) => {
    expect(await compare({ device: "wasm", threads })).toBe(0)
  })

  test("webgpu computes what the reference computes, on the GPU", async (context) => {
    const missing = await call<string | undefined>("openingError", { device: "webgpu" })
    if (missing) context.skip(`no WebGPU in this Chromium: ${missing}`)
    expect(await compare({ device: "webgpu" })).toBeGreaterThan(30)
  })

  test("threads are refused where the page is not isolated", async () => {
    const error = await call<string | undefined>("openingError", { device: "wasm", threads: 2 }, false)
    expect(error).toContain("threads: expected a cross-origin isolated page for 2 threads, got one that is not")
    expect(await call<string | undefined>("openingError", { device: "wasm", threads: 1 }, false)).toBeUndefined()
  })
})

/** @file The example of the library in a page, built and served as a visitor gets it: a question, then a spoken call. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { build, type PreviewServer, preview } from "vite"
import { afterAll, beforeAll, expect, test } from "vitest"
import { skipUnless } from "../skip.ts"
import { recordedVoiceFile } from "./call-inputs.ts"
import { findChromium } from "./chromium.ts"
import { ARTIFACTS, openCallBrowser } from "./page-driver.ts"

const ROOT = join(import.meta.dirname, "../..")
const TINY = join(ROOT, "test/fixtures/tiny-a")
const configFile = join(ROOT, "examples/browser/vite.config.ts")
const chromium = findChromium()

skipUnless(chromium !== undefined, "no Chromium (install Debian's package chromium)")("examples/browser", () => {
  const folder = mkdtempSync(join(tmpdir(), "omni-example-"))
  const voice = join(folder, "voice.wav")
  let server: PreviewServer
  beforeAll(async () => {
    process.env.MODEL = join(TINY, "checkpoint")
    const quiet = { configFile, logLevel: "error", build: { outDir: join(folder, "dist") } } as const
    await build(quiet)
    server = await preview({ ...quiet, preview: { host: "127.0.0.1", port: 0 } })
    recordedVoiceFile(voice, 6)
    mkdirSync(ARTIFACTS, { recursive: true })
  }, 60_000)
  afterAll(async () => {
    delete process.env.MODEL
    await server?.close()
    rmSync(folder, { recursive: true })
  })

  test("loads a model, answers about a picture, and talks", { timeout: 180_000 }, async () => {
    await using browser = await openCallBrowser(chromium!, { voice })
    const page = await browser.newPage()
    page.setDefaultTimeout(100_000)
    const problems: string[] = []
    page.on("pageerror", (error) => problems.push(String(error)))
    await page.goto(server.resolvedUrls!.local[0]!, { waitUntil: "load" })
    await page.click("text=Load")
    await page.waitForFunction(`document.querySelector("#state").textContent.includes(" on ")`)
    expect(await page.textContent("#state")).toMatch(/^model on wasm, none, loaded in [\d.]+ s\.$/)
    await page.setInputFiles("[name=image]", join(TINY, "assets/images/square_448.png"))
    await page.click("text=Ask")
    await page.waitForFunction(`document.querySelector(".omni")?.textContent.length > 0`)
    expect(await page.textContent(".you")).toBe("What is this? (square_448.png)")
    // The microphone says its sentence over and over; each end of it is answered, or cut by the next beginning.
    await page.click("text=Talk")
    await page.waitForFunction(
      `[...document.querySelectorAll(".omni")].slice(1).some((it) => it.textContent.length > 0)`,
    )
    await page.screenshot({ path: join(ARTIFACTS, "example-browser.png") })
    await page.click("text=Talk")
    await page.waitForFunction(`document.querySelector("#state").textContent === "The call has ended."`)
    expect(problems).toEqual([])
  })
})

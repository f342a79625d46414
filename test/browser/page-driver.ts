/**
 * @file A person with a browser, for tests of the page: a microphone and a camera that play files, buttons by their names, what
 * leaves the loudspeaker, pictures of the views and what assistive technology would stumble over.
 */
import { mkdirSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { join } from "node:path"
import type { Browser, BrowserContext, Page } from "playwright-core"
import { expect } from "vitest"
import { openChromium } from "./chromium.ts"

/** Where pictures of the views are kept, for people to look at. */
export const ARTIFACTS = join(import.meta.dirname, "../../test-artifacts/page")
const AXE = createRequire(import.meta.url).resolve("axe-core")

/**
 * A browser whose microphone plays a file over and over, and its camera another one.
 * @param files a WAV file; a Motion-JPEG file, or Chromium's own test picture when absent
 */
export async function openCallBrowser(
  executable: string,
  files: { voice: string; camera?: string },
  more: readonly string[] = [],
): Promise<Browser> {
  mkdirSync(ARTIFACTS, { recursive: true })
  return await openChromium(executable, [
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    `--use-file-for-fake-audio-capture=${files.voice}`,
    ...(files.camera === undefined ? [] : [`--use-file-for-fake-video-capture=${files.camera}`]),
    "--auto-select-desktop-capture-source=Entire screen",
    "--autoplay-policy=no-user-gesture-required",
    ...more,
  ])
}

export async function until<T>(
  what: string,
  get: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 9000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const value = await get()
    if (value !== undefined && value !== false) return value
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`)
    await new Promise((done) => setTimeout(done, 15))
  }
}

export const rms = (pcm: Float32Array) =>
  Math.sqrt(pcm.reduce((sum, sample) => sum + sample * sample, 0) / Math.max(1, pcm.length))

/** Copies what reaches it, in the thread of the sound: a file `tap.js` that the page's server must have for `listen`. */
export const TAP = `
  registerProcessor("tap", class extends AudioWorkletProcessor {
    process([[samples]]) {
      if (samples) this.port.postMessage(samples.slice())
      return true
    }
  })`

/** Keeps what any part of the page sends to the loudspeaker, beside the page's own counting. Runs in the page. */
const LISTEN = `if (globalThis.AudioWorklet) {
  globalThis.__heard = []
  const { addModule } = AudioWorklet.prototype
  AudioWorklet.prototype.addModule = async function (...args) {
    await addModule.call(this, "/tap.js")
    return addModule.apply(this, args)
  }
  const { connect } = AudioNode.prototype
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode) {
      globalThis.__heardHz = target.context.sampleRate
      const tap = new AudioWorkletNode(target.context, "tap", { numberOfOutputs: 0 })
      tap.port.onmessage = ({ data }) => globalThis.__heard.push(data)
      connect.call(this, tap)
    }
    return connect.call(this, target, ...rest)
  }
}`

type Axe = {
  run(options: object): Promise<{ violations: { id: string; impact: string | null; nodes: { html: string }[] }[] }>
}

export type VisitOptions = {
  readonly phone?: boolean
  /** Runs in the page before its own scripts. */
  readonly script?: string
  readonly locale?: string
  readonly listen?: boolean
  readonly ignoreHTTPSErrors?: boolean
}

const CONNECTED = ["listening", "hearing", "thinking", "speaking"].map((one) => `[data-status=${one}]`).join()

export class Visitor {
  readonly page: Page
  readonly context: BrowserContext
  /** Errors that the page showed in the console. */
  readonly complaints: string[] = []

  private constructor(context: BrowserContext, page: Page) {
    this.context = context
    this.page = page
    page.setDefaultTimeout(10_000)
    page.on("pageerror", (error) => this.complaints.push(error.message))
    page.on("console", (message) => {
      // Connections that fail are part of some tests, and browsers log each of them.
      if (message.type() === "error" && !/Failed to load resource|WebSocket connection/.test(message.text()))
        this.complaints.push(message.text())
    })
  }

  /** Opens the page in a fresh profile. */
  static async open(browser: Browser, url: string, options: VisitOptions = {}): Promise<Visitor> {
    const { phone = false, script, locale = "en-US", listen = false, ignoreHTTPSErrors = false } = options
    const context = await browser.newContext({
      viewport: phone ? { width: 390, height: 844 } : { width: 1280, height: 800 },
      ...{ locale, ignoreHTTPSErrors, acceptDownloads: true, hasTouch: phone, isMobile: phone },
    })
    const visitor = new Visitor(context, await context.newPage())
    if (script) await visitor.page.addInitScript(script)
    if (listen) await visitor.page.addInitScript(LISTEN)
    await visitor.page.goto(url)
    return visitor
  }

  /** Ends the visit; of one that went wrong a picture is kept. */
  async leave(failed: boolean): Promise<void> {
    if (failed) await this.page.screenshot({ path: join(ARTIFACTS, "failed.png") }).catch(() => undefined)
    await this.context.close()
    if (!failed) expect(this.complaints).toEqual([])
    else if (this.complaints.length > 0) console.log(this.complaints)
  }

  button(name: string | RegExp) {
    return this.page.getByRole("button", { name })
  }

  async status(text: string, timeout = 10_000): Promise<void> {
    await this.page.locator(".status", { hasText: text }).waitFor({ timeout })
  }

  async connected(): Promise<void> {
    await this.page.locator(`.status:is(${CONNECTED})`).waitFor({ timeout: 15_000 })
  }

  async notice(text: string): Promise<void> {
    await this.page.getByRole("alert").getByText(text).waitFor()
  }

  /** The file that a button offers. */
  async saved(button: string): Promise<Uint8Array> {
    const [download] = await Promise.all([this.page.waitForEvent("download"), this.button(button).click()])
    const pieces: Buffer[] = []
    for await (const piece of await download.createReadStream()) pieces.push(piece as Buffer)
    return Buffer.concat(pieces)
  }

  /** What has left the loudspeaker; needs `listen`. */
  async heard(): Promise<{ pcm: Float32Array; sampleRateHz: number }> {
    const { text, sampleRateHz } = await this.page.evaluate(() => {
      const { __heard, __heardHz } = globalThis as unknown as { __heard: Float32Array[]; __heardHz: number }
      const bytes = __heard.flatMap((piece) => [...new Uint8Array(piece.buffer)])
      let text = ""
      for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.slice(at, at + 8192))
      return { text: btoa(text), sampleRateHz: __heardHz }
    })
    const bytes = Uint8Array.from(Buffer.from(text, "base64"))
    return { pcm: new Float32Array(bytes.buffer), sampleRateHz }
  }

  /** Pictures in both colours and checks what assistive technology would stumble over. */
  async screenshots(name: string): Promise<void> {
    const { page } = this
    const size = page.viewportSize()!.width < 600 ? "phone" : "desktop"
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" })
      await page.waitForTimeout(30)
      await page.screenshot({ path: join(ARTIFACTS, `${name}-${size}-${colorScheme}.png`) })
      await page.evaluate(await axeSource())
      // Colours alone differ between the two.
      const rules = colorScheme === "dark" ? { runOnly: ["color-contrast"] } : {}
      const violations = await page.evaluate(async (options) => {
        const { axe } = globalThis as unknown as { axe: Axe }
        return (await axe.run(options)).violations.map(({ id, impact, nodes }) => ({
          id,
          impact,
          nodes: nodes.map((one) => one.html),
        }))
      }, rules)
      const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical")
      expect(serious, `${name} ${size} ${colorScheme}`).toEqual([])
    }
  }
}

let axe: Promise<string> | undefined
function axeSource(): Promise<string> {
  axe ??= readFile(AXE, "utf8")
  return axe
}

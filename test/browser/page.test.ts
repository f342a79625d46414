/**
 * @file The page in a real browser: a call that is heard, answered with measured sound, interrupted by voice and by button, and
 * hung up; video, push-to-talk, chat, voices; what goes wrong; every view checked by axe. Pictures of the views go to
 * `test-artifacts/page`, for people to look at.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Browser, Page } from "playwright-core"
import { afterAll, afterEach, beforeAll, expect, test } from "vitest"
import { ensureWebBuilt } from "../../scripts/build-web.ts"
import { readWav, writeWav } from "../../src/audio/index.ts"
import type { ContentPart, Sound } from "../../src/session/index.ts"
import { skipUnless } from "../skip.ts"
import { cameraFile, voiceFile } from "./call-inputs.ts"
import { findChromium } from "./chromium.ts"
import { ARTIFACTS, openCallBrowser, rms, until, type VisitOptions, Visitor } from "./page-driver.ts"
import { ANSWER_MS, MARKDOWN } from "./page-engine.ts"
import { type PageServer, PLACES, servePageWithEngine, WAITING } from "./page-server.ts"

const chromium = findChromium()

skipUnless(chromium !== undefined, "no Chromium (install Debian's package chromium)")("the page in Chromium", () => {
  const folder = mkdtempSync(join(tmpdir(), "omni-page-"))
  let browser: Browser | undefined
  let server: PageServer
  let visitor: Visitor | undefined
  let page: Page

  beforeAll(async () => {
    const voice = join(folder, "voice.wav")
    voiceFile(voice, 1.2, 5)
    const camera = join(folder, "camera.mjpeg")
    await cameraFile(camera)
    const [built, opened] = await Promise.all([ensureWebBuilt(), openCallBrowser(chromium!, { voice, camera })])
    browser = opened
    server = await servePageWithEngine(built)
  }, 40_000)
  afterAll(async () => {
    await browser?.close()
    await server[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true })
    console.log(`pictures of the views: ${ARTIFACTS}`)
  })
  afterEach(async ({ task }) => {
    server.open = true
    server.heard.busy = false
    await visitor?.leave(task.result?.state === "fail")
    visitor = undefined
  })

  async function open(view: string, options: VisitOptions = {}): Promise<void> {
    visitor = await Visitor.open(browser!, `${server.url}#${view}`, options)
    page = visitor.page
  }
  const button = (name: string | RegExp) => visitor!.button(name)
  const status = (text: string) => visitor!.status(text)
  const connected = () => visitor!.connected()
  const notice = (text: string) => visitor!.notice(text)
  const saved = (name: string) => visitor!.saved(name)
  const screenshots = (name: string) => visitor!.screenshots(name)

  test("a voice call is heard, answered aloud, interrupted by voice and by button, saved and hung up", async () => {
    await open("voice")
    const { heard } = server
    const before = structuredClone({ ...heard, calls: heard.calls.length })
    await button("Start call").click()
    await until("an answer", () => heard.answers > before.answers)
    // Sound of the microphone arrived, as much of it loud as was spoken.
    expect((heard.loudSamples - before.loudSamples) / 24_000).toBeGreaterThan(0.4)
    expect(heard.calls.at(-1)).toMatchObject({ sampleRateHz: 24_000, turns: {} })
    await status("Speaking")
    await until("barge-in by voice", () => heard.cuts.length > before.cuts.length)
    const firstCut = heard.cuts.at(-1)!
    expect(firstCut).toBeGreaterThan(500)
    expect(firstCut).toBeLessThan(ANSWER_MS)
    await page.getByText("interrupted").first().waitFor()
    await until("a second answer", () => heard.answers > before.answers + 1)
    await status("Speaking")
    await page.waitForTimeout(400)
    await button("Interrupt").click()
    await until("the cut", () => heard.cuts.length > before.cuts.length + 1 && heard.cuts.at(-1)! < 3000)
    const firstSound = await page.locator("[data-test=first-sound]").textContent()
    expect(Number.parseInt(firstSound!, 10)).toBeGreaterThan(0)
    expect(await page.locator("[data-test=real-time-factor]").textContent()).toMatch(/^0\.\d\d$/)
    const closed = heard.closed
    await button("Hang up").click()
    await until("the call's end", () => heard.closed > closed)
    await screenshots("after-call")

    // The engine's words for any sound stand for what it would write down.
    const text = new TextDecoder().decode(await saved("Save as text"))
    expect(text).toMatch(/^You: I got .* sounds\.\n\nomni: This is an .*\[interrupted\]/)
    const wav = readWav(await saved("Save the sound"))
    expect([wav.channels, wav.sampleRateHz]).toEqual([2, 24_000])
    const [mic, out] = [0, 1].map((side) => wav.samples.filter((_, i) => i % 2 === side)) as [
      Float32Array,
      Float32Array,
    ]
    // The answer left the loudspeaker: as long as the server was told, and at the tone's level.
    const sounding = out.filter((sample) => Math.abs(sample) > 1e-4)
    const cutMs = heard.cuts.slice(before.cuts.length).reduce((sum, ms) => sum + ms, 0)
    expect(Math.abs(sounding.length / 24 - cutMs)).toBeLessThan(250)
    expect(rms(sounding)).toBeCloseTo(0.3 / Math.SQRT2, 1)
    expect(rms(mic)).toBeGreaterThan(0.005)
  }, 60_000)

  test("a video call shows and sends what the camera sees", async () => {
    await open("video")
    const { heard } = server
    const before = heard.frames.length
    await button("Start video call").click()
    await until("two pictures", () => heard.frames.length >= before + 2)
    // Left is left, as the model sees it: only the person's own picture is a mirror.
    const [left, right] = [heard.frames[before]!.left, heard.frames[before]!.right]
    expect(heard.frames[before]).toMatchObject({ width: 448, height: 252 })
    expect([left[0]! > 120 && left[2]! < 80, right[2]! > 120 && right[0]! < 80]).toEqual([true, true])
    expect(heard.calls.at(-1)).toMatchObject({ mode: "omni" })
    await page.getByText("448 × 252").waitFor()
    const drawn = await page.locator(".picture > video").evaluate((video: HTMLVideoElement) => video.videoWidth)
    expect(drawn).toBe(640)
    await button("Switch camera").click()
    await page.locator(".picture[data-mirrored=false]").waitFor()
    await button("HD").click()
    await until("a large picture", () => heard.frames.at(-1)!.width > 448)
    await page.getByText(`${heard.frames.at(-1)!.width} × ${heard.frames.at(-1)!.height}`).waitFor()
    await screenshots("video-call")
    await button("Share screen").click()
    await page.locator(".chip[aria-pressed=true]", { hasText: "Share screen" }).waitFor()
    const shared = heard.frames.length
    await until("the screen", () => heard.frames.slice(shared).some(({ left }) => left[1]! > left[0]! + 60))
    await button("Share screen").click()
    await page.getByText("The camera is off.").waitFor()
    await button("Hang up").click()
    await status("Ready")
  }, 60_000)

  test("push-to-talk by keyboard, and typing, are answered", async () => {
    await open("voice")
    const { heard } = server
    await button("Settings").click()
    await page.getByLabel("Push to talk").check()
    await page.getByLabel("System prompt").fill("Be brief.")
    await page.getByLabel("Language of the answers").selectOption("zh")
    await page.getByRole("dialog").getByRole("button", { name: "Close" }).click()
    await button("Start call").focus()
    await page.keyboard.press("Enter")
    await status("Listening")
    // The button went away: the keyboard goes on with its successors.
    const focused = () => page.evaluate(() => document.activeElement?.textContent)
    expect(await focused()).toBe("Hang up")
    const answers = heard.answers
    const samples = heard.samples
    await page.locator(".status").click()
    const downAt = performance.now()
    await page.keyboard.down("Space")
    await status("Hearing you")
    await page.waitForTimeout(500)
    await page.keyboard.up("Space")
    const heldMs = performance.now() - downAt // half a second, and what a busy machine adds
    await until("an answer", () => heard.answers > answers)
    expect((heard.samples - samples) / 24).toBeGreaterThan(300)
    expect((heard.samples - samples) / 24).toBeLessThan(heldMs + 700)
    expect(heard.calls.at(-1)).toMatchObject({ instructions: "Be brief.\n请用中文回答。" })
    expect(heard.calls.at(-1)).not.toHaveProperty("turns")
    await status("Speaking")
    await page.keyboard.press("Escape")
    await status("Listening")
    await page.getByLabel("Type instead of speaking").fill("In writing")
    await page.keyboard.press("Enter")
    await until("the text", () => heard.texts.includes("In writing"))
    await until("another answer", () => heard.answers > answers + 1)
  }, 60_000)

  test("a chat takes dropped pictures and sound, and reads its answer aloud", async () => {
    await open("chat")
    const wav = writeWav(
      Float32Array.from({ length: 24_000 }, (_, i) => Math.sin(i / 9) / 3),
      { sampleRateHz: 24_000 },
    )
    const dropped = await page.evaluateHandle(
      async ({ sound }) => {
        /** Three seconds of a moving square and a tone, as a browser records them: without a length in the header. */
        async function recorded(): Promise<Blob> {
          const canvas = document.createElement("canvas")
          Object.assign(canvas, { width: 320, height: 240 })
          const paint = canvas.getContext("2d")!
          const timer = setInterval(() => paint.fillRect((performance.now() / 20) % 300, 50, 20, 20), 50)
          const context = new AudioContext()
          const tone = context.createMediaStreamDestination()
          const oscillator = context.createOscillator()
          oscillator.connect(tone)
          oscillator.start()
          const tracks = [...canvas.captureStream(10).getTracks(), ...tone.stream.getTracks()]
          const recorder = new MediaRecorder(new MediaStream(tracks), { mimeType: "video/webm" })
          const data = new Promise<Blob>((resolve) =>
            recorder.addEventListener("dataavailable", (e) => resolve(e.data)),
          )
          recorder.start()
          await new Promise((done) => setTimeout(done, 3400))
          recorder.stop()
          const blob = await data
          clearInterval(timer)
          await context.close()
          return blob
        }
        const canvas = new OffscreenCanvas(40, 30)
        canvas.getContext("2d")!.fillRect(0, 0, 20, 20)
        const transfer = new DataTransfer()
        transfer.items.add(new File([await canvas.convertToBlob()], "square.png", { type: "image/png" }))
        transfer.items.add(new File([new Uint8Array(sound)], "tone.wav", { type: "audio/wav" }))
        transfer.items.add(new File([await recorded()], "clip.webm", { type: "video/webm" }))
        transfer.items.add(new File(["x"], "broken.png", { type: "image/png" }))
        return transfer
      },
      { sound: [...wav] },
    )
    await page.locator(".chat").dispatchEvent("drop", { dataTransfer: dropped })
    await notice("broken.png could not be read.")
    await button("Dismiss message").click()
    await page.getByLabel("Read answers aloud").check()
    await page.getByRole("textbox", { name: "Message" }).fill("What are these?")
    await screenshots("chat-files")
    await page.keyboard.press("Enter")
    await page.getByText("I got 4 pictures and 2 sounds.").waitFor()
    // What the engine was given, decoded: the picture, the sound, the video's seconds and its sound, the words.
    const { messages, speak } = server.heard.chats.at(-1)!
    expect(speak).toBe(true)
    const parts = messages.at(-1)!.content as readonly ContentPart[]
    expect(parts.map(({ type }) => type).join()).toBe("image,audio,image,image,image,audio,text")
    expect(parts[0]).toMatchObject({ image: { width: 40, height: 30 } })
    expect(parts[2]).toMatchObject({ image: { width: 320, height: 240 } })
    const { audio } = parts[1] as { audio: Sound }
    expect([audio.pcm.length / audio.sampleRateHz, rms(audio.pcm) > 0.2]).toEqual([1, true])
    await screenshots("chat-answer")
    const spoken = readWav(await saved("Save the sound"))
    expect([spoken.channels, spoken.sampleRateHz, rms(spoken.samples) > 0.1]).toEqual([1, 24_000, true])
  }, 60_000)

  test("an answer in Markdown is drawn as it comes, fetches nothing, and its code can be copied", async () => {
    const sizes = [false, true]
    for (const phone of sizes) {
      await open("chat", { phone })
      await visitor!.context.grantPermissions(["clipboard-read", "clipboard-write"])
      const elsewhere: string[] = []
      page.on("request", (request) => {
        if (!request.url().startsWith(server.url) && /^https?:/.test(request.url())) elsewhere.push(request.url())
      })
      await page.getByRole("textbox", { name: "Message" }).fill("In Markdown, please")
      await page.keyboard.press("Enter")
      // A block of code is one before it is closed.
      await page.locator(".markdown pre", { hasText: "greet" }).waitFor()
      await page.getByText("Done.").waitFor()
      await button("Send").waitFor()
      const log = page.locator(".chat-log")
      expect(await log.evaluate((one) => one.scrollHeight - one.scrollTop - one.clientHeight)).toBeLessThan(2)
      const answer = page.locator(".markdown")
      expect(await answer.locator("strong").allTextContents()).toEqual(["bold", "注意：", "加粗。", "tested"])
      expect(await answer.locator("ol > li").count()).toBe(2)
      expect(await answer.locator("table td").nth(1).textContent()).toBe("24")
      expect(await answer.locator("script, img").count()).toBe(0)
      expect(
        await answer
          .locator("a")
          .evaluateAll((all) => all.map((one) => [one.textContent, (one as HTMLAnchorElement).rel])),
      ).toEqual([
        ["the guide", "noopener noreferrer nofollow"],
        ["and a picture", "noopener noreferrer nofollow"],
      ])
      await answer.getByRole("button", { name: "Copy" }).click()
      await answer.getByRole("button", { name: "Copied" }).waitFor()
      expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(
        MARKDOWN.join("").match(/```ts\n(.*)\n```/s)![1],
      )
      // Wide tables and code scroll by themselves, not the page.
      const width = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      expect(width).toBeLessThanOrEqual(0)
      expect(await log.evaluate((one) => one.scrollWidth - one.clientWidth)).toBe(0)
      await screenshots("chat-markdown")
      expect(elsewhere).toEqual([])
      if (phone !== sizes.at(-1)) await visitor!.leave(false)
    }
  }, 60_000)

  test("an unanswered message is asked again; files fit a telephone, and what was said of one goes with the message", async () => {
    await open("chat", { phone: true })
    const sound = writeWav(new Float32Array(24_000).fill(0.1), { sampleRateHz: 24_000 })
    const wav = (name: string) => ({ name, mimeType: "audio/wav", buffer: Buffer.from(sound) })
    const text = { name: "notes.md", mimeType: "text/markdown", buffer: Buffer.from("x") }
    await page.locator("input[type=file][multiple]").setInputFiles([wav("a.wav"), wav("b.wav"), wav("c.wav"), text])
    await notice("notes.md is neither picture, sound nor video.")
    await page.getByRole("button", { name: "Remove c.wav" }).waitFor()
    const send = await page.getByRole("button", { name: "Send" }).boundingBox()
    expect(send!.x + send!.width).toBeLessThanOrEqual(390)
    server.open = false
    await page.getByRole("textbox", { name: "Message" }).fill("And now?")
    await button("Send").click()
    await notice("The server does not answer.")
    await screenshots("chat-failed")
    const file = await page.locator(".message-files audio").first().boundingBox()
    expect(file!.x + file!.width).toBe(390 - 14) // at the side of the person
    const before = server.heard.chats.length
    server.open = true
    // It is noticed by itself that the server is back.
    await until("the notice's end", async () => (await page.getByRole("alert").textContent()) === "")
    await button("Try again").click()
    await page.getByText("I got 0 pictures and 3 sounds.").waitFor()
    expect(await page.locator(".message").count()).toBe(2)
    expect(server.heard.chats.slice(before).map(({ messages }) => messages.length)).toEqual([1])
  }, 60_000)

  test("a voice is recorded, stored and chosen for the next call", async () => {
    await open("voice")
    await button("Settings").click()
    await screenshots("settings")
    await button("Record five seconds").click()
    await page.getByText("The new voice is chosen.").waitFor({ timeout: 9000 })
    expect(await page.getByLabel("Voice of the answers").inputValue()).toMatch(/^voice_/)
    await page.keyboard.press("Escape")
    const calls = server.heard.calls.length
    await button("Start call").click()
    const { voice } = await until("the call", () => server.heard.calls[calls])
    expect(voice!.pcm.length / voice!.sampleRateHz).toBe(5)
    expect(rms(voice!.pcm)).toBeGreaterThan(0.005)
    await button("Hang up").click()
    await button("Settings").click()
    await button("Forget this voice").click()
    await page.getByText("The server has forgotten this voice.").waitFor()
    expect(await page.getByLabel("Voice of the answers").inputValue()).toBe("default")
    const left = (await (await fetch(`${server.url}v1/audio/voices`)).json()) as { data: { id: string }[] }
    expect(left.data.filter(({ id }) => id.startsWith("voice_"))).toEqual([])
  }, 60_000)

  test("a blocked microphone is told in words, and nothing connects", async () => {
    await open("voice", {
      script: `navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError") }`,
    })
    const calls = server.heard.calls.length
    await button("Start call").click()
    await notice("The microphone is blocked.")
    await status("Ready")
    expect(server.heard.calls.length).toBe(calls)
    await screenshots("refused")
  }, 60_000)

  test("a server that goes away is waited for; one that is full has a line, and says when that is full too", async () => {
    await open("voice")
    await button("Start call").click()
    await connected()
    server.open = false
    await notice("The server does not answer.")
    await status("Reconnecting")
    server.open = true
    const address = `${server.url.replace("http", "ws")}v1/realtime?queue=true`
    const others = Array.from({ length: PLACES + WAITING }, () => new WebSocket(address))
    await notice("The server is busy")
    others.pop()!.close() // who waited gives up
    await status("Waiting in line")
    await page.getByText("You are next.").waitFor()
    await screenshots("queued")
    for (const other of others) other.close()
    await connected()
    expect(await page.getByRole("alert").textContent()).toBe("")
    await button("Hang up").click()
    server.heard.busy = true
    const body = JSON.stringify({ model: "test-model", messages: [{ role: "user", content: "x" }] })
    const headers = { "content-type": "application/json" }
    const ask = () => fetch(`${server.url}v1/chat/completions`, { method: "POST", headers, body })
    const before = server.heard.chats.length
    const asked = Array.from({ length: PLACES + WAITING }, ask)
    await until("a full server", () => server.heard.chats.length === before + PLACES)
    await page.goto(`${server.url}#chat`)
    await page.getByRole("textbox", { name: "Message" }).fill("Hello?")
    await page.keyboard.press("Enter")
    await notice("The server is busy")
    server.heard.busy = false
    expect((await Promise.all(asked)).map((response) => response.status)).toEqual(Array(PLACES + WAITING).fill(200))
  }, 60_000)

  test("the page speaks Chinese", async () => {
    await open("voice", { locale: "zh-CN" })
    await button("开始通话").waitFor()
    expect(await page.locator("html").getAttribute("lang")).toBe("zh-Hans")
    await screenshots("chinese")
  })

  test("every view passes axe, in both colours and sizes", async () => {
    for (const phone of [false, true]) {
      await open("voice", { phone })
      for (const view of ["voice", "video", "chat"]) {
        await page.goto(`${server.url}#${view}`)
        await screenshots(view)
      }
      await page.goto(`${server.url}#voice`)
      await button("Start call").click()
      await status("Speaking")
      await screenshots("call")
      await visitor?.context.close()
    }
  }, 40_000)
})

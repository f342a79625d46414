/**
 * @file The main path with nothing played by us: the page in a real browser, `omni serve` in a process of its own, the real
 * engine with the test model, a recorded voice in the microphone. What is heard is measured at the loudspeaker, not taken from
 * the page's own counting. Odd states are in `page.test.ts`.
 */
import { once } from "node:events"
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Browser } from "playwright-core"
import { afterAll, afterEach, beforeAll, expect, test } from "vitest"
import { ensureWebBuilt } from "../../scripts/build-web.ts"
import { int16ToFloat, resample } from "../../src/audio/index.ts"
import { type OmniProcess, startOmni } from "../cli.test-util.ts"
import { skipUnless } from "../skip.ts"
import { cameraFile, recordedVoiceFile } from "./call-inputs.ts"
import { findChromium } from "./chromium.ts"
import { openCallBrowser, rms, TAP, until, type VisitOptions, Visitor } from "./page-driver.ts"

const chromium = findChromium()
const TINY = ["--model", join(import.meta.dirname, "../fixtures/tiny-a/checkpoint")]
/** Its answers go on until somebody stops them; those of the test model end early. */
const NANO: string[] = []
const KEY = "sk-page-test"
/** The recording takes three of these seconds; an answer begins in the rest and is cut by the next one. */
const PERIOD_S = 9
/** A name of this machine that browsers do not trust. */
const OTHER_NAME = "omni.test"

/** Seconds of an answer that are compared: later ones may come after a pause when the machine is busy. */
const COMPARED = 0.3

const sounds = (sample: number) => Math.abs(sample) > 1e-6

/** Where something is heard after so much silence. */
function soundStarts(pcm: Float32Array, silence: number): number[] {
  const starts: number[] = []
  let quiet = silence
  for (const [i, sample] of pcm.entries()) {
    if (sounds(sample) && quiet >= silence) starts.push(i)
    quiet = sounds(sample) ? 0 : quiet + 1
  }
  return starts
}

/** Samples of sound; pauses of more than `pause` are none. */
function soundingSamples(pcm: Float32Array, pause: number): number {
  let count = 0
  let quiet = 0
  for (const sample of pcm) {
    if (!sounds(sample)) quiet++
    else {
      count += 1 + (quiet < pause ? quiet : 0)
      quiet = 0
    }
  }
  return count
}

/** Root mean square of the difference at the best of the places near one where the sound may begin. */
function findSound(heard: Float32Array, sound: Float32Array, near: number): { at: number; error: number } {
  const places = Array.from({ length: 400 }, (_, i) => Math.max(0, near - 200 + i))
  const errors = places.map((at) => ({ at, error: rms(sound.map((sample, i) => sample - (heard[at + i] ?? 0))) }))
  return errors.reduce((one, other) => (other.error < one.error ? other : one))
}

type WireEvent = { readonly type: string; readonly [field: string]: unknown }

skipUnless(chromium !== undefined, "no Chromium (install Debian's package chromium)")("the page and omni serve", () => {
  const folder = mkdtempSync(join(tmpdir(), "omni-page-call-"))
  const servers: OmniProcess[] = []
  let browser: Browser
  let web: string
  let url: string
  let visitor: Visitor | undefined

  /** Any model but `nano`, which `omni serve` makes and takes by itself. */
  async function serve(model: readonly string[], flags: readonly string[] = []): Promise<string> {
    const args = ["serve", ...model, "--quantize", "none", "--threads", "1", "--web", web, "--no-open"]
    const env = { XDG_DATA_HOME: folder, XDG_CACHE_HOME: folder, OMNI_API_KEY: "" }
    const server = startOmni([...args, "--port", "0", "--json", ...flags], { env })
    servers.push(server)
    let text = ""
    while (!text.includes('"listening"')) text += ((await once(server.child.stdout!, "data")) as [string])[0]
    const line = text.split("\n").find((one) => one.includes('"listening"'))!
    return `${(JSON.parse(line) as { url: string }).url}/`
  }

  beforeAll(async () => {
    const [voice, camera] = [join(folder, "voice.wav"), join(folder, "camera.mjpeg")]
    recordedVoiceFile(voice, PERIOD_S)
    await cameraFile(camera)
    web = join(folder, "web")
    cpSync(await ensureWebBuilt(), web, { recursive: true })
    writeFileSync(join(web, "tap.js"), TAP)
    const rules = `--host-resolver-rules=MAP ${OTHER_NAME} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`
    const opened = openCallBrowser(chromium!, { voice, camera }, [rules])
    url = await serve(TINY)
    browser = await opened
  }, 60_000)
  afterAll(async () => {
    await browser?.close()
    for (const { child } of servers) child.kill("SIGTERM")
    await Promise.all(servers.map(({ outcome }) => outcome))
    rmSync(folder, { recursive: true })
  })
  afterEach(async ({ task }) => {
    await visitor?.leave(task.result?.state === "fail")
    visitor = undefined
  })

  /** Opens the page and writes down what the server says to it. */
  async function open(address: string, options: VisitOptions = {}) {
    const events: WireEvent[] = []
    const sent: WireEvent[] = []
    visitor = await Visitor.open(browser, "about:blank", { listen: true, ...options })
    visitor.page.on("websocket", (socket) => {
      socket.on("framereceived", ({ payload }) => events.push(JSON.parse(String(payload)) as WireEvent))
      socket.on("framesent", ({ payload }) => sent.push(JSON.parse(String(payload)) as WireEvent))
    })
    await visitor.page.goto(address)
    return { visitor, events, sent }
  }
  const seen = (events: WireEvent[], type: string) => events.filter((event) => event.type === type)
  /** The answer's sound as the server sent it. */
  const soundOf = (events: WireEvent[], itemId: string): Float32Array => {
    const pieces = seen(events, "response.output_audio.delta").filter(({ item_id }) => item_id === itemId)
    const bytes = Buffer.concat(pieces.map(({ delta }) => Buffer.from(String(delta), "base64")))
    return int16ToFloat(new Int16Array(new Uint8Array(bytes).buffer))
  }

  test("a call by voice: placed, heard, answered with sound, interrupted by voice and by button, hung up", async () => {
    const { visitor, events, sent } = await open(`${await serve(NANO)}#voice`)
    await visitor.page.getByText("nano is not trained yet").waitFor()
    await visitor.button("Start call").click()
    await until("speech", () => seen(events, "input_audio_buffer.speech_started").length > 0, 15_000)
    await visitor.status("Hearing you")
    await until("its end", () => seen(events, "input_audio_buffer.speech_stopped").length > 0, 15_000)
    await visitor.status("Speaking", 20_000)
    await visitor.screenshots("real-call")

    // The same sentence comes again while the answer still sounds: barge-in.
    await until("barge-in", () => seen(events, "conversation.item.truncated").length > 0, 40_000)
    const [cut] = seen(events, "conversation.item.truncated") as unknown as { item_id: string; audio_end_ms: number }[]
    await visitor.page.getByText("interrupted").first().waitFor()
    await visitor.status("Hearing you")
    const { pcm, sampleRateHz } = await visitor.heard()
    const want = resample(soundOf(events, cut!.item_id), 24_000, sampleRateHz).subarray(0, COMPARED * sampleRateHz)
    expect(rms(want)).toBeGreaterThan(1e-3)
    // It begins where the loudspeaker had been silent, and is what the server sent, sample by sample.
    const found = soundStarts(pcm, sampleRateHz / 20).map((start) => findSound(pcm, want, start))
    const best = found.reduce((one, other) => (other.error < one.error ? other : one))
    expect(best.error).toBeLessThan(0.02 * rms(want))
    // So much of it left the loudspeaker as the server was told.
    const playedMs = (soundingSamples(pcm.subarray(best.at), sampleRateHz / 100) * 1000) / sampleRateHz
    expect(Math.abs(playedMs - cut!.audio_end_ms)).toBeLessThan(150)

    const answers = seen(events, "response.created").length
    await until("a second answer", () => seen(events, "response.created").length > answers, 20_000)
    await visitor.status("Speaking", 20_000)
    await visitor.button("Interrupt").click()
    await until("the cancelling", () => seen(sent, "response.cancel").length === 1)
    await until("the second cut", () => seen(events, "conversation.item.truncated").length > 1)
    const figure = await visitor.page.locator("[data-test=first-sound]").textContent()
    expect(Number.parseInt(figure!, 10)).toBeGreaterThan(0)
    await visitor.button("Hang up").click()
    await visitor.status("Ready")
    expect(seen(events, "error")).toEqual([])
    await visitor.screenshots("real-call-ended")
  }, 100_000)

  test("a video call by push-to-talk: pictures are sent and read, the answer sounds", async () => {
    const script = `if (location.protocol !== "about:") localStorage.setItem("omni.preferences", JSON.stringify({ settings: { turns: "push" } }))`
    const { visitor, events, sent } = await open(`${url}#video`, { script, phone: true })
    await visitor.button("Start video call").click()
    await visitor.status("Listening")
    await until("pictures", () => seen(sent, "input_video_buffer.append").length > 1)
    const { page } = visitor
    const box = (await visitor.button("Hold to talk").boundingBox())!
    await page.mouse.move(box.x + box.width / 2, box.y + 30)
    await page.mouse.down()
    await visitor.status("Hearing you")
    await page.waitForTimeout(1500)
    await page.mouse.up()
    await visitor.status("Speaking", 20_000)
    await visitor.screenshots("real-video-call")
    await until("sound", () => seen(events, "response.output_audio.delta").length > 0)
    await page.waitForTimeout(500)
    const { pcm } = await visitor.heard()
    expect(rms(pcm.filter((sample) => Math.abs(sample) > 1e-5))).toBeGreaterThan(1e-3)
    // A short answer may have ended by itself.
    await visitor
      .button("Interrupt")
      .click({ timeout: 2000 })
      .catch(() => undefined)
    await visitor.status("Listening")
    // What was said is written down as well: the test model's guess at it.
    const written = () => seen(events, "conversation.item.input_audio_transcription.completed")[0]
    const { transcript } = await until("a transcript", written, 15_000)
    const line = page.locator(".line[data-role=user] .line-text").first()
    expect((await line.textContent())!.trim()).toBe(String(transcript).trim())
    await visitor.button("Hang up").click()
    expect(seen(events, "error")).toEqual([])
  }, 40_000)

  test("a chat with a picture and a sound is answered", async () => {
    const { visitor } = await open(`${url}#chat`)
    const { page } = visitor
    const assets = join(import.meta.dirname, "../fixtures/tiny-a/assets")
    await page
      .locator("input[type=file]")
      .setInputFiles([join(assets, "audio/speech_en.wav"), join(assets, "images/square_448.png")])
    await page.getByText("speech_en.wav").waitFor()
    await page.getByRole("textbox", { name: "Message" }).fill("What is this?")
    await page.keyboard.press("Enter")
    await page.locator(".message[data-role=assistant] .markdown").waitFor({ timeout: 20_000 })
    await visitor.screenshots("real-chat")
    await visitor
      .button("Stop")
      .click({ timeout: 3000 })
      .catch(() => undefined) // it may have ended by itself
    await visitor.button("Send").waitFor()
    expect(await page.getByRole("alert").textContent()).toBe("")
  }, 40_000)

  test("off localhost: plain HTTP says what to do, --tls with a key works", async () => {
    const key = ["--api-key", KEY]
    const [plain, secure] = await Promise.all([serve(TINY, key), serve(TINY, [...key, "--tls"])])
    const named = (address: string) => address.replace("127.0.0.1", OTHER_NAME)
    const first = await open(`${named(plain)}#voice`)
    await first.visitor.button("Start call").click()
    await first.visitor.notice("Start omni serve with --tls")
    await first.visitor.context.close()

    const { visitor, events } = await open(`${named(secure)}#voice`, { ignoreHTTPSErrors: true })
    // It is told at once, and again by who wants to talk all the same.
    await visitor.notice("This server wants an access key.")
    await visitor.button("Dismiss message").click()
    await visitor.button("Start call").click()
    await visitor.notice("This server wants an access key.")
    await visitor.page.locator(".model", { hasText: "Key needed" }).waitFor()
    await visitor.screenshots("key-needed")
    const enter = async (key: string) => {
      await visitor.button("Open settings").click()
      await visitor.page.getByLabel("Access key").fill(key)
      await visitor.page.keyboard.press("Escape")
    }
    await enter("another")
    await visitor.notice("The server does not take this access key.")
    await enter(KEY)
    await visitor.page.locator(".model", { hasText: "Model: checkpoint" }).waitFor()
    expect(await visitor.page.getByRole("alert").textContent()).toBe("")
    await visitor.button("Start call").click()
    await visitor.connected()
    await until("speech", () => seen(events, "input_audio_buffer.speech_started").length > 0, 15_000)
    await visitor.button("Hang up").click()
  }, 60_000)
})

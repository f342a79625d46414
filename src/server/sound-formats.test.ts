/** @file Speech in every format, as the stock client asks for it: what comes back is decoded and compared with the raw samples. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { decodePcm, readWavMono } from "../audio/index.ts"
import { describeFfmpeg } from "../media/ffmpeg.test-util.ts"
import { readAudioFile, SoundWriter } from "../media/index.ts"
import { serve, type TestServer, user } from "./http.test-util.ts"

const model = "fake-o"
const request = { model, voice: "alloy" as const, input: "Hello there, how are you today?" }
/** Samples at 24 kHz by which a format may be longer: frames are whole, and AAC's encoder begins with one of silence. */
const FORMATS = [
  ["opus", "audio/ogg; codecs=opus", 0],
  ["aac", "audio/aac", 3 * 1024],
  ["flac", "audio/flac", 0],
  ["mp3", "audio/mpeg", 3 * 576],
] as const

let folder = ""
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "omni-formats-"))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** The engine says a tone that goes on from piece to piece; its own constant would be silence to an encoder of speech. */
async function serveTone(sounds?: SoundWriter): Promise<TestServer> {
  const host = await serve(sounds ? { sounds } : {})
  const { chat } = host.engine
  host.engine.chat = async function* (options, signal) {
    let at = 0
    for await (const event of chat(options, signal))
      yield event.type === "audio-delta" ? { ...event, pcm: event.pcm.map(() => 0.3 * Math.sin(0.1 * at++)) } : event
  }
  return host
}

/** Mono at 16 kHz, through a file of no name: its content says what it is. */
async function heard(bytes: Uint8Array): Promise<Float32Array> {
  const path = join(folder, "sound")
  writeFileSync(path, bytes)
  return (await readAudioFile(path)).pcm
}

function expectLike(pcm: Float32Array, samples: Float32Array, slack: number): void {
  const extra = (pcm.length * 3) / 2 - samples.length
  expect(extra).toBeGreaterThanOrEqual(-2)
  expect(extra).toBeLessThanOrEqual(slack + 2)
  const energy = (x: Float32Array, rate: number) => x.reduce((sum, value) => sum + value * value, 0) / rate
  expect(Math.abs(10 * Math.log10(energy(pcm, 16_000) / energy(samples, 24_000)))).toBeLessThan(0.5)
}

describeFfmpeg("speech", () => {
  test.each(FORMATS)("as %s is as long and as loud as its samples", async (format, type, slack) => {
    await using host = await serveTone()
    const raw = await host.client.audio.speech.create({ ...request, response_format: "pcm" })
    const samples = decodePcm(Buffer.from(await raw.arrayBuffer()), "s16")
    expect(samples.length).toBe(31_200)
    const response = await host.client.audio.speech.create({ ...request, response_format: format })
    expect([response.headers.get("content-type"), response.headers.get("content-length")]).toEqual([type, null])
    const bytes = new Uint8Array(await response.arrayBuffer())
    expectLike(await heard(bytes), samples, slack)

    const events = await host.client.audio.speech.create({ ...request, response_format: format, stream_format: "sse" })
    const lines = (await events.text()).trim().split("\n\n")
    const sent = lines.map((line) => JSON.parse(line.slice(6)) as { type: string; audio?: string; usage?: object })
    expect(sent.at(-1)).toMatchObject({ type: "speech.audio.done", usage: { input_tokens: 7 } })
    const deltas = sent.slice(0, -1).map(({ audio }) => Buffer.from(audio!, "base64"))
    expect(Buffer.concat(deltas).equals(bytes)).toBe(true)
  })

  test.each(FORMATS)("of a chat as %s", async (format, _, slack) => {
    await using host = await serveTone()
    const answer = async (wanted: typeof format | "wav") => {
      const { choices } = await host.client.chat.completions.create({
        ...{ model, messages: user("hello again to you"), modalities: ["text", "audio"] },
        audio: { voice: "alloy", format: wanted },
      })
      return Buffer.from(choices[0]!.message.audio!.data, "base64")
    }
    expectLike(await heard(await answer(format)), readWavMono(await answer("wav")).pcm, slack)
  })

  test.each(["opus", "aac", "flac"] as const)("as %s begins before it is all said", async (format) => {
    await using host = await serveTone()
    const { chat } = host.engine
    const goOn = Promise.withResolvers<void>()
    host.engine.chat = async function* (options, signal) {
      let said = 0
      for await (const event of chat(options, signal)) {
        if (event.type === "audio-delta" && said++ === 5) await goOn.promise
        yield event
      }
    }
    const response = await host.client.audio.speech.create({ ...request, response_format: format })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    const pieces = [(await reader.read()).value!]
    goOn.resolve()
    for (let next = await reader.read(); !next.done; next = await reader.read()) pieces.push(next.value)
    expect((await heard(Buffer.concat(pieces))).length).toBeGreaterThanOrEqual(20_800)
  })

  test.skipIf(process.platform === "win32")("leaves no ffmpeg behind when the client goes", async () => {
    const pids = join(folder, "pids")
    const ffmpeg = join(folder, "ffmpeg")
    writeFileSync(ffmpeg, `#!/bin/sh\necho $$ >> ${pids}\nexec ffmpeg "$@"\n`)
    chmodSync(ffmpeg, 0o755)
    await using host = await serveTone(new SoundWriter({ ffmpeg }))
    const leave = new AbortController()
    const slow = { ...request, input: `slow ${"word ".repeat(400)}`, response_format: "opus" as const }
    const response = await host.client.audio.speech.create(slow, { signal: leave.signal })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    await reader.read()
    const [, pid] = readFileSync(pids, "utf8").trim().split("\n").map(Number) // the first one listed its encoders
    process.kill(pid!, 0)
    leave.abort()
    const runs = () => {
      try {
        return process.kill(pid!, 0)
      } catch {
        return false
      }
    }
    await expect.poll(runs, { timeout: 20_000 }).toBe(false)
    await expect.poll(() => [host.engine.running, host.server.context.admission.running]).toEqual([0, 0])
  })

  test("an engine that dies before its first sound is told as ever", async () => {
    await using host = await serveTone()
    const broken = host.client.audio.speech.create({ ...request, input: "broken", response_format: "flac" })
    await expect(broken).rejects.toMatchObject({ status: 500 })
    await expect.poll(() => host.server.context.admission.running).toBe(0)
  })
})

describe("without ffmpeg", () => {
  const advice =
    "expected the program ffmpeg, which writes opus, got none (install ffmpeg on the machine that runs omni, or take wav or mp3)"

  test("a format that needs it is refused with what to install; the others are given", async () => {
    await using host = await serveTone(new SoundWriter({ ffmpeg: "/nowhere/ffmpeg" }))
    const refused = host.client.audio.speech.create({ ...request, response_format: "opus" })
    await expect(refused).rejects.toMatchObject({
      ...{ status: 400, code: "unsupported_format", param: "response_format" },
      message: `400 response_format: ${advice}`,
    })
    const chat = host.client.chat.completions.create({
      ...{ model, messages: user("hi"), modalities: ["text", "audio"], audio: { voice: "alloy", format: "opus" } },
    })
    await expect(chat).rejects.toMatchObject({
      status: 400,
      param: "audio.format",
      message: `400 audio.format: ${advice}`,
    })
    expect(host.engine.questions).toEqual([])
    for (const format of ["wav", "pcm", "mp3"] as const)
      expect((await host.client.audio.speech.create({ ...request, response_format: format })).status).toBe(200)
  })
})

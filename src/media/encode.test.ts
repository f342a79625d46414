import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { decodeAudio, floatToInt16, readWav } from "../audio/index.ts"
import { ConfigError } from "../util/index.ts"
import { type SoundFormat, SoundWriter, type StreamFormat } from "./encode.ts"
import { describeFfmpeg } from "./ffmpeg.test-util.ts"
import { readAudioFile } from "./open.ts"

const RATE = { sampleRateHz: 24_000 }
/** 1.3 s: three tones that swell and fade. */
const VOICE = Float32Array.from({ length: 31_200 }, (_, i) => {
  const seconds = i / 24_000
  const tones = [220, 660, 1500].reduce((sum, hz) => sum + Math.sin(2 * Math.PI * hz * seconds), 0)
  return 0.12 * tones * (1 - 0.7 * Math.cos(2 * Math.PI * 3 * seconds))
})
const writer = new SoundWriter()

let folder = ""
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "omni-encode-"))
})
afterAll(() => rmSync(folder, { recursive: true }))

async function* pieces(pcm: Float32Array, size: number): AsyncGenerator<Float32Array> {
  for (let at = 0; at < pcm.length; at += size) yield pcm.slice(at, at + size)
}

async function streamed(format: StreamFormat, size = VOICE.length): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  for await (const bytes of writer.stream(pieces(VOICE, size), format, RATE)) all.push(bytes)
  return Buffer.concat(all)
}

/** At 16 kHz; AAC is read by ffmpeg. */
async function heard(bytes: Uint8Array, format: SoundFormat): Promise<Float32Array> {
  if (format !== "aac" && format !== "m4a") return (await decodeAudio(bytes, { sampleRateHz: 16_000 })).pcm
  const path = join(folder, `sound.${format}`)
  writeFileSync(path, bytes)
  return (await readAudioFile(path)).pcm
}

const loudness = (pcm: Float32Array) => 10 * Math.log10(pcm.reduce((sum, x) => sum + x * x, 0) / pcm.length)

/** Same length, but for `slack` samples at 24 kHz, and as loud within half a decibel. */
async function expectVoice(bytes: Uint8Array, format: SoundFormat, slack: number): Promise<void> {
  const pcm = await heard(bytes, format)
  const extra = (pcm.length * 3) / 2 - VOICE.length
  expect(extra).toBeGreaterThanOrEqual(-1)
  expect(extra).toBeLessThanOrEqual(slack)
  const energy = loudness(pcm) + 10 * Math.log10(pcm.length / ((VOICE.length * 2) / 3))
  expect(Math.abs(energy - loudness(VOICE))).toBeLessThan(0.5)
}

describe("by ourselves", () => {
  test("WAV and raw samples are the same samples, whole and streamed", async () => {
    const samples = Buffer.from(floatToInt16(VOICE).buffer)
    expect(Buffer.from(await streamed("pcm", 997)).equals(samples)).toBe(true)
    const stream = readWav(await streamed("wav", 997))
    const whole = readWav(await writer.whole([...(await Array.fromAsync(pieces(VOICE, 997)))], "wav", RATE))
    for (const wav of [stream, whole]) expect(wav.samples).toEqual(readWav(await streamed("wav")).samples)
    expect([stream.samples.length, whole.samples.length, whole.truncated]).toEqual([31_200, 31_200, false])
    const floats = readWav(await writer.whole([VOICE], "wav", { ...RATE, encoding: "f32" }))
    expect(floats).toMatchObject({ encoding: "f32", samples: VOICE })
  })

  test("MP3 is as long and as loud, but for its padding", async () => {
    await expectVoice(await streamed("mp3", 997), "mp3", 3 * 576)
  })

  test("nothing becomes a file without sound", async () => {
    expect(readWav(await writer.whole([], "wav", RATE)).samples.length).toBe(0)
    expect((await writer.whole([], "pcm", RATE)).length).toBe(0)
  })
})

describeFfmpeg("through ffmpeg", () => {
  test.each([
    ["opus", 0, /^OggS/],
    ["aac", 3 * 1024, /^\xff[\xf0-\xff]/],
    ["flac", 0, /^fLaC/],
  ] as const)("%s is as long and as loud; pieces of any length make the same stream", async (format, slack, start) => {
    const stream = await streamed(format)
    expect(Buffer.from(stream).toString("latin1")).toMatch(start)
    await expectVoice(stream, format, slack)
    for (const size of [997, 4800]) expect(Buffer.from(await streamed(format, size)).equals(stream)).toBe(true)
  })

  test("whole files say how long they are", async () => {
    const flac = await writer.whole([VOICE], "flac", RATE)
    // STREAMINFO: 36 bits of samples behind rate, channels and bits per sample.
    const samples = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(22)
    expect([samples(flac), samples(await streamed("flac"))]).toEqual([31_200, 0])
    const { pcm } = await decodeAudio(flac, RATE)
    expect(floatToInt16(pcm)).toEqual(floatToInt16(VOICE))
    await expectVoice(await writer.whole([VOICE], "m4a", RATE), "m4a", 3 * 1024)
    await expectVoice(await writer.whole([VOICE.slice(0, 7), VOICE.slice(7)], "opus", RATE), "opus", 0)
  })

  test.each(["opus", "aac", "flac"] as const)("%s of a second comes before the next is there", async (format) => {
    const more = Promise.withResolvers<void>()
    async function* twoSeconds() {
      yield VOICE.slice(0, 24_000)
      await more.promise
      yield VOICE.slice(0, 24_000)
    }
    const stream = writer.stream(twoSeconds(), format, RATE)
    let sizeBytes = 0
    // What the encoder holds back is far less than a second: without more sound, nine tenths of it come.
    const least = { opus: 3500, aac: 5000, flac: 15_000 }[format]
    while (sizeBytes < least) sizeBytes += (await stream.next()).value!.length
    more.resolve()
    for await (const bytes of stream) sizeBytes += bytes.length
    expect(sizeBytes).toBeGreaterThan(1.8 * least)
  })

  test("reads no faster than it is read, and leaves no process behind", async () => {
    const { sounds, pids } = recording()
    let taken = 0
    let closed = false
    async function* endless() {
      try {
        for (;;) {
          taken++
          yield VOICE
          await sleep(0)
        }
      } finally {
        closed = true
      }
    }
    const stream = sounds.stream(endless(), "flac", RATE)
    await stream.next()
    for (let before = -1; before !== taken; await sleep(200)) before = taken
    // Pipes and buffers hold some sound, and not more.
    expect(taken).toBeLessThan(200)
    await stream.return()
    expect(closed).toBe(true)
    expect(pids()).toHaveLength(1)
    expect(() => process.kill(pids()[0]!, 0)).toThrow("ESRCH")
  })

  test("a source that fails, and an abort, end it with their reasons", async () => {
    const { sounds, pids } = recording()
    async function* failing() {
      yield VOICE
      throw new RangeError("no more")
    }
    await expect(Array.fromAsync(sounds.stream(failing(), "opus", RATE))).rejects.toThrow(new RangeError("no more"))
    const empty = failing()
    await empty.next()
    await expect(sounds.stream(empty, "opus", RATE).next()).rejects.toThrow(new RangeError("no more"))
    const controller = new AbortController()
    const reason = new Error("enough")
    async function* waiting() {
      yield VOICE
      setTimeout(() => controller.abort(reason), 50)
      await new Promise((_, reject) => controller.signal.addEventListener("abort", () => reject(reason)))
    }
    const aborted = Array.fromAsync(sounds.stream(waiting(), "aac", { ...RATE, signal: controller.signal }))
    await expect(aborted).rejects.toBe(reason)
    for (const pid of pids()) expect(() => process.kill(pid, 0)).toThrow("ESRCH")
  })
})

/** A writer whose ffmpeg notes its process ids. */
function recording() {
  const ffmpeg = script("recording", `echo $$ >> ${join(folder, "pids")}\nexec ffmpeg "$@"`)
  writeFileSync(join(folder, "pids"), "")
  const pids = () => (readFileSync(join(folder, "pids"), "utf8").match(/\d+/g) ?? []).map(Number)
  return { sounds: new SoundWriter({ ffmpeg }), pids }
}

function script(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, `#!/bin/sh\n${text}\n`)
  chmodSync(path, 0o755)
  return path
}

describe.skipIf(process.platform === "win32")("a machine", () => {
  test("without ffmpeg is told what to install, until it is there; ffmpeg is asked once", async () => {
    const ffmpeg = join(folder, "later")
    const sounds = new SoundWriter({ ffmpeg })
    await expect(sounds.check("opus", "response_format")).rejects.toThrow(ConfigError)
    await expect(sounds.check("opus", "response_format")).rejects.toThrow(
      "response_format: expected the program ffmpeg, which writes opus, got none (install ffmpeg on the machine that runs " +
        "omni, or take wav or mp3)",
    )
    for (const format of ["wav", "pcm", "mp3"] as const) await sounds.check(format, "x")
    script("later", `echo asked >> ${join(folder, "asked")}\necho ' A....D flac   FLAC'\necho ' V....D opus  no sound'`)
    await sounds.check("flac", "--out")
    await expect(sounds.check("opus", "--out")).rejects.toThrow(
      "--out: expected an ffmpeg with the encoder libopus, got one without it (install",
    )
    await expect(sounds.check("m4a", "--out")).rejects.toThrow("with the encoder aac, got one without it")
    expect(readFileSync(join(folder, "asked"), "utf8")).toBe("asked\n")
  })

  test("whose ffmpeg fails hears why", async () => {
    const broken = new SoundWriter({ ffmpeg: script("broken", "echo lost a library >&2; exit 127") })
    await expect(broken.check("flac", "x")).rejects.toThrow(/which writes flac, got .*lost a library/)
    const stream = broken.stream(pieces(VOICE, 4800), "flac", RATE)
    await expect(Array.fromAsync(stream)).rejects.toThrow(/^flac: expected .*broken to write it, got: lost a library$/)
  })
})

/** @file Files that people may give a live call by mistake: each is told by its name, before a model is loaded. */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { lstatSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { crc32, deflateSync } from "node:zlib"
import { afterAll, describe, expect, test } from "vitest"
import { decodeAudio, readWav, writeWav } from "../audio/index.ts"
import { describeFfmpeg } from "../media/ffmpeg.test-util.ts"
import { readAudioFile, SoundWriter } from "../media/index.ts"
import { ConfigError, InputError } from "../util/index.ts"
import { openMedia } from "./media-input.ts"
import { checkOutFile, writeSoundFile } from "./out-file.ts"

const ASSETS = join(import.meta.dirname, "..", "..", "test", "fixtures", "tiny-a", "assets")
const SPEECH = join(ASSETS, "audio", "speech_en.wav")
const IMAGE = join(ASSETS, "images", "frame_0.png")
const folder = mkdtempSync(join(tmpdir(), "omni-odd-"))
const empty = mkdtempSync(join(tmpdir(), "omni-odd-"))
afterAll(() => {
  for (const path of [folder, empty]) rmSync(path, { recursive: true })
})

function written(name: string, bytes: string | Uint8Array): string {
  writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}

const wav = (samples: Float32Array) => writeWav(samples, { sampleRateHz: 16_000 })

/** A PNG that claims so many pixels and has none. */
function bomb(width: number, height: number): Uint8Array {
  const chunk = (type: string, data: Uint8Array) => {
    const body = Buffer.concat([Buffer.from(type), data])
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)]
    length.writeUInt32BE(data.length)
    sum.writeUInt32BE(crc32(body))
    return Buffer.concat([length, body, sum])
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 2], 8)
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.alloc(100))),
    chunk("IEND", Buffer.alloc(0)),
  ])
}

const open = (files: { audio?: string; video?: string }) =>
  openMedia(files, { behaviour: "live", signal: new AbortController().signal })

const noise = Float32Array.from({ length: 40_000 }, (_, i) => Math.sin(i) / 3)

describe("odd files", () => {
  test.each<[string, () => { audio?: string; video?: string }, RegExp]>([
    ["nothing", () => ({ audio: written("empty.wav", "") }), /empty\.wav: expected .* got 0 bytes/],
    [
      "a header alone",
      () => ({ audio: written("head.wav", wav(new Float32Array(0))) }),
      /head\.wav: expected .*, got 0/,
    ],
    [
      "10 ms",
      () => ({ audio: written("short.wav", wav(noise.subarray(0, 160))) }),
      /short\.wav: expected at least 0\.1 s of sound, got 0\.010 s/,
    ],
    ["half a header", () => ({ audio: written("cut.wav", wav(noise).subarray(0, 20)) }), /cut\.wav: expected /],
    ["text", () => ({ audio: written("notes.txt", "buy milk\n") }), /notes\.txt: expected /],
    ["a folder as sound", () => ({ audio: folder }), /expected a file, got a folder/],
    ["a device", () => ({ audio: "/dev/null" }), /^\/dev\/null: expected a file, got a device/],
    ["nothing to see", () => ({ video: "/nowhere.mp4" }), /^\/nowhere\.mp4: expected a file or folder, got: ENOENT/],
    ["an empty folder", () => ({ video: empty }), /expected 1 to 100000 PNG, JPEG or WebP files, got 0/],
    [
      "a cut picture",
      () => ({ video: written("cut.png", readFileSync(IMAGE).subarray(0, 400)) }),
      /cut\.png: expected a complete /,
    ],
    [
      "sound as video",
      () => ({ video: SPEECH }),
      /^--video: expected pictures in .*speech_en\.wav, got sound alone \(give it as --audio\)|expected the program ffprobe/,
    ],
    [
      "a billion pixels",
      () => ({ video: written("bomb.png", bomb(30_000, 30_000)) }),
      /bomb\.png: expected at most 178956970 pixels, got 30000x30000/,
    ],
  ])("%s", async (_, files, message) => {
    const error = await open(files()).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error instanceof InputError || error instanceof ConfigError).toBe(true) // code 2 of the command
    expect((error as Error).message).toMatch(message)
  })
})

describe("seconds", () => {
  const unitsOf = async (files: { audio?: string; video?: string }) => {
    const units = []
    for await (const unit of (await open(files)).units()) units.push(unit)
    return units
  }

  test("an image is shown in every second of the sound, and alone without any", async () => {
    const audio = written("talk.wav", wav(noise))
    const units = await unitsOf({ audio, video: IMAGE })
    expect(units.map(({ pcm, frame }) => [pcm?.length, frame?.width])).toEqual([
      ...[
        [16_000, 320],
        [16_000, 320],
        [8000, 320],
      ],
    ])
    expect((await unitsOf({ video: IMAGE })).map(({ pcm, frame }) => [pcm, frame?.width])).toEqual([[undefined, 320]])
    expect((await unitsOf({ audio })).every(({ frame }) => frame === undefined)).toBe(true)
    expect(await unitsOf({})).toEqual([])
  })
})

describe("the file for the answer", () => {
  test("is checked before, and appears whole", async () => {
    await expect(checkOutFile("--out", folder)).rejects.toThrow(/^--out: expected a file to write, got the folder /)
    await expect(checkOutFile("--out", "/nowhere/x.wav")).rejects.toThrow(
      /^--out: expected a folder that can be written, got \/nowhere: ENOENT/,
    )
    await expect(checkOutFile("--out", "x.WMA")).rejects.toThrow(
      "--out: expected a name that ends in .wav, .mp3, .opus, .ogg, .oga, .aac, .m4a, .flac, got x.WMA (name it .wav, and",
    )
    await expect(checkOutFile("--out", "x.mp3", [], { encoding: "f32" })).rejects.toThrow(
      "--format: expected int16 for mp3, got float32 (only WAV files have such samples)",
    )
    const sounds = new SoundWriter({ ffmpeg: "/nowhere/ffmpeg" })
    await expect(checkOutFile("--out", "x.Opus", [], { sounds })).rejects.toThrow(
      "--out: expected the program ffmpeg, which writes opus, got none (install ffmpeg",
    )
    const path = join(folder, "answer.wav")
    await checkOutFile("--out", path)
    const pieces = [noise.subarray(0, 100), noise.subarray(100, 300)]
    expect(await writeSoundFile(path, pieces, { encoding: "s16" })).toBe(300 / 24)
    const want = createHash("sha256")
      .update(writeWav(noise.subarray(0, 300), { sampleRateHz: 24_000 }))
      .digest("hex")
    expect(createHash("sha256").update(readFileSync(path)).digest("hex")).toBe(want)
    expect(await writeSoundFile(path, pieces, { encoding: "f32" })).toBe(300 / 24)
    expect(readWav(readFileSync(path))).toMatchObject({ encoding: "f32", samples: noise.slice(0, 300) })
    expect(await writeSoundFile(path, [], { encoding: "s16" })).toBe(0)
    await expect(writeSoundFile("/nowhere/x.wav", pieces, { encoding: "s16" })).rejects.toThrow(
      /^\/nowhere\/x\.wav: expected to write it, got: ENOENT.*\(free some space, or write somewhere else\)$/,
    )
    expect(await writeSoundFile(join(folder, "answer.MP3"), [noise], { encoding: "s16" })).toBe(noise.length / 24)
    const mp3 = await decodeAudio(readFileSync(join(folder, "answer.MP3")))
    expect(mp3).toMatchObject({ format: "mp3", sampleRateHz: 24_000 })
    const long = join(folder, `${"x".repeat(250)}.wav`)
    expect(await writeSoundFile(long, [], { encoding: "s16" })).toBe(0)
  })

  describeFfmpeg("in other formats", () => {
    test.each(["opus", "ogg", "flac", "m4a", "aac"])("%s is as long", async (ending) => {
      const path = join(folder, `answer.${ending}`)
      await checkOutFile("--out", path)
      expect(await writeSoundFile(path, [noise, noise], { encoding: "s16" })).toBe(noise.length / 12)
      const { pcm, sampleRateHz } = await readAudioFile(path)
      expect(Math.abs(pcm.length / sampleRateHz - noise.length / 12_000)).toBeLessThan(0.1)
    })
  })

  test("is none that is read, and a link, a device or a pipe stays what it is", async () => {
    const input = written("voice.wav", wav(noise))
    const link = join(folder, "link.wav")
    symlinkSync(input, link)
    await expect(checkOutFile("--out", link, [undefined, input])).rejects.toThrow(
      `--out: expected another file than ${input}, which is read, got ${link} (choose another)`,
    )
    await writeSoundFile(link, [noise.subarray(0, 24)], { encoding: "s16" })
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    expect(readFileSync(input).length).toBe(44 + 48)
    if (process.platform === "win32") return
    const pipe = join(folder, "pipe.wav")
    execFileSync("mkfifo", [pipe])
    await checkOutFile("--out", pipe, [input])
    const [piped] = await Promise.all([
      readFile(pipe),
      writeSoundFile(pipe, [noise.subarray(0, 24)], { encoding: "s16" }),
    ])
    expect([piped.length, lstatSync(pipe).isFIFO()]).toEqual([44 + 48, true])
  })
})

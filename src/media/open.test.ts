import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { writeWav } from "../audio/index.ts"
import { ConfigError, InputError } from "../util/index.ts"
import { clock, describeFfmpeg, makeMedia, sineSource } from "./ffmpeg.test-util.ts"
import { openVideo, readAudioFile } from "./index.ts"
import { mediaUnits } from "./units.ts"

let folder = ""
const at = (name: string): string => join(folder, name)
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "omni-media-"))
})
afterAll(() => rmSync(folder, { recursive: true }))

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}
const samplesOf = async (path: string) => (await all((await openVideo(path)).audio())).flatMap((pcm) => [...pcm])

describeFfmpeg("videos", () => {
  /** Brightness 20 per second: which moment each frame shows. */
  async function moments(path: string): Promise<number[]> {
    const frames = await all((await openVideo(path)).frames())
    return frames.map(({ data }) => data[0]! / 20)
  }

  test.each([
    ["whole seconds", 3, "25", [1, 2, 2.96]],
    ["a started second", 2.5, "10", [1, 2, 2.4]],
    ["less than a second", 0.3, "10", [0.2]],
    ["one frame", 0.04, "25", [0]],
    ["an odd rate", 2.2, "30000/1001", [1, 2, 2.17]],
    ["a rate of halves", 4, "5/2", [0.8, 2, 2.8, 3.6]],
    ["fewer frames than seconds", 6, "1/2", [0, 2, 2, 4, 4, 4]],
  ])("of %s show each second's end", async (name, seconds, rate, expected) => {
    const path = at(`${name}.mkv`)
    makeMedia(...clock(seconds, rate), "-c:v", "ffv1", path)
    const found = await moments(path)
    expect(found).toHaveLength(expected.length)
    for (const [i, moment] of found.entries()) expect(Math.abs(moment - expected[i]!)).toBeLessThan(0.06)
  })

  test("give sound and pictures of the same second", async () => {
    const path = at("both.mp4")
    makeMedia(...clock(2.5, 25), ...sineSource(2.5), "-pix_fmt", "yuv420p", path)
    const video = await openVideo(path)
    expect([video.hasVideo, video.hasAudio]).toEqual([true, true])
    expect(video.seconds).toBeCloseTo(2.5, 1)
    const units = await all(mediaUnits({ audio: video.audio(), video: video.frames() }))
    expect(units.map(({ pcm, frame }) => [pcm.length > 0, frame?.width, frame?.height])).toEqual(
      Array.from({ length: 3 }, () => [true, 32, 24]),
    )
    const samples = units.flatMap(({ pcm }) => [...pcm])
    expect(Math.abs(samples.length - 40_000)).toBeLessThan(1100) // AAC comes in frames of 1,024
    const power = samples.slice(4000, 36_000).reduce((sum, s) => sum + s * s, 0) / 32_000
    expect(Math.sqrt(power)).toBeCloseTo(0.125 / Math.SQRT2, 2)
  })

  test("without sound have none", async () => {
    makeMedia(...clock(1, 5), "-c:v", "ffv1", at("silent.mkv"))
    const video = await openVideo(at("silent.mkv"))
    expect([video.hasAudio, await all(video.audio())]).toEqual([false, []])
    expect(await all(mediaUnits({ audio: video.audio(), video: video.frames() }))).toHaveLength(1)
  })

  test("whose sound begins late begin with silence", async () => {
    makeMedia(
      ...clock(3, 5),
      "-itsoffset",
      "1",
      ...sineSource(1, 16_000),
      ..."-c:v ffv1 -c:a flac".split(" "),
      at("late.mkv"),
    )
    const samples = await samplesOf(at("late.mkv"))
    expect(Math.abs(samples.length - 32_000)).toBeLessThan(200)
    expect(Math.max(...samples.slice(0, 15_800).map(Math.abs))).toBe(0)
    expect(Math.max(...samples.slice(16_200, 31_000).map(Math.abs))).toBeCloseTo(0.125, 2)
  })

  test("are turned as they say", async () => {
    makeMedia(...clock(1, 5), "-c:v", "mpeg4", at("flat.mp4"))
    const bytes = readFileSync(at("flat.mp4"))
    const matrix = bytes.indexOf("tkhd") + 44 // 3 × 3 numbers: a quarter turn
    for (const [i, value] of [0, 65536, 0, -65536, 0].entries()) bytes.writeInt32BE(value, matrix + 4 * i)
    writeFileSync(at("turned.mp4"), bytes)
    const [frame] = await all((await openVideo(at("turned.mp4"))).frames())
    expect([frame!.width, frame!.height]).toEqual([24, 32])
  })

  test("that claim two hours are refused by that", async () => {
    makeMedia(...clock(1, 5), "-c:v", "mpeg4", at("hour.mp4"))
    const bytes = readFileSync(at("hour.mp4"))
    const header = bytes.indexOf("mvhd") + 4 // version, two times, units per second, length
    bytes.writeUInt32BE(7200 * bytes.readUInt32BE(header + 12), header + 16)
    writeFileSync(at("hour.mp4"), bytes)
    const opened = openVideo(at("hour.mp4"), { maxSeconds: 600 })
    await expect(opened).rejects.toThrow(InputError)
    await expect(opened).rejects.toThrow(
      /hour\.mp4: expected at most 600 s, got 7200 s \(cut it, or raise the limit\)$/,
    )
  })

  test("that do not say how long they are end with an error at the limit", async () => {
    makeMedia(...sineSource(5, 16_000), "-f", "flac", at("five.flac"))
    const piped = at("unknown.mka")
    makeMedia("-i", at("five.flac"), "-c:a", "flac", "-live", "1", "-f", "matroska", piped)
    const video = await openVideo(piped, { maxSeconds: 2 })
    expect(video.seconds).toBe(undefined)
    await expect(all(video.audio())).rejects.toThrow(/unknown\.mka: expected at most 2 s, got more/)
  })

  test.each([
    ["text", Buffer.from("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")],
    ["a list of other files", Buffer.from("ffconcat version 1.0\nfile 'silent.mkv'\n")],
    ["noise", Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * i * 7919) % 251))],
  ])("that are %s are refused", async (name, bytes) => {
    const path = at(`${name}.mp4`)
    writeFileSync(path, bytes)
    await expect(openVideo(path)).rejects.toThrow(InputError)
    await expect(openVideo(path)).rejects.toThrow(
      /\.mp4: expected (a file that ffprobe can read|sound or pictures), got/,
    )
  })

  test("cut in the middle give what they have, or an input error", async () => {
    makeMedia(...clock(4, 25), "-c:v", "ffv1", at("long.mkv"))
    const bytes = readFileSync(at("long.mkv"))
    writeFileSync(at("cut.mkv"), bytes.subarray(0, bytes.length / 2))
    const found = await moments(at("cut.mkv"))
    expect(found.length).toBeGreaterThanOrEqual(1)
    expect(found.length).toBeLessThanOrEqual(4)
  })

  test("are left when nobody reads on, and when aborted", async () => {
    makeMedia(...clock(30, 25), "-c:v", "ffv1", at("thirty.mkv"))
    const video = await openVideo(at("thirty.mkv"))
    for await (const frame of video.frames()) {
      expect(frame.width).toBe(32)
      break
    }
    const controller = new AbortController()
    const stopped = await openVideo(at("thirty.mkv"), { signal: controller.signal })
    const reason = new Error("enough")
    const reading = (async () => {
      for await (const _ of stopped.frames()) controller.abort(reason)
    })()
    await expect(reading).rejects.toBe(reason)
    await expect(openVideo(at("thirty.mkv"), { signal: controller.signal })).rejects.toBe(reason)
  })

  test("with names like options and addresses are only files", async () => {
    makeMedia(...clock(1, 5), "-c:v", "ffv1", at("plain.mkv"))
    for (const name of ["-i http:%03d.mkv", "a'b\"; echo $(x).mkv"]) {
      writeFileSync(at(name), readFileSync(at("plain.mkv")))
      expect(await moments(at(name))).toHaveLength(1)
    }
  })

  test("and sound that we do not decode is read through ffmpeg", async () => {
    makeMedia(...sineSource(1), at("sound.m4a"))
    const { pcm, sampleRateHz } = await readAudioFile(at("sound.m4a"))
    expect(sampleRateHz).toBe(16_000)
    expect(Math.abs(pcm.length - 16_000)).toBeLessThan(1100)
    await expect(readAudioFile(at("plain.mkv"))).rejects.toThrow("plain.mkv: expected sound, got none (choose another")
    makeMedia(...sineSource(1), "-c:a", "adpcm_ima_wav", at("adpcm.wav"))
    makeMedia(...clock(1, 5), ...sineSource(1), at("old.avi")) // RIFF, and no WAV
    const rare = ["lossless.wv", "lossless.tta", "creative.voc"]
    for (const name of rare) makeMedia(...sineSource(1), at(name))
    for (const name of ["adpcm.wav", "old.avi", ...rare]) {
      const compressed = await readAudioFile(at(name))
      expect(Math.abs(compressed.pcm.length - 16_000)).toBeLessThan(1100)
    }
  })
})

test("a missing ffmpeg is told with what to do", async () => {
  const path = at("any.mp4")
  writeFileSync(path, readFileSync(new URL("../../test/fixtures/audio/sine.m4a", import.meta.url)))
  const opened = openVideo(path, { programs: { ffmpeg: "no-ffmpeg-here", ffprobe: "no-ffprobe-here" } })
  await expect(opened).rejects.toThrow(ConfigError)
  await expect(opened).rejects.toThrow(
    /any\.mp4: expected the program no-ffprobe-here to read it, got none \(install ffmpeg, or give a folder of frames/,
  )
})

test("sound that we decode needs no ffmpeg", async () => {
  writeFileSync(at("tone.wav"), writeWav(new Float32Array(4000).fill(0.5), { sampleRateHz: 8000 }))
  const programs = { ffmpeg: "no-ffmpeg-here", ffprobe: "no-ffprobe-here" }
  const sound = await readAudioFile(at("tone.wav"), { programs })
  expect({ ...sound, pcm: sound.pcm.length }).toEqual({ pcm: 8000, sampleRateHz: 16_000, damaged: false })
  const flac = new URL("../../test/fixtures/audio/sine.flac", import.meta.url).pathname
  expect((await readAudioFile(flac, { programs })).pcm.length).toBe(8000)
  writeFileSync(at("empty.wav"), "")
  await expect(readAudioFile(at("empty.wav"), { programs })).rejects.toThrow("empty.wav: expected a WAV, MP3, FLAC")
  await expect(readAudioFile(at("nothing.wav"), { programs })).rejects.toThrow(
    "nothing.wav: expected a readable file, got: ENOENT",
  )
  await expect(openVideo(at("empty.wav"), { programs })).rejects.toThrow(
    "empty.wav: expected pictures or sound, got 0 bytes (check where the file comes from)",
  )
  await expect(readAudioFile(folder, { programs })).rejects.toThrow("expected a file, got a folder (name a file in it)")
  await expect(readAudioFile(at("tone.wav"), { maxSeconds: 0.1 })).rejects.toThrow("expected at most 0.1 s of sound")
})

test.skipIf(process.platform === "win32")("a pipe that nobody writes to is refused at once", async () => {
  execFileSync("mkfifo", [at("pipe.wav")])
  const message = "pipe.wav: expected a file, got a pipe (write it to a file first)"
  await expect(readAudioFile(at("pipe.wav"))).rejects.toThrow(message)
  await expect(openVideo(at("pipe.wav"))).rejects.toThrow(message)
  await expect(readAudioFile("/dev/zero")).rejects.toThrow("/dev/zero: expected a file, got a device (check the path)")
})

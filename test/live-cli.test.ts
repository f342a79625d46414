/** @file `omni live` on real files, from outside: the same answer at every pace, every kind of input, and what is wrong with it. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { concatPcm, readWav, readWavMono, writeWav } from "../src/audio/index.ts"
import { type Outcome, omni, startOmni, temporaryFolders } from "./cli.test-util.ts"
import { skipUnless } from "./skip.ts"

const TINY = join(import.meta.dirname, "fixtures", "tiny-a")
const MODEL = ["--model", join(TINY, "checkpoint"), "--threads", "1", "--quantize", "none"]
const SPEECH = join(TINY, "assets", "audio", "speech_en.wav")
const VOICE = join(TINY, "assets", "audio", "ref_voice.wav")
const IMAGE = join(TINY, "assets", "images", "frame_0.png")
const hasFfmpeg = spawnSync("ffmpeg", ["-version"]).status === 0

const temporary = temporaryFolders()
let folder = ""
beforeAll(() => {
  folder = temporary()
})

const live = (...args: string[]) => omni(["live", ...MODEL, "--max-tokens", "12", ...args])
const file = (name: string) => join(folder, name)

type Record = { readonly type: string; readonly [member: string]: unknown }
const records = ({ stdout }: Outcome) =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record)
const ofType = (outcome: Outcome, type: string) => records(outcome).filter((record) => record.type === type)
const textOf = (outcome: Outcome) =>
  ofType(outcome, "text-delta")
    .map(({ text }) => text)
    .join("")
const heard = (outcome: Outcome) =>
  ofType(outcome, "perceived").reduce((sum, { audioMs }) => sum + (audioMs as number), 0)

describe("a sound file and a picture", () => {
  test("give the same text and sound at both paces, and the same seed the same", { timeout: 60_000 }, async () => {
    const args = (name: string, ...more: string[]) => [
      ...["--audio", SPEECH, "--video", IMAGE, "--voice", VOICE, "--json", "--seed", "3"],
      ...["--out", file(name), ...more],
    ]
    const began = performance.now()
    const realtime = await live(...args("realtime.wav", "--pace", "realtime"))
    expect(performance.now() - began).toBeGreaterThan(3300) // as long as the recording
    const [max, again] = await Promise.all([live(...args("max.wav")), live(...args("again.wav"))])
    for (const outcome of [realtime, max, again]) expect(outcome).toMatchObject({ code: 0, stderr: "" })
    expect(textOf(max)).not.toBe("")
    expect([textOf(realtime), textOf(again)]).toEqual([textOf(max), textOf(max)])
    const wav = readFileSync(file("max.wav"))
    expect(readFileSync(file("realtime.wav")).equals(wav)).toBe(true)
    expect(readFileSync(file("again.wav")).equals(wav)).toBe(true)
    const { pcm, sampleRateHz } = readWavMono(wav)
    expect(sampleRateHz).toBe(24_000)
    expect(ofType(max, "written")).toEqual([
      { type: "written", file: file("max.wav"), audioMs: (pcm.length / 24_000) * 1000 },
    ])
    expect(heard(max)).toBeCloseTo(3373.9, 0)
  })
})

describe("pictures", () => {
  test("of a folder come one a second, the last one in high resolution", async () => {
    const frames = file("frames")
    mkdirSync(frames)
    for (const i of [0, 1, 2])
      writeFileSync(join(frames, `frame-${i}.png`), readFileSync(join(TINY, "assets", "images", `frame_${i}.png`)))
    const outcome = await live("--video", frames, "--json")
    expect(outcome).toMatchObject({ code: 0, stderr: "" })
    expect(heard(outcome)).toBe(3000) // silence beside them
    const [end] = ofType(outcome, "turn-end") as [Record & { usage: { promptImageTokens: number } }]
    expect(end.usage.promptImageTokens).toBeGreaterThan(3 * 64)
  })

  test("that are an image alone are looked at with a text", async () => {
    const outcome = await live("--video", IMAGE, "--text", "What is this?", "--json")
    expect(outcome).toMatchObject({ code: 0, stderr: "" })
    expect(heard(outcome)).toBe(0)
    expect(textOf(outcome)).not.toBe("")
  })
})

skipUnless(hasFfmpeg, "no ffmpeg on this machine")("a video", () => {
  test("is seen and heard; --audio replaces its sound", { timeout: 60_000 }, async () => {
    const clip = file("clip.mp4")
    const frames = join(TINY, "assets", "images", "frame_%d.png")
    const inputs = ["-v", "error", "-y", "-framerate", "1", "-i", frames, "-i", SPEECH]
    const { status, stderr } = spawnSync("ffmpeg", [...inputs, "-vf", "scale=96:96", "-pix_fmt", "yuv420p", clip])
    expect([status, String(stderr)]).toEqual([0, ""])
    const [own, again, other] = await Promise.all([
      live("--video", clip, "--json", "--out", file("clip-1.wav")),
      live("--video", clip, "--json", "--out", file("clip-2.wav"), "--pace", "realtime"),
      live("--video", clip, "--audio", VOICE, "--json"),
    ])
    for (const outcome of [own, again, other]) expect(outcome).toMatchObject({ code: 0, stderr: "" })
    expect(heard(own)).toBe(7000) // seven frames, sound for three seconds and silence after it
    expect(textOf(again)).toBe(textOf(own))
    expect(readFileSync(file("clip-1.wav")).equals(readFileSync(file("clip-2.wav")))).toBe(true)
    expect(textOf(other)).not.toBe(textOf(own))
  })
})

test("a video without ffmpeg is told what to do", async () => {
  const clip = file("some.mp4")
  writeFileSync(clip, Buffer.concat([Buffer.from([0, 0, 0, 24]), Buffer.from("ftypisom"), Buffer.alloc(500)]))
  const args = ["live", ...MODEL, "--video", clip]
  const { code, stderr } = await omni(args, { env: { PATH: "/nowhere" } })
  expect(stderr).toBe(
    `omni: ${clip}: expected the program ffprobe to read it, got none (install ffmpeg, or give a folder of frames (PNG, JPEG, WebP) and a WAV, MP3, FLAC or Ogg file)\n`,
  )
  expect(code).toBe(2)
})

describe("--turns", () => {
  const silence = (seconds: number) => new Float32Array(16_000 * seconds)
  const speech = () => readWavMono(readFileSync(SPEECH)).pcm
  const voice = () => readWavMono(readFileSync(VOICE)).pcm

  test("answers every utterance, the same at both paces", { timeout: 60_000 }, async () => {
    const talk = concatPcm([speech(), silence(1), voice()]) // the last one does not end before the file does
    writeFileSync(file("talk.wav"), writeWav(talk, { sampleRateHz: 16_000 }))
    const args = ["--audio", file("talk.wav"), "--turns", "--json"]
    const [max, realtime] = await Promise.all([
      live(...args, "--out", file("turns-1.wav")),
      live(...args, "--out", file("turns-2.wav"), "--pace", "realtime"),
    ])
    for (const outcome of [max, realtime]) expect(outcome).toMatchObject({ code: 0, stderr: "" })
    expect(ofType(max, "turn-end").map(({ turn }) => turn)).toEqual([1, 2])
    expect(ofType(max, "speech-start").length).toBe(2)
    expect(textOf(realtime)).toBe(textOf(max))
    expect(readFileSync(file("turns-1.wav")).equals(readFileSync(file("turns-2.wav")))).toBe(true)
  })

  test("without speech is an error that says so", async () => {
    writeFileSync(file("silence.wav"), writeWav(silence(3), { sampleRateHz: 16_000 }))
    const { code, stderr } = await live("--audio", file("silence.wav"), "--turns", "--out", file("none.wav"))
    expect(stderr).toContain(
      "omni: --turns: expected speech in the sound, got none (without --turns it is one question)\n",
    )
    expect(code).toBe(2)
    expect(existsSync(file("none.wav"))).toBe(false)
  })
})

describe("modes", () => {
  test("start from other prompts, and samples are written as asked", { timeout: 60_000 }, async () => {
    const say = (name: string, ...args: string[]) => live("--text", "Hello.", "--json", "--out", file(name), ...args)
    const [assistant, role, described, same] = await Promise.all([
      say("assistant.wav"),
      say("role.wav", "--mode", "audio_roleplay", "--instructions", "You are a pirate."),
      say("described.wav", "--mode", "default", "--instructions", "Speak like an old sailor.", "--format", "float32"),
      say("same.wav", "--mode", "audio_assistant", "--format", "float32"),
    ])
    for (const outcome of [assistant, role, described, same]) expect(outcome).toMatchObject({ code: 0, stderr: "" })
    const prompts = [assistant, role, described, same].map((outcome) => ofType(outcome, "turn-end")[0]!.promptTokens)
    expect(new Set(prompts.slice(0, 3)).size).toBe(3)
    expect([prompts[3], textOf(same)]).toEqual([prompts[0], textOf(assistant)])
    const [ints, floats] = ["assistant.wav", "same.wav"].map((name) => readWav(readFileSync(file(name))))
    expect([ints!.encoding, floats!.encoding]).toEqual(["s16", "f32"])
    expect(floats!.samples.length).toBe(ints!.samples.length)
    const clipped = (value: number) => Math.min(1, Math.max(-1, value))
    const off = floats!.samples.findIndex((value, i) => Math.abs(clipped(value) - ints!.samples[i]!) > 1e-4)
    expect(off).toBe(-1)
  })
})

describe("what is wrong", () => {
  test.each<[string, () => string[], RegExp]>([
    [
      "a file that is none",
      () => ["--audio", "/nowhere.wav"],
      /^\/nowhere\.wav: expected a readable file, got: ENOENT/,
    ],
    [
      "a voice that is none",
      () => ["--text", "hi", "--voice", "/nowhere.wav"],
      /^\/nowhere\.wav: expected a readable file/,
    ],
    ["a folder to write", () => ["--text", "hi", "--out", folder], /^--out: expected a file to write, got the folder /],
    ["nothing to say", () => [], /^--audio: expected a sound file, pictures for --video, or --text, got none of them/],
    [
      "a mode that is none",
      () => ["--text", "hi", "--mode", "sing"],
      /^--mode: expected omni, audio_assistant, audio_ro/,
    ],
    [
      "a voice where there is none",
      () => ["--text", "hi", "--mode", "default", "--voice", VOICE],
      /^--voice: expected a mode that has a voice, got default \(take another --mode, or leave it out\)/,
    ],
    ["samples of no kind", () => ["--text", "hi", "--format", "mp3"], /^--format: expected int16, float32, got mp3/],
    ["turns without sound", () => ["--video", IMAGE, "--turns"], /^--turns: expected sound to find turns in, got none/],
  ])("%s: code 2, one line, no file written", async (_, args, message) => {
    const given = args()
    const outcome = await live(...given, ...(given.includes("--out") ? [] : ["--out", file("odd.wav")]))
    expect(outcome.stderr.replace(/^omni: /, "")).toMatch(message)
    expect(outcome.stderr).toMatch(/^[^\n]+\n$/)
    expect(outcome).toMatchObject({ code: 2, stdout: "" })
    expect(readdirSync(folder).filter((name) => name.startsWith("odd.wav"))).toEqual([])
  })
})

test("an interrupt ends it within a step, code 130, with no file written", { timeout: 60_000 }, async () => {
  const out = file("interrupted.wav")
  const running = startOmni(["live", ...MODEL, "--audio", SPEECH, "--pace", "realtime", "--json", "--out", out])
  await running.printed(800) // it listens
  running.child.kill("SIGINT")
  const outcome = await running.outcome
  expect(outcome).toMatchObject({ code: 130, stderr: "" })
  expect(records(outcome).length).toBeGreaterThan(1)
  expect(readdirSync(folder).filter((name) => name.startsWith("interrupted"))).toEqual([])
})

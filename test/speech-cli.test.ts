/** @file `omni transcribe` and `omni speak` from outside. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { readWav, readWavMono } from "../src/audio/index.ts"
import { omni, startOmni, temporaryFolders } from "./cli.test-util.ts"

const TINY = join(import.meta.dirname, "fixtures", "tiny-a")
const MODEL = ["--model", join(TINY, "checkpoint"), "--threads", "1", "--quantize", "none"]
const SPEECH = join(TINY, "assets", "audio", "speech_en.wav")
const VOICE = join(TINY, "assets", "audio", "ref_voice.wav")

const temporary = temporaryFolders()
let folder = ""
beforeAll(() => {
  folder = temporary()
})

const transcribe = (...args: string[]) => omni(["transcribe", ...MODEL, ...args])
const speak = (...args: string[]) => omni(["speak", ...MODEL, ...args])
const records = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { readonly [member: string]: unknown })

describe("transcribe", () => {
  test("writes one recording in every format, the same text", { timeout: 60_000 }, async () => {
    const [text, json, srt, vtt, lines] = await Promise.all([
      transcribe(SPEECH),
      transcribe(SPEECH, "--format", "json", "--quiet"),
      transcribe(SPEECH, "--format", "srt", "--quiet"),
      transcribe(SPEECH, "--format", "vtt", "--quiet"),
      transcribe(SPEECH, "--json"),
    ])
    for (const outcome of [text, json, srt, vtt, lines]) expect(outcome.code).toBe(0)
    expect(text.stderr).toMatch(/^3\.4 s heard in \d+\.\d s, \d+\.\d\d of real time\n$/)
    const words = text.stdout.trim()
    expect(words).not.toBe("")
    const [object] = records(json.stdout)
    expect(object).toEqual({
      file: SPEECH,
      seconds: 3.373875,
      text: words,
      segments: [{ start: 0, end: 3.373875, text: words }],
    })
    expect(srt.stdout.startsWith("1\n00:00:00,000 --> 00:00:03,374\n")).toBe(true)
    expect(vtt.stdout.startsWith("WEBVTT\n\n00:00:00.000 --> 00:00:03.374\n")).toBe(true)
    expect([json.stderr, srt.stderr, vtt.stderr, lines.stderr]).toEqual(["", "", "", ""])
    expect(records(lines.stdout).at(-1)).toEqual({ type: "transcript", file: SPEECH, seconds: 3.373875, text: words })
  })

  test("takes the behaviour of the official code, which keeps other text", { timeout: 60_000 }, async () => {
    const [reference, wrong] = await Promise.all([
      transcribe(SPEECH, "--behaviour", "reference", "--quiet"),
      transcribe(SPEECH, "--behaviour", "fast"),
    ])
    expect(reference).toMatchObject({ code: 0, stderr: "" })
    expect(wrong).toMatchObject({ code: 2, stderr: "omni: --behaviour: expected live, reference, got fast\n" })
  })

  test("goes on after a recording that is none, code 2; a folder takes one file each", {
    timeout: 60_000,
  }, async () => {
    const out = join(folder, "transcripts")
    const [streamed, filed, missing, same] = await Promise.all([
      transcribe("/nowhere.wav", VOICE, "/nowhere.ogg", SPEECH, "--quiet"),
      transcribe(VOICE, SPEECH, "--format", "srt", "--out", folder, "--quiet"),
      transcribe(VOICE, "--out", out),
      transcribe(VOICE, "elsewhere/ref_voice.mp3", "--out", folder),
    ])
    expect(streamed.code).toBe(2)
    expect(streamed.stderr).toMatch(
      /^omni: \/nowhere\.wav: expected a readable file, got: ENOENT[^\n]+\nomni: \/nowhere\.ogg: [^\n]+\n$/,
    )
    expect(streamed.stdout).toContain(`==> ${VOICE} <==\n`)
    expect(streamed.stdout).toContain(`==> ${SPEECH} <==\n`)
    const paths = ["ref_voice.srt", "speech_en.srt"].map((name) => join(folder, name))
    expect(filed).toMatchObject({ code: 0, stderr: "", stdout: `${paths.join("\n")}\n` })
    expect(readFileSync(paths[0]!, "utf8")).toMatch(/^1\n00:00:00,000 --> 00:00:02,200\n/)
    expect(missing).toMatchObject({ code: 2, stdout: "" })
    expect(same).toMatchObject({ code: 2, stdout: "" })
    expect(same.stderr).toContain(
      `got ${VOICE} and elsewhere/ref_voice.mp3, which both become ref_voice.txt (rename one)`,
    )
    expect(missing.stderr).toContain(`--out: expected a folder that can be written, got ${out}: ENOENT`)
  })

  test("reads standard input, and refuses what it cannot do before loading", async () => {
    const child = spawn(process.execPath, [
      join(import.meta.dirname, "../bin/omni.mjs"),
      "transcribe",
      ...MODEL,
      "-",
      "--quiet",
    ])
    let stdout = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text
    })
    child.stdin.end(readFileSync(VOICE))
    const waiting = startOmni(["transcribe", ...MODEL, "-"], { staysOpen: true })
    const [code] = (await once(child, "close")) as [number]
    waiting.child.kill("SIGINT") // while the other one loaded and listened, its handler was set up
    expect([code, stdout.trim() === ""]).toEqual([0, false])
    expect(await waiting.outcome).toMatchObject({ code: 130, stdout: "", stderr: "" })
    const [none, captions] = await Promise.all([omni(["transcribe"]), transcribe(VOICE, SPEECH, "--format", "vtt")])
    expect(none).toMatchObject({
      code: 2,
      stderr: "omni: files: expected recordings, or - for standard input, got none (see omni transcribe --help)\n",
    })
    expect(captions).toMatchObject({
      code: 2,
      stderr: "omni: --format: expected --out DIR for vtt of 2 recordings, got none\n",
    })
  })
})

describe("speak", () => {
  test("writes a WAV file, the same for one seed, another for another voice or seed", { timeout: 60_000 }, async () => {
    const path = (name: string) => join(folder, name)
    const [one, two, voice, piped] = await Promise.all([
      speak("Hello there.", "--out", path("one.wav")),
      speak("-", "--out", path("two.wav"), "--quiet"),
      speak("Hello there.", "--out", path("voice.wav"), "--voice", VOICE, "--instructions", "Softly.", "--json"),
      omni(["speak", ...MODEL, "-", "--out", path("piped.wav"), "--quiet"], { input: "Hello there.\n" }),
    ])
    expect(one).toMatchObject({ code: 0, stdout: `${path("one.wav")}\n` })
    expect(one.stderr).toMatch(/^first sound after \d+\.\d\d s, \d+\.\d\d s of sound in \d+\.\d\d s\n$/)
    expect(two).toMatchObject({ code: 2, stderr: "omni: text: expected something to read, got nothing\n" })
    expect(piped).toMatchObject({ code: 0, stderr: "" })
    const wav = readFileSync(path("one.wav"))
    const { pcm, sampleRateHz } = readWavMono(wav)
    expect(sampleRateHz).toBe(24_000)
    expect(pcm.length).toBeGreaterThan(2400)
    expect(readFileSync(path("piped.wav")).equals(wav)).toBe(true)
    expect(voice).toMatchObject({ code: 0, stderr: "" })
    expect(readFileSync(path("voice.wav")).equals(wav)).toBe(false)
    const types = records(voice.stdout).map(({ type }) => type)
    expect(types).toEqual(expect.arrayContaining(["loaded", "text-delta", "audio-delta", "turn-end", "written"]))
  })

  test("takes a behaviour and a kind of samples", { timeout: 60_000 }, async () => {
    const path = (name: string) => join(folder, name)
    const [live, reference] = await Promise.all([
      speak("Hello there.", "--out", path("floats.wav"), "--format", "float32", "--quiet"),
      speak("Hello there.", "--out", path("reference.wav"), "--behaviour", "reference", "--json"),
    ])
    for (const outcome of [live, reference]) expect(outcome).toMatchObject({ code: 0, stderr: "" })
    expect(readWav(readFileSync(path("floats.wav")))).toMatchObject({ encoding: "f32", sampleRateHz: 24_000 })
    // The official code speaks a whole answer at once.
    expect(records(reference.stdout).filter(({ type }) => type === "audio-delta")).toHaveLength(1)
  })

  test("refuses what it cannot do, and writes nothing", async () => {
    const out = join(folder, "never.wav")
    const [both, noOut, noVoice] = await Promise.all([
      speak("hi", "--out", "-", "--json"),
      speak("hi"),
      speak("hi", "--out", out, "--voice", "/nowhere.wav"),
    ])
    expect(both.code).toBe(2)
    expect(both.stderr).toBe("omni: --out: expected a file beside --json, got - (both are standard output)\n")
    expect(noOut).toMatchObject({ code: 2, stdout: "" })
    expect(noVoice).toMatchObject({ code: 2, stdout: "" })
    expect(noVoice.stderr).toMatch(/^omni: \/nowhere\.wav: expected a readable file/)
    expect(existsSync(out)).toBe(false)
    expect(readdirSync(folder).filter((name) => name.endsWith(".partial"))).toEqual([])
  })
})

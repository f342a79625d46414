/** @file The library as its users call it, on the recorded checkpoint. */
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { readFile, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import sharp from "sharp"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type AnswerEvent, type CallEvent, type LoadProgress, type Message, Omni, writeWav } from "./omni.node.ts"

const CHECKPOINT = join(import.meta.dirname, "..", "test", "fixtures", "tiny-a", "checkpoint")
const GREEDY = { temperature: 0, repetitionPenalty: 1, maxNewTokens: 9 } as const

const folder = mkdtempSync(join(tmpdir(), "omni-library-"))
const image = join(folder, "picture.png")
const wav = join(folder, "talk.wav")
const pcm = Float32Array.from({ length: 20_000 }, (_, i) => 0.3 * Math.sin(i / 30))
const pixels = Uint8Array.from({ length: 64 * 48 * 3 }, (_, i) => (i * 7) % 256)
let omni: Omni

beforeAll(async () => {
  await sharp(pixels, { raw: { width: 64, height: 48, channels: 3 } })
    .png()
    .toFile(image)
  await writeFile(wav, writeWav(pcm, { sampleRateHz: 16_000 }))
  omni = await Omni.load(CHECKPOINT, { device: "cpu", quantize: "none", threads: 1 })
}, 60_000)

afterAll(async () => {
  await omni?.close()
  rmSync(folder, { recursive: true })
})

async function textOf(events: AsyncIterable<AnswerEvent>): Promise<string> {
  let text = ""
  for await (const event of events) if (event.type === "text-delta") text += event.text
  return text
}

const question = (...content: Exclude<Message["content"], string>) => [{ role: "user" as const, content }]

describe("Omni.load", () => {
  test("says what it loaded, and how far it is", async () => {
    const progress: LoadProgress[] = []
    await using other = await Omni.load(CHECKPOINT, { threads: 1, onProgress: (step) => progress.push(step) })
    expect(other.info).toMatchObject({ name: "checkpoint", device: "cpu", sees: true, hears: true, speaks: true })
    expect(progress.at(-1)).toEqual({ stage: "loading", fraction: 1 })
  })

  test("makes nano in the cache folder that the environment names", { timeout: 60_000 }, async () => {
    const environment = { XDG_CACHE_HOME: join(folder, "cache") }
    await using nano = await Omni.load("nano", { environment, threads: 1 })
    expect(nano.info).toMatchObject({ name: "nano", untrained: true })
    expect(existsSync(join(folder, "cache", "omni"))).toBe(true)
    expect((await textOf(nano.chat("hello", { maxNewTokens: 3 }))).length).toBeGreaterThan(0)
  })

  test.each([
    ["/nowhere", /^\/nowhere: expected a model folder with a config\.json, got none/],
    ["org/name", /^org\/name: expected a folder of that name or a whole model in .*cache-empty.*omni pull org\/name/],
  ])("%s is told", async (model, message) => {
    const environment = { XDG_CACHE_HOME: join(folder, "cache-empty"), HF_HUB_OFFLINE: "1" }
    await expect(Omni.load(model, { environment })).rejects.toThrow(message)
  })

  test("a model that is not here is asked for where HF_ENDPOINT says, unless downloads are refused", async () => {
    const environment = { XDG_CACHE_HOME: join(folder, "cache-empty"), HF_ENDPOINT: "http://127.0.0.1:1" }
    await expect(Omni.load("org/name", { environment, download: false })).rejects.toThrow("omni pull org/name")
    const signal = AbortSignal.timeout(1000)
    await expect(Omni.load("org/name", { environment, signal })).rejects.toThrow(/timeout|127\.0\.0\.1/)
  })

  test("an abort ends it, and leaves nothing running", async () => {
    await expect(Omni.load(CHECKPOINT, { signal: AbortSignal.abort(new Error("no")) })).rejects.toThrow("no")
  })
})

describe("omni.chat", () => {
  test("takes files in every form, with the same answer", { timeout: 60_000 }, async () => {
    const [imageBytes, wavBytes] = await Promise.all([readFile(image), readFile(wav)])
    const rgba = Uint8ClampedArray.from({ length: 64 * 48 * 4 }, (_, i) =>
      i % 4 === 3 ? 255 : pixels[(i >> 2) * 3 + (i % 4)]!,
    )
    // As a file has them: 16 bits.
    const samples = Int16Array.from(pcm, (value) => Math.round(value * 32_767))
    const forms: [Exclude<Message["content"], string>[number], Exclude<Message["content"], string>[number]][] = [
      [{ image }, { audio: wav }],
      [pathToFileURL(image), pathToFileURL(wav)],
      [imageBytes, wavBytes],
      [new Blob([imageBytes]), new Blob([wavBytes])],
      [{ width: 64, height: 48, data: pixels }, { audio: wavBytes }],
      [{ width: 64, height: 48, data: rgba }, { audio: { pcm: samples, sampleRateHz: 16_000 } }],
    ]
    const answers: string[] = []
    for (const form of forms)
      answers.push(await textOf(omni.chat(question(...form, "What is said, and where?"), GREEDY)))
    expect(answers[0]).not.toBe("")
    expect(answers).toEqual(answers.map(() => answers[0]))
    expect(await textOf(omni.chat(question("What is said, and where?"), GREEDY))).not.toBe(answers[0])
  })

  test("speaks, with a voice of your own too", { timeout: 60_000 }, async () => {
    const sound = async (options: object) => {
      const pieces: Float32Array[] = []
      const events = omni.chat("Say it.", { ...GREEDY, speak: true, ...options })
      for await (const event of events) if (event.type === "audio-delta") pieces.push(event.pcm)
      return pieces.flatMap((piece) => [...piece.subarray(0, 200)])
    }
    const [own, other] = [await sound({}), await sound({ voice: { pcm, sampleRateHz: 16_000 } })]
    expect(own.length).toBeGreaterThan(0)
    expect(other).not.toEqual(own)
  })

  test.each<[string, Exclude<Message["content"], string>[number], RegExp]>([
    ["a missing file", { image: "/nowhere.png" }, /^\/nowhere\.png: expected a readable file, got: ENOENT/],
    ["a missing recording", { audio: "/nowhere.wav" }, /^\/nowhere\.wav: expected a readable file, got: ENOENT/],
    [
      "an address",
      new URL("https://example.org/x.png"),
      /content\[1\]: expected a file URL, got one of https: \(fetch it/,
    ],
    ["nothing", new Uint8Array(0), /content\[1\]: expected a .* got 0 bytes/],
    ["text as bytes", new TextEncoder().encode("hello"), /content\[1\]: expected .*WAV/],
    [
      "too few pixels",
      { width: 9, height: 9, data: new Uint8Array(5) },
      /content\[1\]: expected 243 bytes for 9x9x3, got 5/,
    ],
    ["NaN", { pcm: new Float32Array([Number.NaN]), sampleRateHz: 16_000 }, /content\[1\]: expected finite/],
    [
      "bytes as samples",
      { pcm: Buffer.alloc(8) as never, sampleRateHz: 16_000 },
      /content\[1\]: pcm: expected a Float32Array or an Int16Array, got a Buffer \(bytes of 16-bit/,
    ],
    ["no rate", { pcm, sampleRateHz: 0 }, /content\[1\]: expected a sampleRateHz above 0, got 0/],
    ["a wrong object", { video: "x" } as never, /content\[1\]: expected .* got an object with video$/],
    ["null", null as never, /content\[1\]: expected text, an image or sound, got null/],
  ])("%s is an error that says where", async (_, item, message) => {
    await expect(textOf(omni.chat(question("look", item)))).rejects.toThrow(message)
  })
})

describe("omni.call", () => {
  test("takes sound and frames while they come, and answers", { timeout: 60_000 }, async () => {
    const events: CallEvent[] = []
    await using call = omni.call({ ...GREEDY, mode: "omni", onEvent: (event) => events.push(event) })
    await call.ready()
    // Not waited for one by one: their order is kept, however long the file takes to read.
    const pushes = [call.push({ frame: image }), call.push({ pcm }), call.push({ text: "What is it?" })]
    const answer: AnswerEvent[] = []
    for await (const event of call.respond({ speak: true })) answer.push(event)
    await Promise.all(pushes)
    expect(events.filter(({ type }) => type === "perceived").length).toBeGreaterThan(0)
    expect(answer.at(-1)).toMatchObject({ type: "turn-end", usage: { promptImageTokens: expect.any(Number) } })
    const end = answer.at(-1) as Extract<AnswerEvent, { type: "turn-end" }>
    expect(end.usage.promptImageTokens).toBeGreaterThan(0)
    expect(end.audioMs).toBeGreaterThan(0)
    expect((await call.interrupt({ heardMs: 0 })).text).toBe("")
  })

  test("goes on from the bytes of a saved call, which a file can hold", { timeout: 60_000 }, async () => {
    await using call = omni.call({ ...GREEDY, voice: wav })
    await call.push({ pcm })
    await textOf(call.respond({ speak: false }))
    const path = join(folder, "call.bin")
    await writeFile(path, await call.snapshot())
    await call.push({ text: "and then?" })
    const direct = await textOf(call.respond({ speak: false }))
    await using again = omni.call({ ...GREEDY, snapshot: await readFile(path) })
    await again.push({ text: "and then?" })
    expect(await textOf(again.respond({ speak: false }))).toBe(direct)
    await using damaged = omni.call({ snapshot: new Uint8Array(20) })
    await expect(damaged.ready()).rejects.toThrow("snapshot: expected a saved call")
  })

  test("wrong options are thrown by what is asked first, and closing it still works", async () => {
    const call = omni.call({ mode: "sing" as never })
    await expect(call.push({ pcm })).rejects.toThrow("mode: expected omni, audio_assistant")
    await expect(call.respond().next()).rejects.toThrow("mode: expected")
    await call.close()
    const voiceless = omni.call({ voice: "/nowhere.wav" })
    await expect(voiceless.ready()).rejects.toThrow("/nowhere.wav: expected a readable file")
  })

  test("takes samples as what they are: 16-bit ones are scaled, anything else is refused", {
    timeout: 30_000,
  }, async () => {
    const exact = Int16Array.from(pcm, (value) => Math.round(value * 32_767))
    const answers: string[] = []
    for (const samples of [exact, Float32Array.from(exact, (value) => value / 32_768)]) {
      await using call = omni.call(GREEDY)
      await call.push({ pcm: samples })
      answers.push(await textOf(call.respond({ speak: false })))
    }
    expect(answers[0]).toBe(answers[1])
    await using call = omni.call(GREEDY)
    const expected = "call.push: pcm: expected a Float32Array or an Int16Array, got"
    await expect(call.push({ pcm: Buffer.alloc(8) as never })).rejects.toThrow(
      `${expected} a Buffer (bytes of 16-bit samples`,
    )
    await expect(call.push({ pcm: "talk.wav" as never })).rejects.toThrow(`${expected} string (mono samples)`)
    await expect(call.push({ pcm: [0, 1] as never })).rejects.toThrow(`${expected} a Array`)
  })

  test("keeps what was pushed, whatever becomes of the caller's buffers", { timeout: 30_000 }, async () => {
    const answers: string[] = []
    for (const change of ["none", "samples and pixels"]) {
      const sound = pcm.slice()
      const frame = { width: 64, height: 48, data: new Uint8ClampedArray(pixels) }
      await using call = omni.call({ ...GREEDY, mode: "omni" })
      const pushed = call.push({ pcm: sound, frame: frame as never })
      if (change !== "none") {
        sound.fill(0.9)
        frame.data.fill(0)
      }
      await pushed
      // Pixels of any kind can be saved.
      await using again = omni.call({ ...GREEDY, mode: "omni", snapshot: await call.snapshot() })
      for (const one of [call, again]) answers.push(await textOf(one.respond({ speak: false, maxNewTokens: 20 })))
    }
    expect(answers[0]).not.toBe("")
    expect(answers).toEqual(answers.map(() => answers[0]))
  })

  test("an abort stops the answer", async () => {
    await using call = omni.call({ ...GREEDY, maxNewTokens: 400 })
    await call.push({ text: "hello" })
    const stop = new AbortController()
    const answer = call.respond({ speak: false, signal: stop.signal })
    await answer.next()
    stop.abort(new Error("enough"))
    await expect(textOf(answer)).rejects.toThrow("enough")
  })
})

describe("what callers without types get wrong", () => {
  const wrong = (value: unknown) => value as never

  test.each([
    [() => Omni.load(wrong(null)), "Omni.load: expected the name or folder of a model, got object"],
    [() => Omni.load(CHECKPOINT, wrong({ device: "gpu" })), "device: expected auto, reference, cpu, webgpu, got gpu"],
    [
      () => Omni.load(CHECKPOINT, wrong({ quantize: 4 })),
      "quantize: expected auto, none, int8, int4, int8+int4, got number",
    ],
    [() => textOf(omni.chat(wrong(5))), "messages: expected a list, got number"],
    [() => textOf(omni.chat(wrong([null]))), "messages[0]: expected an object, got null"],
    [
      () => textOf(omni.chat(wrong([{ role: "bot", content: "x" }]))),
      "messages[0].role: expected system, user, assistant, tool, got bot",
    ],
    [
      () => textOf(omni.chat("hi", wrong({ behaviour: "fast" }))),
      "chat: behaviour: expected live, reference, got fast",
    ],
    [
      () => textOf(omni.chat("hi", wrong({ format: { type: "xml" } }))),
      "chat: format.type: expected text, json-object, json-schema, tool-call, got xml",
    ],
    [() => textOf(omni.chat("hi", wrong({ tools: [{}] }))), "chat: tools[0].name: expected text, got null"],
    [() => textOf(omni.chat("hi", wrong({ stop: "." }))), "chat: stop: expected a list, got string"],
    [() => omni.call(wrong({ onEvent: 5 })).ready(), "call: onEvent: expected a function, got number"],
    [() => omni.call(wrong({ instructions: 5 })).ready(), "call: instructions: expected text, got number"],
  ])("%s is told", async (attempt, message) => {
    await expect(attempt()).rejects.toThrow(message)
  })

  test("spoils no call", async () => {
    await using call = omni.call(GREEDY)
    await expect(call.push(wrong({ text: 5 }))).rejects.toThrow("call.push: text: expected text, got number")
    await expect(call.push(wrong(null))).rejects.toThrow("call.push: expected an object, got null")
    await expect(call.append(wrong({ role: "bot", text: "x" }))).rejects.toThrow(
      "call.append: role: expected user, assistant, tool, got bot",
    )
    await expect(call.append(wrong({ role: "user" }))).rejects.toThrow("call.append: text: expected text, got null")
    await call.push({ text: "Hello." })
    expect(await textOf(call.respond({ speak: false }))).not.toBe("")
  })
})

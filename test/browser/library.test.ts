/** @file The library in Chromium, bundled as an application bundles it: it answers what the library in Node.js answers. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Browser, Page } from "playwright-core"
import sharp from "sharp"
import { afterAll, beforeAll, expect, test } from "vitest"
import { readWavMono, resample } from "../../src/audio/index.ts"
import { copyCheckpoint, temporaryFolders } from "../../src/convert/folders.test-util.node.ts"
import { convertCheckpoint } from "../../src/convert/index.node.ts"
import { decodeImage } from "../../src/image/index.node.ts"
import { type AnswerUsage, type ModelInfo, Omni } from "../../src/omni.node.ts"
import { skipUnless } from "../skip.ts"
import { type Bundle, bundleForBrowser } from "./bundle.ts"
import { findChromium, openChromium, type PageServer, servePage } from "./chromium.ts"
import type { SceneName } from "./library-page.ts"
import { type Assets, begin, look, type Said, structured, take, talk, write } from "./library-scenes.ts"
import { type Manner, type ModelServer, serveModels } from "./model-server.ts"

const TINY = join(import.meta.dirname, "../fixtures/tiny-a")
const asset = (path: string) => readFileSync(join(TINY, "assets", path))
const recording = asset("audio/speech_en.wav")
const { pcm, sampleRateHz } = readWavMono(recording, "speech_en.wav")
const speech = resample(pcm, sampleRateHz, 16_000)
const picture = asset("images/square_448.png")

const temporary = temporaryFolders()
const folders: { [name: string]: string } = { tiny: join(TINY, "checkpoint") }

const NO_ADAPTER = ["--disable-unsafe-swiftshader", "--disable-software-rasterizer", "--disable-gpu"]

/** 60x40, each pixel its own colour. */
const noise = (channels: 3 | 4) => {
  const data = Uint8Array.from({ length: 60 * 40 * channels }, (_, i) => (i * 7919) % 251)
  return sharp(data, { raw: { width: 60, height: 40, channels } })
}
/** Files, and how far the browser's pixels may be from ours: decoders of JPEG round, a canvas does with transparency. */
const PICTURES: { readonly [name: string]: { make(): Promise<Buffer>; worst: number } } = {
  "plain.png": { make: () => noise(3).png().toBuffer(), worst: 0 },
  "plain.webp": { make: () => noise(3).webp({ lossless: true }).toBuffer(), worst: 0 },
  "transparent.png": { make: () => noise(4).png().toBuffer(), worst: 2 },
  "turned.jpg": { make: () => noise(3).withMetadata({ orientation: 6 }).jpeg().toBuffer(), worst: 6 },
}
const pictures = new Map<string, Uint8Array>()

let bundle: Bundle
beforeAll(async () => {
  bundle = await bundleForBrowser("test/browser/library-page.ts", { asApplication: true })
}, 120_000)

test("the bundle imports nothing that browsers lack", () => {
  expect(bundle.foreign.filter((line) => !line.startsWith("node_modules/"))).toEqual([])
  const names = [...bundle.files.keys()].join(" ")
  for (const name of ["library-page.js", "worker.web", "ort-wasm-simd-threaded", "silero_vad_v5"])
    expect(names).toContain(name)
})

const chromium = findChromium()

skipUnless(chromium !== undefined, "no Chromium (install Debian's package chromium)")("the library in Chromium", () => {
  let node: Omni
  let browser: Browser | undefined
  let server: PageServer | undefined
  let models: ModelServer | undefined
  let page: Page
  beforeAll(async () => {
    for (const [name, { make }] of Object.entries(PICTURES)) pictures.set(name, await make())
    const files = [
      ["picture.png", picture],
      ["recording.wav", recording],
      ["speech.f32", new Uint8Array(speech.buffer)],
    ] as const
    server = await servePage(new Map<string, string | Uint8Array>([...bundle.files, ...files, ...pictures]))
    folders.int4 = join(temporary(), "int4")
    await convertCheckpoint({
      directory: copyCheckpoint(join(temporary(), "float")),
      quantize: "int4",
      out: folders.int4,
    })
    models = await serveModels(folders)
    browser = await openChromium(chromium!, ["--autoplay-policy=no-user-gesture-required"])
    page = await newPage(false)
    node = await Omni.load(join(TINY, "checkpoint"), { device: "cpu", quantize: "none", threads: 1 })
  }, 120_000)
  afterAll(async () => {
    await node?.close()
    await browser?.close()
    await server?.[Symbol.asyncDispose]()
    await models?.[Symbol.asyncDispose]()
  })

  async function newPage(isolated: boolean): Promise<Page> {
    const opened = await browser!.newPage()
    opened.on("console", (message) => console.log(`page: ${message.text()}`))
    await opened.goto(server!.page({ isolated }))
    return opened
  }

  /** Calls a function of the page's script. As text: Vitest would rewrite the import of a function. */
  async function call<T>(name: string, ...args: unknown[]): Promise<T> {
    const work = `import("./library-page.js").then((it) => it.${name}(...${JSON.stringify(args)}))`
    return (await page.evaluate(work)) as T
  }
  const load = (manner: Manner, options: object = {}, folder?: string) =>
    call<{ info: ModelInfo; stages: string[] }>("load", models!.address(manner, folder), { device: "wasm", ...options })
  const play = async <T>(name: SceneName): Promise<T> => {
    const { result, milliseconds } = await call<{ result: T; milliseconds: number }>("play", name)
    console.log(`${name}: ${milliseconds.toFixed(0)} ms`)
    return result
  }
  const given = (): Assets => ({ image: new Blob([picture]), recording: new Blob([recording]), speech })

  /** The same text and tokens, and the same sound up to rounding of float32. */
  function expectSame(got: Said, wanted: Said, tolerance = 1e-5): void {
    expect(got.text).toBe(wanted.text)
    expect(got.usage).toEqual(wanted.usage)
    expect(got.pcm.length).toBe(wanted.pcm.length)
    const loudest = wanted.pcm.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0)
    const error = wanted.pcm.reduce((most, sample, i) => Math.max(most, Math.abs(sample - got.pcm[i]!)), 0)
    expect(error).toBeLessThanOrEqual(tolerance * loudest)
  }

  test("loads a model below an address, and says what it is", async () => {
    const { info, stages } = await load("ranges")
    expect(info).toMatchObject({ ...node.info, name: "tiny", device: "wasm", loadMs: expect.any(Number) })
    expect(stages).toEqual(["reading", "loading"])
    console.log(`loaded in ${info.loadMs.toFixed(0)} ms`)
    const weights = models!.asked.filter((line) => line.includes(".safetensors"))
    expect(weights.length).toBeLessThan(6) // a few ranges, not one for each tensor
  })

  test("writes, sees, hears and speaks as in Node.js", async () => {
    expectSame(await play<Said>("write"), await write(node))
    const wanted = await look(node, given())
    expect(wanted.pcm.length).toBeGreaterThan(1000)
    expectSame(await play<Said>("look"), wanted)
  })

  test("keeps to a schema", async () => {
    const got = await play<Said>("structured")
    expectSame(got, await structured(node))
    expect(JSON.parse(got.text)).toEqual({ tone: expect.stringMatching(/low|high/) })
  })

  test("holds a call: turns, an answer aloud, cut to what was heard, saved and gone on with", async () => {
    const [there, here] = [await play<Awaited<ReturnType<typeof talk>>>("talk"), await talk(node, given())]
    expect(there.turns).toEqual(here.turns)
    expect(there.turns.map(({ type }) => type)).toEqual(["speech-start", "speech-end"])
    expectSame(there.answer, here.answer)
    expect(there.answer.pcm.length).toBeGreaterThan(1000)
    expect(there.interruption).toEqual(here.interruption)
    expectSame(there.direct, here.direct)
    expect(there.restored).toEqual(there.direct)
  })

  test("an answer is stopped, and the call goes on", async () => {
    expect(await play("stopped")).toEqual({ failure: "Error: enough", after: expect.stringMatching(/./) })
  })

  test("takes pictures in every form, with the same answer", async () => {
    const { texts, closed } = await call<{ texts: string[]; closed: string }>("seePictures")
    expect(texts[0]).toBe((await take(node, new Blob([picture]))).text)
    expect(texts).toEqual(texts.map(() => texts[0]))
    expect(closed).toBe("InputError: call.push: frame: expected a bitmap, got one that was closed")
  })

  test("hears what the browser recorded", async () => {
    const heard = await call<{ type: string; seconds: number; broken: string; usage: AnswerUsage }>("hearRecording")
    expect(heard.type).toMatch(/webm|mp4/)
    // 25 tokens a second; the recorder starts late where the machine is busy.
    expect(heard.usage.promptAudioTokens).toBeGreaterThan(5)
    expect(heard.usage.promptAudioTokens).toBeLessThan(25 * heard.seconds + 10)
    expect(heard.broken).toMatch(
      /^InputError: messages\[0\]\.content\[0\]: expected sound that this browser can decode, got: /,
    )
  })

  test.each(Object.entries(PICTURES))("%s is decoded as in Node.js", async (name, { worst }) => {
    // What `reference` sees of hidden colours and turned pictures, browsers do not give.
    for (const behaviour of worst === 0 ? (["live", "reference"] as const) : (["live"] as const)) {
      const { data, ...size } = await call<{ data: number[] }>("pixels", name, behaviour)
      const { data: wanted, ...wantedSize } = await decodeImage(pictures.get(name)!, { behaviour })
      expect(size).toEqual(wantedSize)
      expect(wanted.reduce((most, value, i) => Math.max(most, Math.abs(value - data[i]!)), 0)).toBeLessThanOrEqual(
        worst,
      )
    }
  })

  test("two answer at once, the other from a server of whole files; one is closed in its answer, one goes on", async () => {
    const { both, closed, after } = await call<{ both: Said[]; closed: string; after: Said }>(
      "besideAnother",
      models!.address("whole"),
      { device: "wasm" },
    )
    const wanted = await write(node)
    for (const got of [...both, after]) expectSame(got, wanted)
    expect(closed).toBe("AbortError: closed; BackendError: engine: expected a live engine, got: it was closed")
  })

  test("answers the same from a folder that was picked", { timeout: 120_000 }, async () => {
    await page.setContent(`<input type="file" webkitdirectory>`)
    await page.setInputFiles("input", folders.tiny!)
    const { picked, copied } = await call<{ picked: ModelInfo; copied: ModelInfo }>("loadPicked", { device: "wasm" })
    expect([picked.name, copied.name]).toEqual(["checkpoint", "copy"])
    expectSame(await play<Said>("write"), await write(node))
  })

  test("runs int4 weights of a converted model", { timeout: 120_000 }, async () => {
    expect((await load("ranges", {}, "int4")).info.quantize).toBe("int4")
    const got = await play<Awaited<ReturnType<typeof begin>>>("begin")
    await using quantized = await Omni.load(folders.int4!, { device: "cpu", threads: 1 })
    const distance = ({ logprobs }: { readonly logprobs: readonly number[] }) =>
      Math.abs(logprobs[0]! - got.logprobs[0]!)
    const [same, other] = [distance(await begin(quantized)), distance(await begin(node))]
    console.log(`int4: ${same} from Node.js, ${other} from float32`)
    // Processors round activations differently: near, not equal; float32 is another model.
    expect(same).toBeLessThan(0.05)
  })

  test.each<[string, Manner | string, object, RegExp]>([
    [
      "a folder that is not there",
      "ranges/none",
      {},
      /^checkpoint: config\.json: expected a file in http:.*none, got none/,
    ],
    [
      "a page for everything",
      "start-page/none",
      {},
      /^checkpoint: config\.json: expected .* got a web page \(the server/,
    ],
    ["a server that lets no page read", "closed", {}, /^checkpoint: config\.json: expected an answer from .*CORS/],
    ["weights that end early", "cut", {}, /^checkpoint: model-0000.*: expected .*(damaged or incomplete)/],
    [
      "an address of another kind",
      "ftp://127.0.0.1/tiny",
      {},
      /^input: Omni\.load: expected the http or https address/,
    ],
    [
      "another storage",
      "ranges",
      { quantize: "int4" },
      /^config: quantize: expected none .* omni convert .* --quantize int4/,
    ],
    ["another storage than converted to", "ranges/int4", { quantize: "int8" }, /^config: .*exists as int4 alone/],
    ["another device", "ranges", { device: "cpu" }, /^config: device: expected auto, wasm, webgpu, got cpu/],
    [
      "no module of ONNX Runtime",
      "ranges",
      { wasmPaths: "nowhere/" },
      /^backend: wasm: expected ONNX Runtime's module http.*nowhere\/, got: .*wasmPaths\)$/,
    ],
    ["threads without isolation", "ranges", { threads: 2 }, /^config: threads: expected a cross-origin isolated page/],
    ["an abort while weights are fetched", "stall", { abortAfterMs: 300 }, /^TimeoutError/],
    ["an abort while a script is fetched", "ranges", { abortAfterMs: 300, wasmPaths: "never/" }, /^TimeoutError/],
    ["no address of scripts", "ranges", { wasmPaths: "http://" }, /^config: wasmPaths: expected an address, got http:/],
  ])("%s is told", async (_, where, options, message) => {
    const [manner, folder] = where.includes(":") ? [] : where.split("/")
    const address = manner === undefined ? where : models!.address(manner as Manner, folder)
    expect(await call<string>("loadingError", address, { device: "wasm", ...options })).toMatch(message)
  })

  test("a worker that the application does not serve is told", async () => {
    const files = [...bundle.files].filter(([name]) => !name.includes("worker.web"))
    await using partial = await servePage(new Map(files))
    page = await browser!.newPage()
    await page.goto(partial.page({ isolated: false }))
    expect(await call<string>("loadingError", models!.address("ranges"))).toBe(
      "backend: engine: expected it to run on, got: its worker's script did not load (is it served?)",
    )
  })

  test("computes with threads where the page is isolated", async () => {
    page = await newPage(true)
    await load("ranges", { threads: 2 })
    expectSame(await play<Said>("write"), await write(node))
  })

  test("computes on WebGPU", { timeout: 180_000 }, async (context) => {
    page = await newPage(false)
    const missing = await page.evaluate(`(async () => !(await navigator.gpu?.requestAdapter()))()`)
    if (missing) context.skip("no WebGPU in this Chromium")
    expect((await load("ranges", { device: "webgpu" })).info.device).toBe("webgpu")
    const [got, wanted] = [await play<Awaited<ReturnType<typeof begin>>>("begin"), await begin(node)]
    expect(got.text).toBe(wanted.text)
    for (const [i, logprob] of wanted.logprobs.entries())
      expect(Math.abs(got.logprobs[i]! - logprob)).toBeLessThan(1e-3)
  })

  test("takes wasm by itself, and refuses webgpu, where there is no adapter", async () => {
    await using without = await openChromium(chromium!, NO_ADAPTER)
    page = await without.newPage()
    await page.goto(server!.page({ isolated: false }))
    const error = await call<string>("loadingError", models!.address("ranges"), { device: "webgpu" })
    expect(error).toMatch(/^backend: webgpu: expected an adapter, got none \(take the device wasm\)/)
    expect((await load("ranges", { device: "auto" })).info.device).toBe("wasm")
  })
})

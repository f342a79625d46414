/** @file `omni serve` from outside: the real engine behind the stock client, one process to start, one signal to end. */
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { request } from "node:https"
import { type AddressInfo, createServer as createTcpServer } from "node:net"
import { join } from "node:path"
import OpenAI, { toFile } from "openai"
import sharp from "sharp"
import { afterAll, describe, expect, test } from "vitest"
import { WebSocket } from "ws"
import { readWav, writeWav } from "../src/audio/index.ts"
import { omni, startOmni, temporaryFolders } from "./cli.test-util.ts"

const CHECKPOINT = join(import.meta.dirname, "fixtures", "tiny-a", "checkpoint")
const KEY = "sk-serve-test"
const folder = temporaryFolders()

/** A port that is taken as long as the tests run. */
const other = createTcpServer().listen(0, "127.0.0.1")
await once(other, "listening")
const TAKEN = String((other.address() as AddressInfo).port)
afterAll(() => void other.close())

/** Starts a server on any port; resolves with its address. */
async function serve(flags: readonly string[] = [], data = folder()) {
  const env = { XDG_DATA_HOME: data, OMNI_API_KEY: KEY }
  const args = [
    "serve",
    "--model",
    CHECKPOINT,
    "--quantize",
    "none",
    "--port",
    "0",
    "--no-open",
    "--json",
    "--threads",
    "1",
  ]
  const running = startOmni([...args, ...flags], { env })
  let text = ""
  while (!text.includes('"listening"')) {
    const [piece] = (await once(running.child.stdout!, "data")) as [string]
    text += piece
  }
  const line = text.split("\n").find((one) => one.includes('"listening"'))!
  return { ...running, ...(JSON.parse(line) as { url: string; model: string }) }
}

test("answers, sees, hears, speaks and writes down, and ends at SIGTERM", async () => {
  const { url, model, child, outcome } = await serve()
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: KEY, maxRetries: 0 })
  expect((await client.models.list()).data[0]).toMatchObject({
    id: model,
    loaded: true,
    capabilities: { audio_output: true },
  })

  const png = await sharp({ create: { width: 60, height: 40, channels: 3, background: "#336699" } })
    .png()
    .toBuffer()
  const wav = writeWav(
    Float32Array.from({ length: 16_000 }, (_, i) => 0.2 * Math.sin(i / 9)),
    { sampleRateHz: 16_000 },
  )
  const seen = await client.chat.completions.create({
    ...{ model, max_tokens: 6, seed: 1 },
    messages: [
      {
        role: "user",
        content: [
          { type: "text", text: "What is it?" },
          { type: "image_url", image_url: { url: `data:image/png;base64,${png.toString("base64")}` } },
          { type: "input_audio", input_audio: { data: Buffer.from(wav).toString("base64"), format: "wav" } },
        ],
      },
    ],
  })
  expect(seen.usage!.prompt_tokens).toBeGreaterThan(64)
  expect(seen.usage!.completion_tokens).toBeGreaterThan(0)

  const ask = async (seed: number) =>
    (await client.chat.completions.create({ model, max_tokens: 12, seed, messages: [{ role: "user", content: "hi" }] }))
      .choices[0]!.message.content
  expect(await ask(3)).toBe(await ask(3))

  let text = ""
  const stream = await client.chat.completions.create({
    ...{ model, max_tokens: 12, seed: 3, stream: true, messages: [{ role: "user", content: "hi" }] },
  })
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ""
  expect(text).toBe(await ask(3))

  const spoken = await client.chat.completions.create({
    ...{ model, max_tokens: 16, seed: 1, modalities: ["text", "audio"], audio: { voice: "alloy", format: "wav" } },
    messages: [{ role: "user", content: "hi" }],
  })
  const sound = readWav(Buffer.from(spoken.choices[0]!.message.audio!.data, "base64"))
  expect([sound.sampleRateHz, sound.samples.length > 2400, sound.truncated]).toEqual([24_000, true, false])

  const { text: heard } = await client.audio.transcriptions.create({ model, file: await toFile(wav, "talk.wav") })
  expect(heard).toBeTypeOf("string")

  child.kill("SIGTERM")
  expect(await outcome).toMatchObject({ code: 0, stderr: "" })
})

describe("TLS", () => {
  test("a made certificate serves HTTP and Realtime, and is there again", async () => {
    const data = folder()
    const { url, child, outcome } = await serve(["--tls"], data)
    const ca = readFileSync(join(data, "omni", "tls", "local-cert.pem"), "utf8")
    expect(url).toMatch(/^https:\/\/127\.0\.0\.1:/)
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const asked = request(`${url}/v1/models`, { ca, headers: { authorization: `Bearer ${KEY}` } }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      asked.on("error", reject)
      asked.end()
    })
    expect(status).toBe(200)
    const socket = new WebSocket(`${url.replace("https", "wss")}/v1/realtime?model=default`, {
      ...{ ca, headers: { authorization: `Bearer ${KEY}` } },
    })
    const [first] = (await once(socket, "message")) as [Buffer]
    expect(JSON.parse(first.toString("utf8"))).toMatchObject({ type: "session.created" })
    // A call that is still open does not keep the server from ending.
    child.kill("SIGTERM")
    expect((await outcome).code).toBe(0)
    expect(socket.readyState).toBeGreaterThanOrEqual(socket.CLOSING)
  })
})

test.each([
  [["--host", "0.0.0.0"], "--host: expected an address of this machine alone, got 0.0.0.0 (give --api-key for others)"],
  [["--api-key", "short"], "--api-key: expected at least 8 characters, got fewer"],
  [["--tls-cert", "a.pem"], "--tls-cert: expected --tls-key beside it, got one of the two"],
  [["--tls-cert", "/no/a.pem", "--tls-key", "/no/b.pem"], "--tls-cert: expected a readable PEM file"],
  [["--port", TAKEN], `--port: expected a free port, got ${TAKEN}, which another program uses`],
  [["--port", "x"], "--port: expected a whole number ≥ 0, got x"],
  [["--web", "/nowhere"], "--web: expected a folder with index.html, got /nowhere"],
])("%j is refused with exit code 2", async (flags, message) => {
  const env = { XDG_DATA_HOME: folder(), OMNI_API_KEY: "" }
  const { code, stderr } = await omni(["serve", "--model", CHECKPOINT, "--quantize", "none", ...flags], { env })
  expect(stderr).toContain(message)
  expect(code).toBe(2)
})

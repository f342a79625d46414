/** @file What must not work: without a key, with another's key, with hostile bodies; and what must not be told. */
import { request as httpRequest } from "node:http"
import { gzipSync } from "node:zlib"
import sharp from "sharp"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { base64, KEY, pngUrl, serve, type TestServer, tone, user, wavFile } from "./http.test-util.ts"
import { connect, RESPOND, said } from "./realtime.test-util.ts"

const OTHER = "sk-test-two"
const model = "fake-o"
let host: TestServer
beforeAll(async () => {
  host = await serve({
    keys: [KEY, OTHER],
    limits: { maxBodyBytes: 300_000, maxFileBytes: 100_000, maxPixels: 10_000, maxImages: 2 },
  })
})
afterAll(() => host[Symbol.asyncDispose]())

const ROUTES = [
  ["POST", "/v1/chat/completions"],
  ["POST", "/v1/audio/speech"],
  ["POST", "/v1/audio/transcriptions"],
  ["POST", "/v1/audio/translations"],
  ["GET", "/v1/audio/voices"],
  ["POST", "/v1/audio/voices"],
  ["DELETE", "/v1/audio/voices/x"],
  ["GET", "/v1/models"],
  ["GET", "/v1/models/fake-o"],
  ["POST", "/v1/realtime/client_secrets"],
  ["GET", "/metrics"],
] as const

/** A request whose headers `fetch` would not let us choose. */
function raw(path: string, headers: Record<string, string>, method = "GET"): Promise<number> {
  return new Promise((resolve, reject) => {
    const { port } = new URL(host.url)
    const request = httpRequest({ host: "127.0.0.1", port, path, method, headers }, (response) => {
      response.resume()
      resolve(response.statusCode!)
    })
    request.on("error", reject)
    request.end()
  })
}

describe("keys", () => {
  test.each(ROUTES)("%s %s needs one", async (method, path) => {
    const headers: Record<string, string>[] = [
      {},
      { authorization: "" },
      { authorization: KEY },
      { authorization: `Basic ${KEY}` },
      { authorization: "Bearer " },
      { authorization: `Bearer ${KEY}x` },
      { authorization: `Bearer ${KEY.slice(0, -1)}` },
      { authorization: `Bearer ${"x".repeat(2000)}` },
      { "x-api-key": KEY },
    ]
    for (const one of headers) {
      const response = await fetch(host.url + path, { method, headers: one })
      const { error } = (await response.json()) as { error: { code: string } }
      expect([response.status, error.code]).toEqual([401, "invalid_api_key"])
    }
    expect(host.engine.questions).toEqual([])
  })

  test("health and readiness need none", async () => {
    for (const path of ["/health", "/ready", "/openapi.json"]) expect((await fetch(host.url + path)).status).toBe(200)
  })

  test("a server without keys listens on this machine alone, and only to its own names", async () => {
    await using open = await serve({ keys: [] })
    await expect(open.server.listen(0, "0.0.0.0")).rejects.toThrow(
      "--host: expected an address of this machine alone, got 0.0.0.0",
    )
    const { port } = new URL(open.url)
    const status = (headers: Record<string, string>) =>
      new Promise<number>((resolve, reject) => {
        const request = httpRequest({ host: "127.0.0.1", port, path: "/v1/models", headers }, (response) => {
          response.resume()
          resolve(response.statusCode!)
        })
        request.on("error", reject)
        request.end()
      })
    expect(await status({ host: `localhost:${port}` })).toBe(200)
    expect(await status({ host: "evil.example" })).toBe(403)
    expect(await status({ host: "127.0.0.1.evil.example" })).toBe(403)
    expect(await status({ host: `127.0.0.1:${port}`, origin: `http://127.0.0.1:${port}` })).toBe(200)
    expect(await status({ host: `127.0.0.1:${port}`, origin: "https://evil.example" })).toBe(403)
    expect(await status({ host: `127.0.0.1:${port}`, origin: "null" })).toBe(403)
  })
})

describe("another key", () => {
  const withKey = (key: string) => ({ authorization: `Bearer ${key}` })

  test("does not see, use or delete my voices, nor my spoken answers", async () => {
    const form = new FormData()
    form.set("name", "Mine")
    form.set("audio_sample", new Blob([wavFile(tone(1.5))]), "voice.wav")
    const stored = await fetch(`${host.url}/v1/audio/voices`, { method: "POST", body: form, headers: withKey(KEY) })
    const { id } = (await stored.json()) as { id: string }
    const list = await (await fetch(`${host.url}/v1/audio/voices`, { headers: withKey(OTHER) })).text()
    expect(list).not.toContain("Mine")
    expect(list).not.toContain(id)
    for (const voice of ["Mine", id]) {
      const used = await host.post("/v1/audio/speech", { model, input: "a", voice }, withKey(OTHER))
      expect(used.status).toBe(404)
    }
    const deleted = await fetch(`${host.url}/v1/audio/voices/${id}`, { method: "DELETE", headers: withKey(OTHER) })
    expect(deleted.status).toBe(404)
    const spoken = await host.client.chat.completions.create({
      ...{ model, messages: user("hello"), modalities: ["text", "audio"], audio: { voice: "alloy", format: "wav" } },
    })
    const messages = [{ role: "assistant", audio: { id: spoken.choices[0]!.message.audio!.id } }, ...user("x")]
    expect((await host.post("/v1/chat/completions", { model, messages }, withKey(OTHER))).status).toBe(400)
    expect((await host.post("/v1/chat/completions", { model, messages })).status).toBe(200)
  })
})

describe("paths", () => {
  test.each([
    "/../package.json",
    "/%2e%2e/package.json",
    "/..%2fpackage.json",
    "/assets/../../secret",
    "//etc/passwd",
    "/v1/../etc",
    "/%00",
  ])("%s leads nowhere", async (path) => {
    expect([400, 404]).toContain(await raw(path, { authorization: `Bearer ${KEY}` }))
  })

  test.each(["../../etc/passwd", "..%2f..%2fetc", "a/b", "voice_..........%00aaaa"])(
    "voice id %s is unknown",
    async (id) => {
      expect(await raw(`/v1/audio/voices/${id}`, { authorization: `Bearer ${KEY}` }, "DELETE")).toBe(404)
    },
  )

  test.each(["../x", "a/b", "", ".hidden", "a\u0000b", "x".repeat(65), "default", "a\nb"])(
    "voice name %j is refused",
    async (name) => {
      const form = new FormData()
      form.set("name", name)
      form.set("audio_sample", new Blob([wavFile(tone(1.5))]), "../../voice.wav")
      const response = await fetch(`${host.url}/v1/audio/voices`, {
        ...{ method: "POST", body: form, headers: { authorization: `Bearer ${KEY}` } },
      })
      expect([400, 409]).toContain(response.status)
    },
  )
})

describe("hostile bodies", () => {
  const chat = (body: unknown, headers?: Record<string, string>) => host.post("/v1/chat/completions", body, headers)
  const parts = (...content: unknown[]) => ({ model, messages: [{ role: "user", content }] })
  const statusOf = async (response: Promise<Response>) => {
    const { status } = await response
    const body = (await (await response).json()) as { error: { message: string } }
    expect(body.error.message.length).toBeLessThan(400)
    return status
  }

  test("too large, announced or not", async () => {
    expect(await statusOf(chat({ model, messages: user("x".repeat(300_001)) }))).toBe(413)
    const stream = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(65_536).fill(32)),
    })
    const init = {
      method: "POST",
      body: stream,
      duplex: "half",
      headers: { "content-type": "application/json", authorization: `Bearer ${KEY}` },
    }
    const sent = await fetch(`${host.url}/v1/chat/completions`, init as RequestInit).then(
      ({ status }) => status,
      () => 413, // the connection may be cut before the answer is read
    )
    expect(sent).toBe(413)
  })

  test("many large ones at once are refused, and their room is given back", async () => {
    await using small = await serve({ limits: { maxBodyBytes: 300_000, maxBodiesBytes: 500_000 } })
    const large = { model, messages: user("slow x ".padEnd(200_000, "y")) }
    const statuses = async () =>
      (await Promise.all(Array.from({ length: 6 }, () => small.post("/v1/chat/completions", large)))).map(
        ({ status }) => status,
      )
    const first = await statuses()
    expect(first.filter((status) => status === 200).length).toBeGreaterThan(0)
    expect(first.filter((status) => status === 503).length).toBeGreaterThan(0)
    expect((await small.post("/v1/chat/completions", large)).status).toBe(200)
  })

  test("too deep, too wide, no JSON, wrong type", async () => {
    expect(await statusOf(chat(`${"[".repeat(100_000)}`))).toBe(400)
    expect(await statusOf(chat(`{"model":"${model}","messages":${"[".repeat(101)}${"]".repeat(101)}}`))).toBe(400)
    expect(await statusOf(chat("{"))).toBe(400)
    expect(await statusOf(chat("null"))).toBe(400)
    expect(await statusOf(chat("{}", { "content-type": "text/plain" }))).toBe(415)
    expect(await statusOf(chat({ model, messages: Array.from({ length: 2001 }, () => user("a")[0]) }))).toBe(400)
    const many = Array.from({ length: 129 }, (_, i) => ({ type: "function", function: { name: `f${i}` } }))
    expect(await statusOf(chat({ model, messages: user("a"), tools: many }))).toBe(400)
  })

  test("numbers out of all bounds", async () => {
    for (const change of [
      '"temperature":1e999',
      '"max_tokens":1e30',
      '"seed":1e300',
      '"n":9999999',
      '"top_p":-0.1',
      '"stop":[[]]',
      '"n":"1"',
    ])
      expect(await statusOf(chat(`{"model":"${model}","messages":[{"role":"user","content":"a"}],${change}}`))).toBe(
        400,
      )
  })

  test("keys of the prototype change nothing", async () => {
    const body = `{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"model":"${model}","messages":[{"role":"user","content":"a","__proto__":{"polluted":1}}],
      "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"__proto__":{"type":"string"},"constructor":{"type":"string"}}}}}]}`
    expect((await chat(body)).status).toBe(200)
    expect(({} as { polluted?: number }).polluted).toBeUndefined()
    const schema = '{"type":"json_schema","json_schema":{"name":"a","schema":{"$ref":"#/__proto__/x"}}}'
    expect(
      await statusOf(
        chat(`{"model":"${model}","messages":[{"role":"user","content":"a"}],"response_format":${schema}}`),
      ),
    ).toBe(400)
  })

  test("files: wrong base64, too large, bombs, too many", async () => {
    const image = (url: string) => ({ type: "image_url", image_url: { url } })
    const sound = (data: string) => ({ type: "input_audio", input_audio: { data, format: "wav" } })
    expect(await statusOf(chat(parts(image("data:image/png;base64,AA=A"))))).toBe(400)
    expect(await statusOf(chat(parts(image("data:image/png,AAAA"))))).toBe(400)
    expect(await statusOf(chat(parts(sound("A".repeat(133_340)))))).toBe(413)
    expect(await statusOf(chat(parts(image(await pngUrl(101, 100)))))).toBe(400)
    const small = image(await pngUrl(2, 2))
    expect((await chat(parts(small, small))).status).toBe(200)
    expect(await statusOf(chat(parts(small, small, small)))).toBe(400)
    const header = Buffer.from(wavFile(new Float32Array(1)))
    header.writeUInt32LE(0x7fffff00, 40) // claims two gigabytes
    expect((await chat(parts(sound(base64(header))))).status).toBe(200)
    for (const url of ["file:///etc/passwd", "http://127.0.0.1/", "ftp://a/b", "javascript:1", "data:"])
      expect(await statusOf(chat(parts(image(url))))).toBe(400)
  })

  test("bombs: a small file of a huge picture, sound without end, compressed bodies", async () => {
    const huge = await sharp({ create: { width: 9000, height: 9000, channels: 3, background: "#000" } })
      .png()
      .toBuffer()
    expect(huge.length).toBeLessThan(1_000_000) // 243 MB of pixels
    await using open = await serve({ limits: { maxSeconds: 2 } })
    const url = `data:image/png;base64,${huge.toString("base64")}`
    const before = process.memoryUsage.rss()
    const picture = await open.post("/v1/chat/completions", parts({ type: "image_url", image_url: { url } }))
    expect([picture.status, await picture.text()]).toEqual([400, expect.stringContaining("pixels")])
    expect(process.memoryUsage.rss() - before).toBeLessThan(150 * 2 ** 20)
    const data = base64(wavFile(tone(3)))
    const sound = parts({ type: "input_audio", input_audio: { data, format: "wav" } })
    expect((await open.post("/v1/chat/completions", sound)).status).toBe(400)
    const zipped = await fetch(`${host.url}/v1/chat/completions`, {
      method: "POST",
      body: gzipSync(Buffer.alloc(10_000_000, " ")),
      headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json", "content-encoding": "gzip" },
    })
    expect(zipped.status).toBe(400)
  })

  test("multipart: no file, no form, a broken boundary", async () => {
    const headers = { authorization: `Bearer ${KEY}` }
    const send = (body: BodyInit, type?: string) =>
      fetch(`${host.url}/v1/audio/transcriptions`, {
        method: "POST",
        body,
        headers: type ? { ...headers, "content-type": type } : headers,
      })
    const form = new FormData()
    form.set("model", model)
    expect((await send(form)).status).toBe(400)
    expect((await send("a", "multipart/form-data")).status).toBe(400)
    expect((await send("--x\r\n", "multipart/form-data; boundary=x")).status).toBe(400)
    expect((await send("{}", "application/json")).status).toBe(415)
    form.set("__proto__", "x")
    form.set("file", new Blob([wavFile(tone(0.5))]), "a.wav")
    expect((await send(form)).status).toBe(200)
  })

  test("headers without end are cut off", async () => {
    expect(await raw("/v1/models", { authorization: `Bearer ${KEY}`, "x-big": "x".repeat(20_000) })).toBe(431)
  })
})

test("nothing of requests or keys is in the log, nor in the metrics", async () => {
  const secrets = [KEY, OTHER, "Mine", "top secret words", "secret-name"]
  await host.post("/v1/chat/completions", { model, messages: user("top secret words") })
  await host.post("/v1/chat/completions", { model, messages: user("top secret words crash") })
  const broken = await host.post("/v1/chat/completions?key=secret-name", { model, messages: user("broken") })
  expect(broken.status).toBe(500)
  expect(await broken.text()).not.toContain("a secret of the engine")
  await host.post("/v1/chat/completions", { model: "secret-name", messages: user("x") })
  await fetch(`${host.url}/secret-name`)
  await host.post("/v1/audio/speech", { model, input: "top secret words", voice: "secret-name" })
  const client = connect(`${host.url.replace("http", "ws")}/v1/realtime?api_key=secret-name`, {
    headers: { authorization: `Bearer ${KEY}` },
  })
  await client.seen("session.created")
  const secret = { "secret-name": 1, instructions: "top secret words", audio: { output: { voice: "secret-name" } } }
  client.send({ type: "session.update", session: secret }, { type: "secret-name" }, said("top secret words"), RESPOND)
  await client.seen("response.done")
  client.socket.close()
  await client.closed
  const metrics = await (await fetch(`${host.url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text()
  const all = host.lines.join("") + metrics
  expect(all).toContain('"message":"realtime session"')
  expect(all).toContain('"message":"realtime: fields not known"')
  expect(host.lines.length).toBeGreaterThan(20)
  for (const secret of secrets) expect(all).not.toContain(secret)
  for (const line of host.lines)
    expect(JSON.parse(line)).toMatchObject({ time: expect.any(String), message: expect.any(String) })
})

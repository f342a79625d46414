/** @file A server under load and at its end: the queue, rates, times, clients that leave, engines that die, draining. */
import { setTimeout as sleep } from "node:timers/promises"
import { afterEach, describe, expect, test } from "vitest"
import { WebSocket } from "ws"
import { parseServerEvent } from "../protocol/index.ts"
import { KEY, serve, type TestServer, user } from "./http.test-util.ts"
import type { ServerOptions } from "./server.ts"

const model = "fake-o"
const running: TestServer[] = []
afterEach(async () => {
  for (const host of running.splice(0)) await host[Symbol.asyncDispose]()
})

async function start(options: Partial<ServerOptions> = {}): Promise<TestServer> {
  const host = await serve(options)
  running.push(host)
  return host
}

const ask = (host: TestServer, text: string, more: object = {}) =>
  host.post("/v1/chat/completions", { model, messages: user(text), ...more })

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 4000 && !holds(); i++) await sleep(5)
  expect(holds()).toBe(true)
}

describe("the queue", () => {
  test("lets so many work at once, tells the place of others, refuses beyond its length", async () => {
    const host = await start({ maxSessions: 2, maxQueue: 2 })
    const answers = Array.from({ length: 4 }, () => ask(host, "held one"))
    await until(() => host.server.context.admission.waiting === 2)
    const refused = await ask(host, "one too many")
    expect([refused.status, refused.headers.get("x-omni-queue-length")]).toEqual([503, "2"])
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0)
    expect(await (await fetch(`${host.url}/ready`)).json()).toMatchObject({ ready: true, running: 2, queue: 2 })
    host.engine.release()
    const done = await Promise.all(answers)
    expect(done.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    expect(done.map(({ headers }) => headers.get("x-omni-queue-position"))).toEqual([null, null, "1", "2"])
    expect(host.engine.mostRunning).toBe(2)
    expect(host.server.context.admission).toMatchObject({ running: 0, waiting: 0 })
  })

  test("forgets a client that leaves while it waits", async () => {
    const host = await start({ maxSessions: 1, maxQueue: 5 })
    const first = ask(host, "held one")
    await until(() => host.engine.running === 1)
    const controller = new AbortController()
    const waiting = host.client.chat.completions.create(
      { model, messages: user("never") },
      { signal: controller.signal },
    )
    await until(() => host.server.context.admission.waiting === 1)
    controller.abort()
    await expect(waiting).rejects.toThrow()
    await until(() => host.server.context.admission.waiting === 0)
    host.engine.release()
    await first
    expect(host.engine.questions.length).toBe(1)
  })

  test("gives places back when streams end, break, or are left", async () => {
    const host = await start({ maxSessions: 1 })
    await (await ask(host, "hello", { stream: true })).text()
    expect(await (await ask(host, "crash", { stream: true })).text()).toContain('"code":"engine_stopped"')
    const controller = new AbortController()
    const stream = await host.client.chat.completions.create(
      { model, messages: user("held one"), stream: true },
      { signal: controller.signal },
    )
    for await (const _ of stream) break
    await until(() => host.engine.running === 0 && host.server.context.admission.running === 0)
    expect((await ask(host, "crash")).status).toBe(503)
    expect((await ask(host, "broken")).status).toBe(500)
    expect((await ask(host, "fine")).status).toBe(200)
    expect(host.server.context.admission.running).toBe(0)
  })
})

describe("rates", () => {
  test("are counted per key, and told", async () => {
    let nowMs = 1_000_000
    const host = await start({ keys: [KEY, "sk-test-two"], requestsPerMinute: 2, nowMs: () => nowMs })
    const get = (key: string) => fetch(`${host.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })
    const remaining = async () => (await get(KEY)).headers.get("x-ratelimit-remaining-requests")
    expect([await remaining(), await remaining()]).toEqual(["1", "0"])
    const refused = await get(KEY)
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "30"])
    expect(await refused.json()).toMatchObject({ error: { type: "rate_limit_exceeded", code: "rate_limit_exceeded" } })
    expect((await get("sk-test-two")).status).toBe(200)
    nowMs += 30_000
    expect((await get(KEY)).status).toBe(200)
    expect((await get(KEY)).status).toBe(429)
  })
})

describe("time", () => {
  test("an engine that gives nothing ends the request", async () => {
    const host = await start({ limits: { idleMs: 50 } })
    const response = await ask(host, "silent")
    expect([response.status, await response.json()]).toMatchObject([504, { error: { code: "timeout" } }])
    expect(host.engine.running).toBe(0)
  })

  test("a request has a longest time, in a stream as well", async () => {
    const host = await start({ limits: { totalMs: 500 } })
    const long = `slow ${"word ".repeat(100)}`
    expect((await ask(host, long)).status).toBe(504)
    expect(await (await ask(host, long, { stream: true })).text()).toMatch(
      /data: \{"error":\{[^\n]*"code":"timeout"\}\}\n\n$/,
    )
    expect(host.server.context.admission.running).toBe(0)
  })
})

describe("the end", () => {
  test("drains: what runs ends, what is new is refused", async () => {
    const host = await serve({ maxSessions: 1 })
    const answer = ask(host, "held one")
    await until(() => host.engine.running === 1)
    const queued = ask(host, "waits in the queue")
    await until(() => host.server.context.admission.waiting === 1)
    const closed = host.server.close(30_000)
    host.engine.release()
    const done = await answer
    expect([
      done.status,
      ((await done.json()) as { choices: { finish_reason: string }[] }).choices[0]!.finish_reason,
    ]).toEqual([200, "stop"])
    expect((await queued).status).toBe(503)
    await closed
    await expect(ask(host, "too late")).rejects.toThrow()
  })

  test("after its grace it ends what still runs, with an error", async () => {
    const host = await serve()
    const stream = ask(host, "held one", { stream: true })
    await until(() => host.engine.running === 1)
    const body = (await stream).text()
    await host.server.close(50)
    expect(await body).toContain('"code":"stopping"')
    expect(host.engine.running).toBe(0)
  })
})

describe("beside the API", () => {
  test("Realtime is on the same port, with keys and secrets of the same server", async () => {
    const host = await start()
    const response = await host.post("/v1/realtime/client_secrets", { session: { type: "realtime" } })
    const secret = (await response.json()) as { value: string; owner?: string }
    expect(secret.value).toMatch(/^ek_/)
    expect(secret.owner).toBeUndefined()
    expect((await host.post("/v1/realtime/client_secrets", { expires_after: { seconds: 1 } })).status).toBe(400)
    const socket = new WebSocket(`${host.url.replace("http", "ws")}/v1/realtime?model=default`, {
      headers: { authorization: `Bearer ${secret.value}` },
    })
    const first = await new Promise<string>((resolve, reject) => {
      socket.once("message", (data: Buffer) => resolve(data.toString("utf8")))
      socket.once("error", reject)
    })
    expect(parseServerEvent(first)?.type).toBe("session.created")
    expect(
      await (await fetch(`${host.url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text(),
    ).toContain("omni_realtime_sessions 1")
    socket.close()
    await new Promise((resolve) => socket.once("close", resolve))
  })

  test("metrics count requests, tokens and times of sound", async () => {
    const host = await start()
    await ask(host, "hello")
    await ask(host, "hello", { modalities: ["text", "audio"], audio: { voice: "alloy", format: "wav" } })
    const text = await (await fetch(`${host.url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text()
    for (const line of [
      'omni_requests_total{route="/v1/chat/completions",status="200"} 2',
      "omni_prompt_tokens_total 14",
      "omni_completion_tokens_total 6",
      "omni_first_sound_seconds_count 1",
      "omni_speech_real_time_factor_count 1",
      "omni_ready 1",
      "omni_requests_waiting 0",
    ])
      expect(text).toContain(line)
    expect(text).toMatch(/omni_server_memory_bytes [1-9]/)
  })

  test("the OpenAPI document names every route, and no other", async () => {
    const host = await start()
    const routes = host.server.routes.map(
      ({ method, path }) => `${method} ${path.replaceAll(/:(\w+)(\{[^}]*\})?/g, "{$1}")}`,
    )
    const document = (await (await fetch(`${host.url}/openapi.json`)).json()) as {
      openapi: string
      paths: Record<string, object>
    }
    expect(document.openapi).toBe("3.1.0")
    const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    expect(documented.sort()).toEqual([...routes, "GET /v1/realtime"].sort())
    expect(JSON.stringify(document.paths["/v1/chat/completions"])).toContain("response_format")
  })

  test("pages of other origins ask only when they are allowed to", async () => {
    const host = await start({ origins: ["https://app.example"] })
    const preflight = (origin: string) =>
      fetch(`${host.url}/v1/models`, { method: "OPTIONS", headers: { origin, "access-control-request-method": "GET" } })
    const allowed = await preflight("https://app.example")
    expect(allowed.headers.get("access-control-allow-origin")).toBe("https://app.example")
    expect(allowed.headers.get("access-control-expose-headers")).toContain("location")
    expect((await preflight("https://evil.example")).headers.get("access-control-allow-origin")).toBe(null)
    const headers = { authorization: `Bearer ${KEY}`, origin: "https://app.example" }
    const answer = await fetch(`${host.url}/v1/models`, { headers })
    expect([answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([200, "https://app.example"])
    expect(answer.headers.get("x-request-id")).toMatch(/^req_/)
  })
})

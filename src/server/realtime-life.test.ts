/** @file Realtime connections from their beginning to their end: who may open them, who waits, who is cut, engines that die. */
import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { afterEach, describe, expect, test } from "vitest"
import { BackendError } from "../util/index.ts"
import { WORDS } from "./fake-call.test-util.ts"
import { KEY, serve, type TestServer } from "./http.test-util.ts"
import { append, COMMIT, connect, LOUD, MANUAL, RESPOND, said } from "./realtime.test-util.ts"
import type { ServerOptions } from "./server.ts"

const OTHER = "sk-test-two"
const ANSWER = `assistant: ${WORDS.join("")}`
const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function start(
  options: Partial<ServerOptions> = {},
): Promise<TestServer & { dial: typeof dial; address: string }> {
  const host = await serve(options)
  closers.push(() => host[Symbol.asyncDispose]())
  const address = `${host.url.replace("http", "ws")}/v1/realtime`
  const dial = (query = "?model=fake-o", key = KEY, more: Parameters<typeof connect>[1] = {}) => {
    const client = connect(address + query, { headers: { authorization: `Bearer ${key}` }, ...more })
    closers.push(() => client.socket.terminate())
    return client
  }
  return { ...host, dial, address }
}
declare const dial: (query?: string, key?: string, more?: Parameters<typeof connect>[1]) => ReturnType<typeof connect>

/** How an upgrade is answered: its status, headers and error. */
async function upgrade(url: string, options: Parameters<typeof connect>[1]) {
  const { socket } = connect(url, options)
  const answer = await Promise.race([
    once(socket, "open").then(() => undefined),
    once(socket, "unexpected-response").then(([, response]) => response),
  ])
  if (!answer) {
    const { protocol } = socket
    socket.terminate()
    return { status: 101, protocol }
  }
  let body = ""
  for await (const piece of answer) body += piece
  return { status: answer.statusCode as number, headers: answer.headers, error: JSON.parse(body).error }
}

describe("who may connect", () => {
  test("keys by header or sub-protocol; others get 401 and 403", async () => {
    const { address } = await start({ keys: [KEY, OTHER] })
    const status = async (headers: Record<string, string>, protocols: string[] = []) =>
      (await upgrade(address, { headers, protocols })).status
    expect(await upgrade(address, {})).toMatchObject({ status: 401, error: { code: "invalid_api_key" } })
    expect(await status({ authorization: "Bearer wrong" })).toBe(401)
    expect(await status({ authorization: `Bearer ${KEY}` })).toBe(101)
    expect(await status({ authorization: `Bearer ${KEY}`, origin: "https://elsewhere.example" })).toBe(403)
    expect(await status({ authorization: `Bearer ${KEY}`, origin: "null" })).toBe(403)
    const inProtocol = [`realtime`, `openai-insecure-api-key.${OTHER}`, "openai-agents-sdk.1.0"]
    expect(await upgrade(address, { protocols: inProtocol })).toEqual({ status: 101, protocol: "realtime" })
    expect(await status({}, ["realtime", "openai-insecure-api-key.ek_unknown"])).toBe(401)
  })

  test("client secrets: used often, until they expire; a running session outlives them", async () => {
    let nowMs = 1_700_000_000_000
    const { address, post } = await start({ nowMs: () => nowMs })
    const session = { type: "realtime", instructions: "From the secret." }
    const made = await post("/v1/realtime/client_secrets", {
      expires_after: { anchor: "created_at", seconds: 10 },
      session,
    })
    const { value, expires_at } = (await made.json()) as { value: string; expires_at: number }
    expect(expires_at).toBe(nowMs / 1000 + 10)
    const protocols = ["realtime", `openai-insecure-api-key.${value}`]
    const clients = [connect(address, { protocols }), connect(address, { protocols })]
    for (const client of clients)
      expect((await client.seen("session.created")).session.instructions).toBe("From the secret.")
    nowMs += 10_000
    expect((await upgrade(address, { protocols })).status).toBe(401)
    clients[0]!.send(said("hi"), RESPOND)
    expect((await clients[0]!.seen("response.done")).response.status).toBe("completed")
    // A secret opens sessions and nothing else.
    const models = await fetch(address.replace("ws", "http").replace("/realtime", "/models"), {
      headers: { authorization: `Bearer ${value}` },
    })
    expect(models.status).toBe(401)
  })

  test("another key's voices and calls are not there", async () => {
    const host = await start({ keys: [KEY, OTHER] })
    const form = new FormData()
    form.set("name", "Mine")
    const { tone, wavFile } = await import("./http.test-util.ts")
    form.set("audio_sample", new Blob([wavFile(tone(1.5))]), "voice.wav")
    const headers = { authorization: `Bearer ${KEY}` }
    const stored = await fetch(`${host.url}/v1/audio/voices`, { method: "POST", body: form, headers })
    const { id } = (await stored.json()) as { id: string }
    const use = (voice: unknown) => ({
      type: "session.update",
      session: { type: "realtime", audio: { output: { voice } } },
    })
    const [mine, other] = [host.dial(), host.dial("", OTHER)]
    await Promise.all([mine.seen("session.created"), other.seen("session.created")])
    other.send(use("Mine"), use({ id }))
    await other.seen("error", 2)
    mine.send(use("Mine"), use({ id }), said("hi"), RESPOND)
    await mine.seen("response.done")
    expect(host.engine.calls[0]!.options.voice?.sampleRateHz).toBe(16_000)
    const attach = await upgrade(`${host.address}?call_id=rtc_1`, { headers: { authorization: `Bearer ${OTHER}` } })
    expect(attach.status).toBe(404)
  })
})

test("answers of calls are measured like others", async () => {
  const { dial, url } = await start()
  const client = dial()
  await client.seen("session.created")
  client.send(said("hi"), RESPOND)
  await client.seen("response.done")
  const text = await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text()
  for (const line of [
    "omni_realtime_sessions 1",
    "omni_realtime_waiting 0",
    "omni_prompt_tokens_total 7",
    "omni_first_text_seconds_count 1",
    "omni_engine_calls 1",
  ])
    expect(text).toContain(line)
})

test("two sessions at once never mix sound, words or items", async () => {
  const { dial, engine } = await start()
  const clients = [dial(), dial()]
  for (const [i, client] of clients.entries()) {
    await client.seen("session.created")
    client.send(MANUAL, said(`I am ${i}`))
    for (let n = 0; n < 5; n++) client.send(append(LOUD, 100 * (i + 1)))
    client.send(COMMIT, RESPOND)
  }
  for (const client of clients) await client.seen("response.done")
  const contexts = engine.calls.map(({ context }) => context)
  expect(contexts).toContainEqual(["user: I am 0", "heard 500", ANSWER])
  expect(contexts).toContainEqual(["user: I am 1", "heard 1000", ANSWER])
  const ids = clients.map(({ events }) => events.flatMap((event) => ("item_id" in event ? [event.item_id] : [])))
  expect(ids[0]!.some((id) => ids[1]!.includes(id))).toBe(false)
  for (const { samples } of clients) expect(samples).toBe(WORDS.length * 4800)
})

describe("a full server", () => {
  test("refuses at once, with the queue's length, or lets wait and tells where one stands", async () => {
    const { dial, address, url } = await start({ maxSessions: 1, maxQueue: 2 })
    const first = dial()
    await first.seen("session.created")
    const headers = { authorization: `Bearer ${KEY}` }
    expect(await upgrade(address, { headers })).toMatchObject({
      ...{ status: 503, error: { code: "queue_full" } },
      headers: { "x-omni-queue-length": "0", "retry-after": "2" },
    })
    const second = dial("?queue=true")
    expect(await second.seen("session.queued")).toMatchObject({ position: 0, length: 1 })
    const third = dial("?queue=true")
    expect(await third.seen("session.queued")).toMatchObject({ position: 1, length: 2 })
    expect((await upgrade(`${address}?queue=true`, { headers })).status).toBe(503)
    expect(await (await fetch(`${url}/ready`)).json()).toMatchObject({ sessions: 1, sessionQueue: 2 })
    // What is sent while waiting counts.
    second.send(said("early"), RESPOND)
    first.socket.close()
    expect((await second.seen("response.done")).response.status).toBe("completed")
    expect(await third.seen("session.queue_update")).toMatchObject({ position: 0, length: 1 })
    second.socket.close()
    await third.seen("session.created")
    expect(third.order.slice(0, 3)).toEqual(["session.queued", "session.queue_update", "session.created"])
  })

  test("forgets who leaves the queue, and cuts who floods it", async () => {
    const { dial, server } = await start({ maxSessions: 1, maxQueue: 5 })
    await dial().seen("session.created")
    const waiting = dial("?queue=true")
    await waiting.seen("session.queued")
    waiting.socket.close()
    await expect.poll(() => server.context.sessions.waiting).toBe(0)
    const flood = dial("?queue=true")
    await flood.seen("session.queued")
    for (let i = 0; i < 70; i++) flood.send(said("x"))
    expect(await flood.closed).toBe(1008)
  })

  test("does not take more while a call hears its sound too late", async () => {
    const { dial, address, engine } = await start({ maxSessions: 8, maxBehindMs: 500 })
    const first = dial()
    await first.seen("session.created")
    first.send(MANUAL, append(0, 100))
    await expect.poll(() => engine.calls.length).toBe(1)
    const hold = engine.calls[0]!.hold()
    first.send(append(0, 600))
    await expect
      .poll(async () => (await upgrade(address, { headers: { authorization: `Bearer ${KEY}` } })).status)
      .toBe(503)
    const second = dial("?queue=true")
    await second.seen("session.queued")
    hold()
    await second.seen("session.created")
  })
})

describe("clients that behave badly", () => {
  test("binary, oversized, silent and old ones are closed with their codes", async () => {
    const { dial } = await start({ realtime: { maxFrameBytes: 1000 } })
    const closed = async (data: Buffer | string) => {
      const client = dial()
      await client.seen("session.created")
      client.socket.send(data)
      return await client.closed
    }
    expect(await closed(Buffer.from([1, 2, 3]))).toBe(1003)
    expect(await closed("x".repeat(2000))).toBe(1009)
    const silent = await start({ realtime: { idleMs: 60, pingMs: 20 } })
    expect(await silent.dial().closed).toBe(1008)
    const old = await start({ realtime: { lifetimeMs: 60 } })
    expect(await old.dial().closed).toBe(1008)
  })

  test("a slow reader is cut; others are not", async () => {
    const { dial, url } = await start({ realtime: { maxUnsentBytes: 200_000 } })
    const [slow, good] = [dial(), dial()]
    await Promise.all([slow.seen("session.created"), good.seen("session.created")])
    slow.socket.pause()
    // It asks for its own large item again and again, and reads nothing.
    slow.send(said("x".repeat(500_000), "large"))
    for (let i = 0; i < 40; i++) slow.send({ type: "conversation.item.retrieve", item_id: "large" })
    await expect
      .poll(async () => await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text())
      .toContain('omni_realtime_cut_total{reason="slow_reader"} 1')
    good.send(said("hi"), RESPOND)
    expect((await good.seen("response.done")).response.status).toBe("completed")
  })

  test("garbage and silent connections are bounded and leave others unharmed", async () => {
    const { dial, address, server } = await start({ maxSessions: 20, maxQueue: 0 })
    const good = dial()
    await good.seen("session.created")
    let refused = 0
    for (let batch = 0; batch < 10; batch++) {
      const headers = { authorization: `Bearer ${KEY}` }
      const sockets = Array.from({ length: 50 }, () => connect(address, { headers }).socket)
      await Promise.all(
        sockets.map(async (socket, index) => {
          const opened = await Promise.race([
            once(socket, "open").then(() => true),
            once(socket, "unexpected-response").then(() => false),
          ])
          if (!opened) refused++
          else if (index % 3 === 0) socket.send("{garbage")
          else if (index % 3 === 1) socket.send(Buffer.from([0, 255]))
        }),
      )
      expect(server.context.sessions.running).toBeLessThanOrEqual(20)
      for (const socket of sockets) socket.terminate()
      await expect.poll(() => server.context.sessions.running).toBe(1)
    }
    expect(refused).toBeGreaterThanOrEqual(10 * 10)
    good.send(append(LOUD), append(0))
    expect((await good.seen("response.done")).response).toMatchObject({ status: "completed" })
  }, 20_000)
})

describe("the engine dies", () => {
  test("amid an answer: an error, then the call goes on from its last saved state", async () => {
    const { dial, engine } = await start()
    const client = dial()
    await client.seen("session.created")
    client.send(append(LOUD), append(0))
    await client.seen("response.done")
    engine.stepMs = 50
    client.send(said("second"), RESPOND)
    await client.seen("response.output_audio.delta", WORDS.length + 1)
    engine.die()
    const { response } = await client.seen("response.done", 2)
    expect(response).toMatchObject({ status: "failed", status_details: { error: { code: "engine_error" } } })
    expect(client.of("error")).toMatchObject([{ error: { type: "server_error", code: "engine_error" } }])
    for (let i = 0; i < 20; i++) client.send(append(0, 20))
    await sleep(50)
    expect(client.of("error")).toHaveLength(1)
    engine.revive()
    client.send(said("third"), RESPOND)
    expect((await client.seen("response.done", 3)).response.status).toBe("completed")
    expect(client.of("omni.context.changed")).toMatchObject([{ reason: "restored" }])
    const { context } = engine.calls.at(-1)!
    expect(context.slice(0, 4)).toEqual(["heard 200", ANSWER, "user: second", "assistant: One "])
    expect(context.slice(-2)).toEqual(["text third", ANSWER])
  })

  test("where states are too large to save, the items are read again, with their sound", async () => {
    const { dial, engine } = await start({ realtime: { maxSavedBytes: 0 } })
    const client = dial()
    await client.seen("session.created")
    client.send(append(LOUD), append(0))
    await client.seen("response.done")
    engine.die()
    client.send(append(0))
    await client.seen("error")
    engine.revive()
    client.send(said("second"), RESPOND)
    await client.seen("response.done", 2)
    expect(client.of("omni.context.changed")).toMatchObject([{ reason: "rebuilt" }])
    expect(engine.calls.at(-1)!.context.filter((line) => line !== "heard 100")).toEqual([
      ...["heard 200", ANSWER, "user: second", ANSWER],
    ])
  })

  test("in the middle of speech: it goes on, all of it is heard by the next call", async () => {
    const { dial, engine } = await start()
    const client = dial()
    await client.seen("session.created")
    client.send(append(0, 2000), append(LOUD, 300))
    const { item_id } = await client.seen("input_audio_buffer.speech_started")
    engine.die()
    client.send(append(LOUD, 200))
    await client.seen("error")
    engine.revive()
    client.send(append(LOUD, 100), append(0))
    expect((await client.seen("response.done")).response.status).toBe("completed")
    expect(engine.calls.at(-1)!.context).toEqual(["heard 700", ANSWER])
    expect(client.of("input_audio_buffer.speech_started")).toHaveLength(1)
    expect(client.of("input_audio_buffer.committed")).toMatchObject([{ item_id }])
    expect(client.of("input_audio_buffer.speech_stopped")).toMatchObject([{ item_id, audio_end_ms: 2700 }])
    expect(client.of("omni.context.changed")).toEqual([])
  })

  test("in the middle of speech after an answer: the saved state goes on with all of it, once", async () => {
    const { dial, engine } = await start()
    const client = dial()
    await client.seen("session.created")
    client.send(append(LOUD), append(0))
    await client.seen("response.done")
    client.send(said("words", "words"))
    await expect.poll(() => engine.calls[0]!.context).toEqual(["heard 200", ANSWER, "text words"])
    client.send(append(0), append(LOUD, 300))
    await client.seen("input_audio_buffer.speech_started", 2)
    engine.die()
    client.send(append(LOUD, 200))
    await client.seen("error")
    engine.revive()
    client.send(append(0))
    await client.seen("response.done", 2)
    expect(client.of("omni.context.changed")).toMatchObject([{ reason: "restored" }])
    expect(engine.calls.at(-1)!.context).toEqual(["heard 200", ANSWER, "user: words", "heard 600", ANSWER])
    expect(client.of("input_audio_buffer.committed")).toHaveLength(2)
    const [, stopped] = client.of("input_audio_buffer.speech_stopped")
    expect(stopped).toMatchObject({ audio_end_ms: 900 })
  })

  test("before it took what it was given: that is heard by the next call, with what led to it", async () => {
    const { dial, engine } = await start()
    const client = dial()
    await client.seen("session.created")
    client.send(append(0, 3000))
    await expect.poll(() => engine.calls[0]?.context).toEqual(["heard 3000"])
    const hold = engine.calls[0]!.hold()
    client.send(append(0, 500), append(0, 400))
    await expect.poll(() => engine.calls[0]!.context).toEqual(["heard 3900"])
    engine.die()
    hold()
    client.send(append(0))
    await client.seen("error")
    engine.revive()
    client.send(append(0))
    // A second of what was taken, where speech that was not found yet may have begun.
    await expect.poll(() => engine.calls.at(-1)!.context).toEqual(["heard 2100"])
  })

  test("again before it took anything: no more is heard again than after the first time", async () => {
    const { dial, engine } = await start()
    const client = dial()
    await client.seen("session.created")
    client.send(append(0, 5000))
    await expect.poll(() => engine.calls[0]?.context).toEqual(["heard 5000"])
    engine.die()
    const { call } = engine
    engine.call = async () => await Promise.reject(new BackendError("engine: expected it to run on, got: killed"))
    client.send(append(0))
    await client.seen("error")
    engine.revive()
    for (let errors = 2; errors <= 4; errors++) {
      client.send(append(0))
      await client.seen("error", errors)
    }
    engine.call = call
    client.send(append(0))
    await expect.poll(() => engine.calls.at(-1)!.context).toEqual(["heard 1500"])
  })

  test("after a turn that was found while the state was saved: it is heard once", async () => {
    const { dial, engine } = await start()
    const client = dial()
    await client.seen("session.created")
    const turn_detection = { type: "server_vad", create_response: false }
    client.send({ type: "session.update", session: { audio: { input: { turn_detection } } } }, append(0, 200))
    await expect.poll(() => engine.calls[0]?.context).toEqual(["heard 200"])
    const call = engine.calls[0]!
    const { snapshot } = call
    const saving = Promise.withResolvers<void>()
    call.snapshot = async () => {
      const saved = await snapshot()
      call.report({ type: "speech-start", atMs: 200, startMs: 0 })
      call.report({ type: "speech-end", atMs: 200, endMs: 200 })
      saving.resolve()
      return saved
    }
    client.send(RESPOND)
    await saving.promise
    await client.seen("input_audio_buffer.committed")
    engine.die()
    client.send(said("hello"))
    await client.seen("error")
    engine.revive()
    client.send(RESPOND)
    await client.seen("response.done", 2)
    expect(engine.calls).toHaveLength(2)
    expect(engine.calls[1]!.context.filter((line) => line.startsWith("heard"))).toEqual(["heard 200"])
  })

  test("in the middle of long speech: a minute of it is heard again, and the rest is told to be lost", async () => {
    const { dial, engine } = await start({ realtime: { maxSavedBytes: 0 } })
    const client = dial()
    await client.seen("session.created")
    for (let i = 0; i < 8; i++) client.send(append(LOUD, 9000))
    await expect.poll(() => engine.calls[0]?.context).toEqual(["heard 72000"])
    engine.die()
    client.send(append(LOUD, 500))
    await client.seen("error")
    engine.revive()
    client.send(append(LOUD, 500), append(0))
    await client.seen("response.done")
    expect(engine.calls.at(-1)!.context[0]).toBe("heard 60600")
    expect(client.of("omni.context.changed")).toMatchObject([{ reason: "input_dropped" }])
  })

  test("while the client speaks by hand: nothing of the turn is lost", async () => {
    const { dial, engine } = await start()
    const client = dial()
    await client.seen("session.created")
    client.send(MANUAL, append(LOUD, 300))
    await expect.poll(() => engine.calls[0]?.context).toEqual(["heard 300"])
    engine.die()
    client.send(append(LOUD, 200))
    await client.seen("error")
    client.send(append(LOUD, 100), COMMIT, RESPOND)
    engine.revive()
    expect((await client.seen("response.done")).response.status).toBe("completed")
    expect(engine.calls.at(-1)!.context).toEqual(["heard 600", ANSWER])
  })
})

test("the end: answers may end, then sessions are closed and new ones refused", async () => {
  const host = await start()
  host.engine.stepMs = 30
  const [busy, idle] = [host.dial(), host.dial()]
  await Promise.all([busy.seen("session.created"), idle.seen("session.created")])
  busy.send(said("hi"), RESPOND)
  await busy.seen("response.output_audio.delta")
  const closed = host.server.close(5000)
  expect(await idle.closed).toBe(1001)
  expect((await busy.seen("response.done")).response.status).toBe("completed")
  expect(await busy.closed).toBe(1001)
  await closed
  expect(host.engine.calls.every(({ isOpen }) => !isOpen)).toBe(true)
})

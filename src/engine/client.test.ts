/** @file The client against a host over a port in memory, whose messages are cloned like those between threads. */
import { setImmediate } from "node:timers/promises"
import { describe, expect, test } from "vitest"
import type { AnswerEvent } from "../session/index.ts"
import { BackendError, CheckpointError, ConfigError, InputError, ShapeError } from "../util/index.ts"
import { EngineClient, type EnginePort } from "./client.ts"
import { EngineHost, type EngineHostParts } from "./host.ts"
import { type Command, type EngineEvent, errorFromData, errorToData } from "./messages.ts"
import { asking, fakeModel, LOAD } from "./model.test-util.ts"

/** A client and what happened to its host. */
function connect(load: EngineHostParts["load"] = () => Promise.resolve(fakeModel())) {
  const commands: Command[] = []
  const eventListeners: ((event: EngineEvent) => void)[] = []
  const exitListeners: ((reason: string) => void)[] = []
  let dead = false
  const host = new EngineHost({
    load,
    post: (event) => {
      const copy = structuredClone(event)
      if (!dead) for (const listener of eventListeners) listener(copy)
    },
    breathe: () => setImmediate(),
  })
  const exit = (reason: string) => {
    dead = true
    for (const listener of exitListeners) listener(reason)
  }
  const port: EnginePort = {
    post(command) {
      const copy = structuredClone(command)
      commands.push(copy)
      if (dead) return
      void host.handle(copy).then(() => copy.type === "close" && exit("it was closed"))
    },
    onEvent: (listener) => void eventListeners.push(listener),
    onExit: (listener) => void exitListeners.push(listener),
    async close() {
      while (!dead) await setImmediate()
    },
  }
  return { client: new EngineClient(port), commands, exit }
}

async function connectLoaded() {
  const model = fakeModel()
  const parts = connect(() => Promise.resolve(model))
  const info = await parts.client.load(LOAD)
  return { ...parts, model, info }
}

async function collect(events: AsyncIterable<AnswerEvent>) {
  const texts: string[] = []
  for await (const event of events) texts.push(event.type === "text-delta" ? event.text : event.type)
  return texts
}

const LONG = asking("a ".repeat(1000))

describe("loading", () => {
  test("gives the model's facts and reports progress", async () => {
    const progress: [string, number][] = []
    const { client } = connect(async (_, onProgress) => {
      onProgress("loading", 0)
      onProgress("loading", 1)
      return fakeModel()
    })
    const info = await client.load(LOAD, { onProgress: (...step) => progress.push(step) })
    expect(info).toEqual(fakeModel().info)
    expect(progress).toEqual([
      ["loading", 0],
      ["loading", 1],
    ])
  })

  test("fails with the error of the other side, class and text", async () => {
    const { client } = connect(() => Promise.reject(new CheckpointError("x: expected y, got z")))
    await expect(client.load(LOAD)).rejects.toThrow(CheckpointError)
    await expect(client.load(LOAD)).rejects.toThrow("x: expected y, got z")
  })

  test("stops with the signal's reason", async () => {
    const { client } = connect(
      (_, __, signal) =>
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    )
    const controller = new AbortController()
    const loading = client.load(LOAD, { signal: controller.signal })
    controller.abort(new Error("changed my mind"))
    await expect(loading).rejects.toThrow("changed my mind")
    await expect(client.load(LOAD, { signal: controller.signal })).rejects.toThrow("changed my mind")
  })
})

describe("an answer", () => {
  test("arrives event by event", async () => {
    const { client, commands } = await connectLoaded()
    expect(await collect(client.chat(asking("one two")))).toEqual(["one", "two", "turn-end"])
    expect(commands.map(({ type }) => type)).toEqual(["load", "chat"])
  })

  test("keeps to its own call when several run", async () => {
    const { client } = await connectLoaded()
    const answers = await Promise.all(["a b c", "x y"].map((words) => collect(client.chat(asking(words)))))
    expect(answers).toEqual([
      ["a", "b", "c", "turn-end"],
      ["x", "y", "turn-end"],
    ])
  })

  test("is cancelled when the loop is left, and the next one works", async () => {
    const { client, commands, model } = await connectLoaded()
    for await (const event of client.chat(LONG)) if (event.type === "text-delta") break
    expect(commands.at(-1)).toEqual({ type: "cancel", id: 2 })
    while (!model.log.includes("end")) await setImmediate()
    expect(model.log.length).toBeLessThan(100)
    expect(await collect(client.chat(asking("b")))).toEqual(["b", "turn-end"])
  })

  test("stops with the signal's own reason", async () => {
    const { client, model } = await connectLoaded()
    const controller = new AbortController()
    const reading = (async () => {
      for await (const _ of client.chat(LONG, controller.signal)) controller.abort(new Error("enough"))
    })()
    await expect(reading).rejects.toThrow("enough")
    expect(model.log.at(-1)).toBe("end")
  })

  test("with an aborted signal asks for nothing", async () => {
    const { client, commands } = await connectLoaded()
    await expect(collect(client.chat(LONG, AbortSignal.abort(new Error("no"))))).rejects.toThrow("no")
    expect(commands).toHaveLength(1)
  })

  test("fails with the error of the other side", async () => {
    const { client, commands } = await connectLoaded()
    const failure = collect(client.chat(asking("a fail")))
    await expect(failure).rejects.toThrow(InputError)
    await expect(failure).rejects.toThrow("word: expected a good one, got fail")
    expect(commands.at(-1)!.type).toBe("chat") // nothing left to cancel
  })

  test("needs a model", async () => {
    const { client } = connect()
    await expect(collect(client.chat(asking("a")))).rejects.toThrow(ConfigError)
  })
})

describe("the end of the engine", () => {
  test("by a crash ends running calls with an error, and later ones at once", async () => {
    const { client, commands, exit } = await connectLoaded()
    const reading = (async () => {
      for await (const _ of client.chat(LONG)) exit("segmentation fault")
    })()
    await expect(reading).rejects.toThrow(BackendError)
    await expect(reading).rejects.toThrow("engine: expected it to run on, got: segmentation fault")
    const sent = commands.length
    const later = collect(client.chat(asking("a")))
    await expect(later).rejects.toThrow(BackendError)
    await expect(later).rejects.toThrow("engine: expected a live engine, got: segmentation fault")
    await expect(client.load(LOAD)).rejects.toThrow("got: segmentation fault")
    expect(commands).toHaveLength(sent)
  })

  test("by closing ends running calls as aborted", async () => {
    const { client, model } = await connectLoaded()
    const reading = collect(client.chat(LONG))
    const outcome = expect(reading).rejects.toThrow(expect.objectContaining({ name: "AbortError", message: "closed" }))
    await setImmediate()
    await client.close()
    await outcome
    expect(model.log.at(-1)).toBe("closed")
    await expect(collect(client.chat(LONG))).rejects.toThrow("engine: expected a live engine, got: it was closed")
  })
})

describe("errors as messages", () => {
  test.each([ShapeError, ConfigError, CheckpointError, InputError, BackendError])(
    "%o keeps its class and text",
    (Class) => {
      const error = errorFromData(structuredClone(errorToData(new Class("a: expected b, got c"))))
      expect(error).toBeInstanceOf(Class)
      expect(error).toEqual(new Class("a: expected b, got c"))
      expect(error.name).toBe(Class.name)
    },
  )

  test("cancellation stays cancellation", () => {
    const error = errorFromData(errorToData(new DOMException("stop", "AbortError")))
    expect([error.name, error.message]).toEqual(["AbortError", "stop"])
  })

  test("our own mistakes and things that are no errors keep their text", () => {
    expect(errorToData(new Error("internal: x"))).toEqual({ code: "internal", message: "internal: x" })
    expect(errorFromData({ code: "internal", message: "internal: x" })).toEqual(new Error("internal: x"))
    expect(errorToData("text")).toEqual({ code: "internal", message: "text" })
  })
})

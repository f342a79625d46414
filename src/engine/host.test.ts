/** @file The host: commands in, events out, with a fake model: no failure escapes, no model is freed under a step. */
import { setImmediate } from "node:timers/promises"
import { describe, expect, test } from "vitest"
import { CheckpointError } from "../util/index.ts"
import { EngineHost, type EngineHostParts, type EngineModel } from "./host.ts"
import type { EngineEvent } from "./messages.ts"
import { asking, fakeModel, LOAD } from "./model.test-util.ts"

/** A host that loads the given models one after another. */
function start(models: readonly EngineModel[], load?: EngineHostParts["load"]) {
  const events: EngineEvent[] = []
  const waiting = [...models]
  const host = new EngineHost({
    load: load ?? (() => Promise.resolve(waiting.shift()!)),
    post: (event) => events.push(event),
    breathe: () => setImmediate(),
  })
  const of = (id: number) => events.filter((event) => event.id === id)
  /** Resolves when an event of a call has come. */
  const seen = async (id: number, type: EngineEvent["type"]) => {
    while (!of(id).some((event) => event.type === type)) await setImmediate()
  }
  return { host, events, of, seen }
}

const texts = (events: readonly EngineEvent[]) =>
  events.flatMap((event) => (event.type === "answer" && event.event.type === "text-delta" ? [event.event.text] : []))

describe("loading", () => {
  test("reports progress, then what was loaded", async () => {
    const model = fakeModel()
    const { host, events } = start([], async (options, onProgress) => {
      expect(options).toEqual(LOAD)
      onProgress("quantizing", 0.5)
      return model
    })
    await host.handle({ type: "load", id: 1, options: LOAD })
    expect(events).toEqual([
      { type: "progress", id: 1, stage: "quantizing", fraction: 0.5 },
      { type: "loaded", id: 1, info: model.info },
    ])
  })

  test("that fails is an error event with its class, and the model before it stays", async () => {
    const first = fakeModel()
    let loads = 0
    const { host, of } = start([], () => {
      if (loads++ === 0) return Promise.resolve(first)
      return Promise.reject(new CheckpointError("a.safetensors: expected a file, got none"))
    })
    await host.handle({ type: "load", id: 1, options: LOAD })
    await host.handle({ type: "load", id: 2, options: LOAD })
    expect(of(2)).toEqual([
      { type: "error", id: 2, error: { code: "checkpoint", message: "a.safetensors: expected a file, got none" } },
    ])
    await host.handle({ type: "chat", id: 3, options: asking("still here") })
    expect(texts(of(3))).toEqual(["still", "here"])
  })

  test("can be cancelled; a model that comes too late is freed", async () => {
    const late = fakeModel()
    let finish = (_: EngineModel) => {}
    const { host, events } = start([], () => new Promise((resolve) => (finish = resolve)))
    const loading = host.handle({ type: "load", id: 1, options: LOAD })
    await host.handle({ type: "cancel", id: 1 })
    finish(late)
    await loading
    expect(events).toEqual([{ type: "error", id: 1, error: { code: "abort", message: "cancelled" } }])
    expect(late.log).toEqual(["closed"])
  })

  test("another model waits with freeing the first until its answers have ended", async () => {
    const [first, second] = [fakeModel("first"), fakeModel("second")]
    const { host, of, seen } = start([first, second])
    await host.handle({ type: "load", id: 1, options: LOAD })
    const answer = host.handle({ type: "chat", id: 2, options: asking("a b c d") })
    await seen(2, "answer")
    const loading = host.handle({ type: "load", id: 3, options: LOAD })
    await seen(3, "loaded")
    await host.handle({ type: "chat", id: 4, options: asking("new") })
    await Promise.all([answer, loading])
    expect(of(2).at(-1)).toEqual({ type: "done", id: 2 })
    expect(first.log).toEqual(["a", "b", "c", "d", "end", "closed"])
    expect(second.log).toEqual(["new", "end"])
  })
})

describe("the rest of a model", () => {
  /** A model that logs the steps of its rest; the third fails where told to. */
  function withRest(steps: number, failing = false) {
    const model = fakeModel()
    return {
      ...model,
      async *loadRest() {
        for (let i = 1; i <= steps; i++) {
          if (failing && i === 3) throw new Error("out of memory")
          model.log.push(`rest${i}`)
          yield
        }
      },
    }
  }

  test("is loaded when nobody waits; answers go first", async () => {
    const model = withRest(4)
    const { host } = start([model])
    await host.handle({ type: "load", id: 1, options: LOAD })
    await host.handle({ type: "chat", id: 2, options: asking("a b") })
    while (!model.log.includes("rest4")) await setImmediate()
    expect(model.log.filter((entry) => /^[ab]$|rest4/.test(entry))).toEqual(["a", "b", "rest4"])
  })

  test("that fails harms no answer", async () => {
    const model = withRest(4, true)
    const { host, events, of } = start([model])
    await host.handle({ type: "load", id: 1, options: LOAD })
    while (!model.log.includes("rest2")) await setImmediate()
    await setImmediate()
    await host.handle({ type: "chat", id: 2, options: asking("a") })
    expect(of(2).at(-1)).toEqual({ type: "done", id: 2 })
    expect(events.some(({ type }) => type === "error")).toBe(false)
  })

  test("stops before its model is freed, on closing and when another takes its place", async () => {
    const [first, second] = [withRest(1e6), withRest(1e6)]
    const { host } = start([first, second])
    await host.handle({ type: "load", id: 1, options: LOAD })
    await host.handle({ type: "load", id: 2, options: LOAD })
    expect(first.log.at(-1)).toBe("closed")
    await host.handle({ type: "close" })
    expect(second.log.at(-1)).toBe("closed")
  })
})

describe("answers", () => {
  test("without a model say what to do", async () => {
    const { host, events } = start([])
    await host.handle({ type: "chat", id: 5, options: asking("a") })
    const message = "engine: expected a loaded model, got none (load one first)"
    expect(events).toEqual([{ type: "error", id: 5, error: { code: "config", message } }])
  })

  test("are events in order, then done; silent steps are not told", async () => {
    const { host, of } = start([fakeModel()])
    await host.handle({ type: "load", id: 1, options: LOAD })
    await host.handle({ type: "chat", id: 2, options: asking("one two") })
    expect(of(2).map((event) => (event.type === "answer" ? event.event.type : event.type))).toEqual([
      "text-delta",
      "text-delta",
      "turn-end",
      "done",
    ])
  })

  test("of several conversations take turns", async () => {
    const model = fakeModel()
    const { host } = start([model])
    await host.handle({ type: "load", id: 1, options: LOAD })
    await Promise.all(
      ["a b c", "x y z"].map((words, i) => host.handle({ type: "chat", id: 2 + i, options: asking(words) })),
    )
    expect(model.log.filter((word) => word !== "end")).toEqual(["a", "x", "b", "y", "c", "z"])
  })

  test("that fail end alone", async () => {
    const { host, of } = start([fakeModel()])
    await host.handle({ type: "load", id: 1, options: LOAD })
    await Promise.all([
      host.handle({ type: "chat", id: 2, options: asking("a fail b") }),
      host.handle({ type: "chat", id: 3, options: asking("x y z") }),
    ])
    expect(of(2).at(-1)).toEqual({
      type: "error",
      id: 2,
      error: { code: "input", message: "word: expected a good one, got fail" },
    })
    expect(texts(of(3))).toEqual(["x", "y", "z"])
  })

  test("that are cancelled stop, clean up, and say so", async () => {
    const model = fakeModel()
    const { host, of, seen } = start([model])
    await host.handle({ type: "load", id: 1, options: LOAD })
    const answer = host.handle({ type: "chat", id: 2, options: asking("a ".repeat(1000)) })
    await seen(2, "answer")
    await host.handle({ type: "cancel", id: 2 })
    await answer
    expect(of(2).at(-1)).toEqual({ type: "error", id: 2, error: { code: "abort", message: "cancelled" } })
    expect(model.log.at(-1)).toBe("end")
    expect(model.log.length).toBeLessThan(100)
  })

  test("that ended, or never were, can be cancelled without effect", async () => {
    const { host, events } = start([])
    await host.handle({ type: "cancel", id: 77 })
    expect(events).toEqual([])
  })
})

describe("closing", () => {
  test("ends what runs before it frees the model", async () => {
    const model = fakeModel()
    const { host, of, seen } = start([model])
    await host.handle({ type: "load", id: 1, options: LOAD })
    const answer = host.handle({ type: "chat", id: 2, options: asking("a ".repeat(1000)) })
    await seen(2, "answer")
    await host.handle({ type: "close" })
    await answer
    expect(of(2).at(-1)).toEqual({ type: "error", id: 2, error: { code: "abort", message: "closed" } })
    expect(model.log.slice(-2)).toEqual(["end", "closed"])
  })

  test("without a model is nothing", async () => {
    const { host, events } = start([])
    await host.handle({ type: "close" })
    expect(events).toEqual([])
  })
})

/** @file The step queue: fair turns, cancelling between steps, failures that stay with their work. */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { IDLE, StepQueue } from "./step-queue.ts"

const breathe = () => Promise.resolve()

/** Work of so many steps that logs each of them and its clean-up. */
async function* work(name: string, steps: number, log: string[]): AsyncGenerator<string, string, void> {
  try {
    for (let i = 1; i <= steps; i++) {
      log.push(`${name}${i}`)
      yield `${name}${i}`
    }
    return `${name} done`
  } finally {
    log.push(`${name} end`)
  }
}

describe("turns", () => {
  test("each piece of work gets one step in turn", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    const values: string[] = []
    const results = await Promise.all([
      queue.run(work("a", 3, log), (value) => values.push(value)),
      queue.run(work("b", 1, log), (value) => values.push(value)),
      queue.run(work("c", 2, log), (value) => values.push(value)),
    ])
    expect(results).toEqual(["a done", "b done", "c done"])
    expect(log).toEqual(["a1", "b1", "c1", "a2", "b end", "c2", "a3", "c end", "a end"])
    expect(values).toEqual(["a1", "b1", "c1", "a2", "c2", "a3"])
    expect(queue.length).toBe(0)
  })

  test("background work waits while others do, but not for ever", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    const rest = queue.run(work("rest", 3, log), undefined, undefined, "background")
    await Promise.all([queue.run(work("a", 2, log)), queue.run(work("b", 1, log))])
    expect(log.slice(0, 6)).toEqual(["rest1", "a1", "b1", "a2", "b end", "a end"])
    await rest
    expect(log.slice(6)).toEqual(["rest2", "rest3", "rest end"])
    log.length = 0
    await Promise.all([
      queue.run(work("long", 200, log)),
      queue.run(work("rest", 2, log), undefined, undefined, "background"),
    ])
    const at = log.flatMap((entry, i) => (entry.startsWith("rest") ? [i] : []))
    expect(at.length).toBe(3)
    expect(at.every((i, turn) => i > 60 * (turn + 1) && i < 66 * (turn + 1))).toBe(true)
  })

  test("time is shared, not steps: short steps are not slowed to the pace of long ones", async () => {
    let clock = 0
    const queue = new StepQueue(breathe, () => clock)
    const used = { long: 0, short: 0, late: 0 }
    async function* steps(name: keyof typeof used, count: number, lengthMs: number) {
      for (let i = 0; i < count; i++) {
        clock += lengthMs
        used[name] += lengthMs
        yield
      }
    }
    const long = queue.run(steps("long", 20, 500), () => {
      if (used.short < 4000) expect(used.long - used.short).toBeLessThanOrEqual(500)
    })
    const short = queue.run(steps("short", 40, 100), () => expect(used.short - used.long).toBeLessThanOrEqual(100))
    await short
    // Who comes late has no time to catch up on, and waits no longer than one step of the others.
    const before = used.long
    await queue.run(steps("late", 10, 100))
    expect(used.long - before).toBeLessThanOrEqual(1000)
    expect(used.long - before).toBeGreaterThanOrEqual(500)
    await long
  })

  test("what background work took does not count against who comes", async () => {
    let clock = 0
    const queue = new StepQueue(breathe, () => clock)
    async function* steps(count: number, lengthMs: number) {
      for (let i = 0; i < count; i++) {
        clock += lengthMs
        yield
      }
    }
    let first = 0
    await queue.run(steps(20, 500), undefined, undefined, "background")
    const running = queue.run(steps(100, 100), () => first++)
    await queue.run(steps(5, 100))
    expect(first).toBeLessThanOrEqual(8)
    await running
  })

  test("urgent work goes first, each piece of it once between two steps of others", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    const other = queue.run(work("a", 3, log))
    await Promise.all([
      other,
      ...["u", "v"].map((name) => queue.run(work(name, 3, log), undefined, undefined, "urgent")),
    ])
    expect(log.slice(0, 9)).toEqual(["a1", "u1", "v1", "a2", "u2", "v2", "a3", "u3", "v3"])
    expect(log.slice(9)).toEqual(["a end", "u end", "v end"])
  })

  test("urgent work that comes without end slows others by one step each", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    let isOver = false as boolean
    const flood = async (name: string) => {
      while (!isOver) await queue.run(work(name, 0, log), undefined, undefined, "urgent")
    }
    const other = queue.run(work("a", 20, log)).finally(() => {
      isOver = true
    })
    await Promise.all([other, flood("u"), flood("v")])
    const turns = log
      .slice(0, log.indexOf("a20"))
      .join(" ")
      .split(/a\d+ ?/)
      .slice(1, -1)
    expect(new Set(turns)).toEqual(new Set(["u end v end "]))
  })

  test("however many listen, each of them waits for one step of others", async () => {
    let clock = 0
    const queue = new StepQueue(breathe, () => clock)
    async function* long() {
      for (let i = 0; i < 20; i++) {
        clock += 400
        yield
      }
    }
    const talking = queue.run(long())
    const waitedMs = await Promise.all(
      Array.from({ length: 8 }, async () => {
        await queue.run(work("u", 0, []), undefined, undefined, "urgent")
        return clock
      }),
    )
    expect(waitedMs).toEqual(new Array(8).fill(400))
    await talking
  })

  test("says how busy it was and how long steps take", async () => {
    let clock = 0
    const queue = new StepQueue(
      async () => {
        clock += 10
      },
      () => clock,
    )
    async function* steps(count: number, lengthMs: number) {
      for (let i = 0; i < count; i++) {
        clock += lengthMs
        yield
      }
    }
    expect(queue.load).toEqual(IDLE)
    await queue.run(steps(20, 30))
    const { busy, stepMs } = queue.load
    expect(busy).toBeCloseTo((20 * 30) / (20 * 40 + 10), 1)
    expect(stepMs).toEqual({ p50: 30, p95: 30, longest: 30 })
    await queue.run(steps(1, 500))
    expect(queue.load.stepMs.longest).toBe(500)
    clock += 20_000
    expect(queue.load.busy).toBe(0)
    await queue.run(steps(1000, 90))
    expect(queue.load.busy).toBeCloseTo(0.9, 1)
  })

  test("nobody is more than one step ahead of another", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 5 }), async (sizes) => {
        const queue = new StepQueue(breathe, () => 0)
        const taken = sizes.map(() => 0)
        await Promise.all(
          sizes.map((size, i) =>
            queue.run(work("w", size, []), () => {
              taken[i]!++
              const others = taken.filter((_, j) => taken[j]! < sizes[j]!)
              expect(taken[i]! - Math.min(taken[i]!, ...others)).toBeLessThanOrEqual(1)
            }),
          ),
        )
        expect(taken).toEqual(sizes)
      }),
    )
  })

  test("steps never overlap, and there is a breath after each", async () => {
    const log: string[] = []
    const queue = new StepQueue(async () => {
      log.push("breath")
    })
    async function* slow(name: string): AsyncGenerator<void, void, void> {
      for (let i = 0; i < 2; i++) {
        log.push(`${name} in`)
        await new Promise((resolve) => setTimeout(resolve, 1))
        log.push(`${name} out`)
        yield
      }
    }
    await Promise.all([queue.run(slow("a")), queue.run(slow("b"))])
    const turn = (name: string) => [`${name} in`, `${name} out`, "breath"]
    expect(log.slice(0, 12)).toEqual([...turn("a"), ...turn("b"), ...turn("a"), ...turn("b")])
  })

  test("work that comes later starts at once, also after the queue was empty", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    await queue.run(work("a", 1, log))
    const long = queue.run(work("b", 3, log), (value) => {
      if (value === "b1") void queue.run(work("c", 1, log))
    })
    await long
    expect(log.indexOf("c1")).toBeLessThan(log.indexOf("b3"))
  })
})

describe("cancelling", () => {
  test("takes effect before the next step, after clean-up, with the signal's reason", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    const controller = new AbortController()
    const run = queue.run(
      work("a", 5, log),
      (value) => {
        if (value === "a2") controller.abort(new Error("enough"))
      },
      controller.signal,
    )
    await expect(run).rejects.toThrow("enough")
    expect(log).toEqual(["a1", "a2", "a end"])
  })

  test("before the first step nothing runs", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    await expect(queue.run(work("a", 1, log), undefined, AbortSignal.abort(new Error("no")))).rejects.toThrow("no")
    expect(log).toEqual([])
  })

  test("waits for no step of others", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    const controller = new AbortController()
    const others = ["b", "c", "d"].map((name) => queue.run(work(name, 5, log)))
    const stop = (value: string) => {
      if (value === "e2") controller.abort(new Error("enough"))
    }
    await expect(queue.run(work("e", 9, log), stop, controller.signal)).rejects.toThrow("enough")
    expect(log.slice(log.indexOf("e2"), log.indexOf("e2") + 2)).toEqual(["e2", "e end"])
    await Promise.all(others)
  })

  test("leaves other work alone", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    const controller = new AbortController()
    const cancelled = queue.run(work("a", 9, log), () => controller.abort(), controller.signal)
    const other = queue.run(work("b", 3, log))
    await expect(cancelled).rejects.toThrow(expect.objectContaining({ name: "AbortError" }))
    expect(await other).toBe("b done")
  })

  test("after the last step is too late", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const controller = new AbortController()
    const run = queue.run(work("a", 1, []), undefined, controller.signal)
    expect(await run).toBe("a done")
    controller.abort()
    expect(await queue.run(work("b", 1, []))).toBe("b done")
  })
})

describe("failures", () => {
  async function* failing(log: string[]): AsyncGenerator<void, void, void> {
    log.push("step")
    yield
    throw new Error("broken step")
  }

  test("reject their own work and nothing else", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    const [broken, fine] = await Promise.allSettled([queue.run(failing(log)), queue.run(work("b", 3, log))])
    expect(broken).toEqual({ status: "rejected", reason: new Error("broken step") })
    expect(fine).toEqual({ status: "fulfilled", value: "b done" })
    expect(await queue.run(work("c", 1, log))).toBe("c done")
  })

  test("of the receiver end the work, which cleans up", async () => {
    const queue = new StepQueue(breathe, () => 0)
    const log: string[] = []
    const run = queue.run(work("a", 3, log), () => {
      throw new Error("nobody listens")
    })
    await expect(run).rejects.toThrow("nobody listens")
    expect(log).toEqual(["a1", "a end"])
  })

  test("of the clean-up are the work's failure", async () => {
    const queue = new StepQueue(breathe, () => 0)
    async function* untidy(): AsyncGenerator<void, void, void> {
      try {
        yield
        yield
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: the very case
        throw new Error("clean-up failed")
      }
    }
    const controller = new AbortController()
    const run = queue.run(untidy(), () => controller.abort(), controller.signal)
    await expect(run).rejects.toThrow("clean-up failed")
    expect(await queue.run(work("b", 1, []))).toBe("b done")
  })
})

/** @file The language model's laws, on small random weights: pieces, splits, padding, cancelling, forgetting. */
import { afterAll, describe, expect, test } from "vitest"
import { describeDevices } from "../runtime/devices.test-util.ts"
import { createReferenceExecutor, type Executor, type KvCache } from "../runtime/index.ts"
import { tensor } from "../tensor/index.ts"
import { BackendError, InputError, runSteps } from "../util/index.ts"
import type { LanguageModel } from "./language-model.ts"
import { hiddenOf, loadTinyQwen2, relativeError, tinyQwen2Config, tinyWeights, tokens } from "./tiny-qwen2.test-util.ts"

const CONFIG = tinyQwen2Config()
/** Sums in another order move results by a few units in the last place of float32, layer after layer. */
const CLOSE = 1e-5

/** Keys and values of every layer, without spare capacity. */
const cached = (cache: KvCache) => {
  const { slots } = cache.snapshot()
  return Object.values(slots).flatMap(({ keys, values }) => [...keys, ...values])
}

const rows = (data: Float32Array, from: number, to = from + 1) =>
  data.slice(from * CONFIG.hiddenSize, to * CONFIG.hiddenSize)

describeDevices((open, device) => {
  let executor: Executor | undefined
  let loaded: Promise<LanguageModel> | undefined
  const load = () => {
    executor ??= open()
    loaded ??= loadTinyQwen2(executor, CONFIG)
    return loaded
  }
  afterAll(async () => executor?.[Symbol.asyncDispose]())

  test.each([1, 7, 128])("fed %i positions at a time it computes what it computes in one", async (chunk) => {
    const model = await load()
    const ids = tokens(CONFIG, device === "webgpu" ? 12 : 41)
    const whole = model.createCache()
    const wanted = await hiddenOf(model, whole, model.embed(ids))
    const pieces = model.createCache()
    const got: number[] = []
    for (let start = 0; start < ids.length; start += chunk) {
      got.push(...(await hiddenOf(model, pieces, model.embed(ids.slice(start, start + chunk)))))
    }
    expect(relativeError(got, wanted)).toBeLessThan(CLOSE)
    expect(pieces.length).toBe(ids.length)
    expect(relativeError(cached(pieces), cached(whole))).toBeLessThan(CLOSE)
  })

  test("positions read without states are remembered as those with them", async () => {
    const model = await load()
    const ids = tokens(CONFIG, 11)
    const whole = model.createCache()
    const wanted = await hiddenOf(model, whole, model.embed(ids))
    const cache = model.createCache()
    const none = await runSteps(model.forward(cache, model.embed(ids.slice(0, 8)), { states: false }))
    expect([none, cache.length]).toEqual([[], 8])
    const got = await hiddenOf(model, cache, model.embed(ids.slice(8)))
    expect(relativeError(got, rows(wanted, 8, 11))).toBeLessThan(CLOSE)
    expect(relativeError(cached(cache), cached(whole))).toBeLessThan(CLOSE)
  })

  test("left-padded rows compute what they compute alone", async () => {
    const model = await load()
    const sequences = [tokens(CONFIG, 9), tokens(CONFIG, 4, 3), tokens(CONFIG, 7, 5)]
    const steps = 9
    const ids = sequences.flatMap((row) => [...new Array<number>(steps - row.length).fill(0), ...row])
    const valid = Uint8Array.from(
      sequences.flatMap((row) => Array.from({ length: steps }, (_, t) => (t < steps - row.length ? 0 : 1))),
    )
    const cache = model.createCache(3)
    const shape = [3, steps, CONFIG.hiddenSize]
    const hidden = await hiddenOf(model, cache, tensor("f32", shape, model.embed(ids).data), { valid })
    const next = await hiddenOf(model, cache, tensor("f32", [3, 1, CONFIG.hiddenSize], model.embed([5, 6, 7]).data))
    for (const [b, row] of sequences.entries()) {
      const alone = model.createCache()
      const wanted = await hiddenOf(model, alone, model.embed(row))
      const got = rows(hidden, (b + 1) * steps - row.length, (b + 1) * steps)
      expect(relativeError(got, wanted)).toBeLessThan(CLOSE)
      expect(relativeError(rows(next, b), await hiddenOf(model, alone, model.embed([5 + b])))).toBeLessThan(CLOSE)
      expect(cache.realLength(b)).toBe(row.length + 1)
    }
  })

  test("a fork goes its own way", async () => {
    const model = await load()
    const trunk = model.createCache()
    await hiddenOf(model, trunk, model.embed(tokens(CONFIG, 6)))
    const branch = trunk.fork()
    await hiddenOf(model, branch, model.embed([1, 2, 3]))
    const wanted = model.createCache()
    await hiddenOf(model, wanted, model.embed(tokens(CONFIG, 6)))
    const got = await hiddenOf(model, trunk, model.embed([9]))
    expect(relativeError(got, await hiddenOf(model, wanted, model.embed([9])))).toBeLessThan(CLOSE)
    expect([trunk.length, branch.length]).toEqual([7, 9])
  })

  test("selected rows go on from what they were (beams)", async () => {
    const model = await load()
    const cache = model.createCache(2)
    const input = (ids: number[], steps: number) =>
      tensor("f32", [ids.length / steps, steps, CONFIG.hiddenSize], model.embed(ids).data)
    await hiddenOf(model, cache, input([1, 2, 3, 4, 5, 6], 3))
    const chosen = cache.selectRows([1, 1, 0])
    const got = await hiddenOf(model, chosen, input([7, 8, 9], 1))
    for (const [i, ids] of [
      [4, 5, 6, 7],
      [4, 5, 6, 8],
      [1, 2, 3, 9],
    ].entries()) {
      const alone = await hiddenOf(model, model.createCache(), model.embed(ids))
      expect(relativeError(rows(got, i), rows(alone, 3))).toBeLessThan(CLOSE)
    }
  })
})

describe("steps", () => {
  test("the number of layers in a step changes nothing but the number of steps", async () => {
    await using executor = createReferenceExecutor()
    const ids = tokens(CONFIG, 13)
    const outcomes = []
    for (const layersPerStep of [1, 2, 3]) {
      const model = await loadTinyQwen2(executor, CONFIG, { layersPerStep })
      const cache = model.createCache()
      const steps = model.forward(cache, model.embed(ids), { keepHidden: [0, 2] })
      let count = 0
      for (;;) {
        const { done, value } = await steps.next()
        if (done) {
          outcomes.push({ count, states: value, cache: cache.snapshot() })
          break
        }
        count++
      }
    }
    const [one, two, all] = outcomes
    expect([one!.count, two!.count, all!.count]).toEqual([3, 2, 1])
    expect(one!.states).toEqual(all!.states)
    expect(two!.states).toEqual(all!.states)
    expect(one!.cache).toEqual(all!.cache)
    expect(all!.states[0]).toEqual(all!.states[2]) // what follows the last layer is what goes on
    expect(all!.states[1]).not.toEqual(all!.states[2])
  })

  test("long input runs in groups of at most 128 positions, batches too", async () => {
    await using executor = createReferenceExecutor()
    const config = tinyQwen2Config({ num_hidden_layers: 1, hidden_size: 12, intermediate_size: 8 })
    const seen: number[] = []
    const watched: Executor = {
      ...executor,
      run(program, feeds, options) {
        seen.push(feeds.hidden!.shape[1]!)
        return executor.run(program, feeds, options)
      },
    }
    const model = await loadTinyQwen2(watched, config)
    const ids = tokens(config, 130)
    const whole = await hiddenOf(model, model.createCache(), model.embed(ids))
    expect(seen).toEqual([128, 2])
    const batch = tensor("f32", [2, 130, 12], model.embed([...ids, ...tokens(config, 130, 4)]).data)
    const valid = new Uint8Array(260).fill(1)
    valid.fill(0, 130, 132)
    const both = await hiddenOf(model, model.createCache(2), batch, { valid })
    expect(relativeError(both.slice(0, whole.length), whole)).toBeLessThan(CLOSE)
    const alone = await hiddenOf(model, model.createCache(), model.embed(tokens(config, 130, 4).slice(2)))
    expect(relativeError(both.slice(132 * 12), alone)).toBeLessThan(CLOSE)
  })

  test("abandoned after any step, a pass keeps whole groups and nothing else", async () => {
    await using executor = createReferenceExecutor()
    const config = tinyQwen2Config({ hidden_size: 12, intermediate_size: 8 })
    const model = await loadTinyQwen2(executor, config, { layersPerStep: 1 })
    const start = model.createCache()
    await hiddenOf(model, start, model.embed([3, 1, 4]))
    const ids = tokens(config, 133)
    const whole = start.fork()
    await hiddenOf(model, whole, model.embed(ids))
    for (let taken = 0; taken <= 6; taken++) {
      const cache = start.fork()
      const steps = model.forward(cache, model.embed(ids))
      for (let i = 0; i < taken; i++) await steps.next()
      await steps.return([])
      const kept = 3 + (taken < 3 ? 0 : taken < 6 ? 128 : 133)
      const wanted = whole.fork()
      wanted.truncate(kept)
      expect(cache.snapshot()).toEqual(wanted.snapshot())
      // What was staged and abandoned must not be seen by what comes next.
      cache.truncate(3)
      const got = await hiddenOf(model, cache, model.embed([8, 9]))
      expect(relativeError(got, await hiddenOf(model, start.fork(), model.embed([8, 9])))).toBeLessThan(CLOSE)
    }
  })

  test("an aborted signal stops between steps with its reason", async () => {
    await using executor = createReferenceExecutor()
    const model = await loadTinyQwen2(executor, CONFIG, { layersPerStep: 1 })
    const cache = model.createCache()
    const controller = new AbortController()
    const steps = model.forward(cache, model.embed([1, 2, 3, 4, 5]))
    await steps.next()
    controller.abort(new Error("enough"))
    await expect(runSteps(steps, controller.signal)).rejects.toThrow("enough")
    expect(cache.length).toBe(0)
  })
})

describe("forgetting", () => {
  test("one layer attends to what is left as if the rest had never been", async () => {
    await using executor = createReferenceExecutor()
    const config = tinyQwen2Config({ num_hidden_layers: 1 })
    const model = await loadTinyQwen2(executor, config)
    const ids = tokens(config, 20)
    for (const [from, to] of [
      [0, 5],
      [3, 4],
      [6, 17],
      [15, 20],
      [4, 4],
      [0, 20],
    ] as const) {
      const cache = model.createCache()
      await hiddenOf(model, cache, model.embed(ids))
      model.forget(cache, from, to)
      const left = [...ids.slice(0, from), ...ids.slice(to)]
      const fresh = model.createCache()
      if (left.length > 0) await hiddenOf(model, fresh, model.embed(left))
      expect(cache.length).toBe(left.length)
      expect(relativeError([1, ...cached(cache)], [1, ...cached(fresh)])).toBeLessThan(CLOSE)
      const got = await hiddenOf(model, cache, model.embed([5, 6, 7]))
      expect(relativeError(got, await hiddenOf(model, fresh, model.embed([5, 6, 7])))).toBeLessThan(CLOSE)
    }
  })

  test("in deeper models it keeps the values and moves only the keys", async () => {
    await using executor = createReferenceExecutor()
    const model = await loadTinyQwen2(executor, CONFIG)
    const cache = model.createCache()
    await hiddenOf(model, cache, model.embed(tokens(CONFIG, 8)))
    const before = cache.snapshot()
    model.forget(cache, 2, 5)
    const after = cache.snapshot()
    const { numKeyValueHeads: groups, headSize } = CONFIG
    for (const [name, { keys, values }] of Object.entries(after.slots)) {
      const was = before.slots[name]!
      for (let g = 0; g < groups; g++) {
        const at = (data: Float32Array, length: number, j: number) =>
          data.slice((g * length + j) * headSize, (g * length + j + 1) * headSize)
        expect(at(keys, 5, 1)).toEqual(at(was.keys, 8, 1))
        expect(at(values, 5, 2)).toEqual(at(was.values, 8, 5))
        expect(at(keys, 5, 2)).not.toEqual(at(was.keys, 8, 5))
        const norm = (key: Float32Array) => Math.hypot(...key)
        expect(norm(at(keys, 5, 2))).toBeCloseTo(norm(at(was.keys, 8, 5)), 5)
      }
    }
  })
})

describe("errors", () => {
  test("ids outside the vocabulary", async () => {
    const model = await loadTinyQwen2(createReferenceExecutor(), CONFIG)
    for (const id of [-1, 41, 1.5, Number.NaN]) {
      expect(() => model.embed([0, id])).toThrow(InputError)
      expect(() => model.embed([0, id])).toThrow(`token id: expected one in [0, 41), got ${id}`)
    }
    expect(model.embed([40]).shape).toEqual([1, 1, 36])
  })

  test("a context that is full, before anything runs", async () => {
    const config = tinyQwen2Config({ max_position_embeddings: 6 })
    const model = await loadTinyQwen2(createReferenceExecutor(), config)
    const cache = model.createCache()
    await hiddenOf(model, cache, model.embed([1, 2, 3, 4]))
    const before = cache.snapshot()
    const overflow = runSteps(model.forward(cache, model.embed([1, 2, 3])))
    await expect(overflow).rejects.toThrow(InputError)
    await expect(overflow).rejects.toThrow("context: expected at most 6 positions, got 7 (drop earlier turns)")
    expect(cache.snapshot()).toEqual(before)
    await hiddenOf(model, cache, model.embed([1, 2])) // exactly full is fine
    expect(cache.length).toBe(6)
  })

  test("a program that could not be compiled is tried again", async () => {
    const executor = createReferenceExecutor()
    const failures: Error[] = []
    const moody: Executor = {
      ...executor,
      compile(graph, weights) {
        const failure = failures.pop()
        return failure ? Promise.reject(failure) : executor.compile(graph, weights)
      },
    }
    const model = await loadTinyQwen2(moody, CONFIG)
    const pass = () => runSteps(model.forward(model.createCache(), model.embed([1, 2]), { keepHidden: [1] }))
    failures.push(new BackendError("no memory"))
    await expect(pass()).rejects.toThrow("no memory")
    expect(await pass()).toHaveLength(2)
  })
})

describe("the head", () => {
  test("reads the last position of each row, after the final norm", async () => {
    const model = await loadTinyQwen2(createReferenceExecutor(), CONFIG)
    const input = tensor("f32", [2, 3, 36], model.embed([1, 2, 3, 4, 5, 6]).data)
    const [hidden] = await runSteps(model.forward(model.createCache(2), input))
    const all = await model.normed(hidden!)
    const logits = await model.logits(all)
    expect(logits.shape).toEqual([2, 3, 41])
    const last = await model.lastLogits(hidden!)
    const normed = all.data as Float32Array
    expect(relativeError(last.normed, [...rows(normed, 2), ...rows(normed, 5)])).toBeLessThan(CLOSE)
    const everything = logits.data as Float32Array
    const wanted = [...everything.slice(2 * 41, 3 * 41), ...everything.slice(5 * 41)]
    expect(relativeError(last.logits, wanted)).toBeLessThan(CLOSE)
  })

  test("may be the embedding table", async () => {
    const config = tinyQwen2Config({ tie_word_embeddings: true })
    const weights = tinyWeights(config, 3)
    const model = await loadTinyQwen2(createReferenceExecutor(), config, { weights })
    const [hidden] = await runSteps(model.forward(model.createCache(), model.embed([1, 2])))
    const { logits, normed } = await model.lastLogits(hidden!)
    const row = model.embed([17]).data as Float32Array
    const wanted = row.reduce((sum, x, i) => sum + x * normed[i]!, 0)
    expect(logits[17]).toBeCloseTo(wanted, 5)
  })
})

describe("deferred prefill weights", () => {
  /** A model whose two kinds of pass tell by their results which weights they ran with. */
  async function open(fail?: (name: string) => void) {
    const config = tinyQwen2Config({ max_position_embeddings: 2000 })
    const compiled: string[] = []
    const inner = createReferenceExecutor()
    const executor: Executor = {
      ...inner,
      compile: (graph, weights) => {
        fail?.(graph.name)
        compiled.push(graph.name)
        return inner.compile(graph, weights)
      },
    }
    const [few, many] = [tinyWeights(config, 1), tinyWeights(config, 2)]
    const model = await loadTinyQwen2(executor, config, { weights: few, deferred: many, layersPerStep: 2 })
    const ids = tokens(config, 30)
    const hidden = (of: LanguageModel) => hiddenOf(of, of.createCache(), model.embed(ids))
    const alone = async (weights: typeof few) => {
      const other = await loadTinyQwen2(inner, config, { weights })
      return hiddenOf(other, other.createCache(), model.embed(ids))
    }
    return { model, compiled, hidden, few: await alone(few), many: await alone(many), config }
  }

  test("decode weights serve all passes until the rest is there", async () => {
    const { model, compiled, hidden, few, many } = await open()
    expect(compiled).toEqual(["llm.norm", "llm.head", "llm.layers.0-3"])
    expect(relativeError(await hidden(model), few)).toBeLessThan(CLOSE)
    const rest = model.loadRest()
    await rest.next()
    await rest.return(undefined)
    expect(relativeError(await hidden(model), few)).toBeLessThan(CLOSE)
    // Two at once go on with what was begun, and do nothing twice.
    await Promise.all([runSteps(model.loadRest()), runSteps(model.loadRest())])
    expect(compiled.slice(3)).toEqual(["llm.layers.0-2", "llm.lastKeys", "llm.layers.2-3"])
    expect(relativeError(await hidden(model), many)).toBeLessThan(CLOSE)
    await runSteps(model.loadRest())
    expect(compiled.length).toBe(6)
  })

  test("a failure leaves the model as it was, and the next attempt goes on", async () => {
    let failures = 1
    const { model, hidden, few, many } = await open((name) => {
      if (name === "llm.layers.2-3" && failures-- > 0) throw new BackendError("no memory")
    })
    await expect(runSteps(model.loadRest())).rejects.toThrow("no memory")
    expect(relativeError(await hidden(model), few)).toBeLessThan(CLOSE)
    await runSteps(model.loadRest())
    expect(relativeError(await hidden(model), many)).toBeLessThan(CLOSE)
  })

  test("a long pass waits for them", async () => {
    const { model, compiled, config } = await open()
    const steps = model.forward(model.createCache(), model.embed(tokens(config, 1025)))
    for (let i = 0; i < 3; i++) await steps.next()
    await steps.return(undefined as never)
    expect(compiled.slice(3)).toEqual(["llm.layers.0-2", "llm.lastKeys", "llm.layers.2-3"])
  })
})

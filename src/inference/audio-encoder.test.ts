import fc from "fast-check"
import { afterAll, describe, expect, test } from "vitest"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor, relativeToMaxAbs } from "../tensor/index.ts"
import { InputError, runSteps, ShapeError } from "../util/index.ts"
import {
  melSlice,
  padBatch,
  randomMel,
  SMALL,
  singlePass,
  smallEncoder,
  smallWeights,
  stack,
  streamAll,
} from "./audio-encoder.test-util.ts"
import { AudioEncoder } from "./audio-encoder.ts"

const TOLERANCE = 1e-5 // float32 with other summation orders; measured 5e-7
const cpu = createOrtNodeExecutor({ device: "cpu", threads: 1 })
const reference = createReferenceExecutor()
afterAll(async () => {
  await cpu[Symbol.asyncDispose]()
})

function near(got: HostTensor, want: HostTensor, what?: string) {
  expect(got.shape).toEqual(want.shape)
  expect(relativeToMaxAbs(got, want), what).toBeLessThan(TOLERANCE)
}

/** Chunk sizes in frames: one, a prime, a block, everything. */
const SIZES = [1, 7, 10, 36]

describe.each([
  { executor: cpu, runs: 25 },
  { executor: reference, runs: 3 },
])("on $executor.device", ({ executor, runs }) => {
  test("offline in steps equals one pass under the same mask, padded batches included", async () => {
    const encoders = [await smallEncoder(executor), await smallEncoder(executor, { framesPerStep: 21 })]
    const whole = await singlePass(executor, SMALL)
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 3, max: 80 }), { minLength: 1, maxLength: 3 }),
        fc.constantFrom(...SIZES.map((size) => size / 50), SMALL.chunkSeconds, 0, -1),
        fc.nat(1000),
        async (lengths, chunkSeconds, seed) => {
          const mel = padBatch(lengths.map((length, b) => randomMel(length, seed + b)))
          const want = await whole(mel, lengths, chunkSeconds)
          for (const encoder of encoders) {
            const got = await runSteps(encoder.encode(mel, lengths, chunkSeconds))
            for (const [b, tokens] of got.entries()) near(tokens, want[b]!, `segment ${b}`)
          }
        },
      ),
      { numRuns: runs },
    )
  })

  test.each(SIZES)("a stream in chunks of %i frames equals the whole under the same mel and mask", async (size) => {
    const config = { ...SMALL, poolStep: 1 }
    const encoder = await smallEncoder(executor, { config })
    const length = 2 * 36
    // Silent at the chunks' edges, where the convolutions see zeros instead of their neighbours.
    const mel = randomMel(length, size)
    for (let i = 0; i < mel.data.length; i++) {
      const t = (i % length) % (2 * size)
      if (t === 0 || t >= 2 * size - 2) mel.data[i] = 0
    }
    const chunks: HostTensor[] = []
    for (let t = 0; t < length; t += 2 * size) chunks.push(melSlice(mel, t, Math.min(length, t + 2 * size)))
    const { tokens, lengths } = await streamAll(encoder, chunks)
    const [want] = await runSteps(encoder.encode(padBatch([mel]), [length], size / 50))
    near(stack(tokens), want!)
    expect(lengths.at(-1)).toBe(36)
  })

  test("a step may be cut at every layer", async () => {
    const [all, each] = [await smallEncoder(executor), await smallEncoder(executor, { layersPerStep: 1 })]
    const chunks = [randomMel(20, 1), randomMel(9, 2)]
    const want = await streamAll(all, chunks)
    const got = await streamAll(each, chunks)
    for (const [i, tokens] of got.tokens.entries()) near(tokens, want.tokens[i]!)
    const count = async (encoder: AudioEncoder) => {
      let steps = 1
      for await (const _ of encoder.step(encoder.init(), chunks[0]!)) steps++
      return steps
    }
    expect([await count(all), await count(each)]).toEqual([3, 4])
  })
})

test("both devices agree", async () => {
  const chunks = [randomMel(20, 1), randomMel(20, 2), randomMel(31, 3), randomMel(6, 4)]
  const [a, b] = [
    await streamAll(await smallEncoder(cpu), chunks),
    await streamAll(await smallEncoder(reference), chunks),
  ]
  for (const [i, tokens] of a.tokens.entries()) near(tokens, b.tokens[i]!)
})

test("causality: tokens hear the end of their block and one mel frame more", async () => {
  const encoder = await smallEncoder(cpu)
  const mel = randomMel(60, 5)
  const encode = async (changed?: number) => {
    const data = mel.data.slice()
    for (let m = 0; changed !== undefined && m < SMALL.melBins; m++) data[m * 60 + changed]! += 1
    return (await runSteps(encoder.encode(f32([1, ...mel.shape], data), [60])))[0]!.data
  }
  const before = await encode()
  for (const block of [0, 1]) {
    const end = 5 * (block + 1) * SMALL.tokenSize // five tokens in a block of 20 mel frames
    const unheard = await encode(20 * (block + 1) + 1)
    expect(unheard.subarray(0, end)).toEqual(before.subarray(0, end))
    expect(unheard.subarray(end)).not.toEqual(before.subarray(end))
    const lookAhead = await encode(20 * (block + 1))
    expect(lookAhead.subarray(end - SMALL.tokenSize, end)).not.toEqual(before.subarray(end - SMALL.tokenSize, end))
    const heard = await encode(20 * block + 19) // everything in the block hears its last frame
    expect(heard.subarray(end - 5 * SMALL.tokenSize, end - 4 * SMALL.tokenSize)).not.toEqual(
      before.subarray(end - 5 * SMALL.tokenSize, end - 4 * SMALL.tokenSize),
    )
  }
})

test("quirk, one call is one block: a long clip hears itself in both directions", async () => {
  const encoder = await smallEncoder(cpu)
  const clip = randomMel(60, 6)
  const { tokens } = await streamAll(encoder, [clip])
  const [full] = await runSteps(encoder.encode(padBatch([clip]), [60], 0))
  const [blocks] = await runSteps(encoder.encode(padBatch([clip]), [60]))
  near(tokens[0]!, full!)
  expect(relativeToMaxAbs(tokens[0]!, blocks!)).toBeGreaterThan(1e-3)
})

test("quirk, chunk edges: the convolutions do not see the neighbouring chunk", async () => {
  const encoder = await smallEncoder(cpu)
  const mel = randomMel(40, 7)
  const { tokens } = await streamAll(encoder, [melSlice(mel, 0, 20), melSlice(mel, 20, 40)])
  const [whole] = await runSteps(encoder.encode(padBatch([mel]), [40]))
  expect(relativeToMaxAbs(stack(tokens), whole!)).toBeGreaterThan(1e-3)
})

test("quirk, pooling per call: an odd frame gives no token but stays in the cache", async () => {
  const encoder = await smallEncoder(cpu)
  const { tokens, lengths } = await streamAll(encoder, [randomMel(9, 1), randomMel(10, 2), randomMel(3, 3)])
  expect(tokens.map(({ shape }) => shape)).toEqual([
    [2, 7],
    [2, 7],
    [1, 7],
  ])
  expect(lengths).toEqual([5, 10, 12])
  const fresh = await streamAll(encoder, [randomMel(10, 2)])
  expect(relativeToMaxAbs(fresh.tokens[0]!, tokens[1]!)).toBeGreaterThan(1e-3)
})

test("quirk, reset: a chunk that would fill the positions forgets what came before", async () => {
  const encoder = await smallEncoder(cpu)
  const chunks = [1, 2, 3, 4].map((seed) => randomMel(20, seed))
  const { tokens, lengths } = await streamAll(encoder, chunks)
  expect(lengths).toEqual([10, 20, 30, 10]) // 30 + 10 >= 40
  expect(tokens[3]).toEqual((await streamAll(encoder, [chunks[3]!])).tokens[0])
  expect((await streamAll(encoder, [...chunks.slice(0, 3), randomMel(18, 4)])).lengths.at(-1)).toBe(39)
  // Without a past there is nothing to forget: all positions may be used at once.
  expect((await streamAll(encoder, [randomMel(80, 1)])).lengths).toEqual([40])
})

test("quirk, padded batch: the last block of a shorter segment hears padding, earlier ones do not", async () => {
  const encoder = await smallEncoder(cpu)
  const short = randomMel(26, 8) // 13 frames: one block and three frames
  const [alone] = await runSteps(encoder.encode(padBatch([short]), [26]))
  const [padded] = await runSteps(encoder.encode(padBatch([short], 60), [26]))
  expect(padded!.shape).toEqual([6, 7])
  near(f32([5, 7], padded!.data.slice(0, 35)), f32([5, 7], alone!.data.slice(0, 35)))
  expect(relativeToMaxAbs(padded!, alone!)).toBeGreaterThan(1e-3)
})

test("quirk, odd length in a batch: the second convolution sees the first one's answer to padding", async () => {
  const encoder = await smallEncoder(cpu)
  for (const [length, same] of [
    [20, true],
    [19, false],
  ] as const) {
    const mel = randomMel(length, 9) // exactly one block, so that attention hears no padding
    const [alone] = await runSteps(encoder.encode(padBatch([mel]), [length]))
    const [padded] = await runSteps(encoder.encode(padBatch([mel], 60), [length]))
    if (same) near(padded!, alone!)
    else expect(relativeToMaxAbs(padded!, alone!)).toBeGreaterThan(1e-3)
  }
})

test("an abandoned or failed step leaves the stream as it was", async () => {
  const broken = new Set<string>()
  const flaky: Executor = {
    ...cpu,
    run: async (program, feeds, options) => {
      if (broken.has(program.graph.name)) throw new Error("out of luck")
      return await cpu.run(program, feeds, options)
    },
  }
  const encoder = await smallEncoder(flaky, { layersPerStep: 1 })
  const [first, second, third] = [randomMel(20, 1), randomMel(20, 2), randomMel(40, 3)]
  const want = await streamAll(encoder, [first!, second!])
  const { state } = await streamAll(encoder, [first!])
  const abandoned = encoder.step(state, third!)
  await abandoned.next()
  await abandoned.next()
  await abandoned.return(undefined as never)
  expect(state.cache.length).toBe(10)
  const aborted = AbortSignal.abort(new Error("enough"))
  await expect(runSteps(encoder.step(state, third!), aborted)).rejects.toThrow("enough")
  broken.add("audioProjector")
  await expect(runSteps(encoder.step(state, third!))).rejects.toThrow("out of luck")
  broken.clear()
  expect(state.cache.length).toBe(10)
  const [tokens] = await runSteps(encoder.step(state, second!))
  expect(tokens).toEqual(want.tokens[1])
})

test("a saved stream goes on in another encoder", async () => {
  const [one, other] = [await smallEncoder(cpu), await smallEncoder(cpu)]
  const chunks = [randomMel(20, 1), randomMel(11, 2), randomMel(20, 3)]
  const want = await streamAll(one, chunks)
  const { state } = await streamAll(one, chunks.slice(0, 2))
  const restored = other.init()
  restored.cache.restore(state.cache.snapshot())
  const [tokens] = await runSteps(other.step(restored, chunks[2]!))
  expect(tokens).toEqual(want.tokens[2])
})

test("unusable features are refused", async () => {
  const encoder = await smallEncoder(cpu)
  const step = (mel: HostTensor) => runSteps(encoder.step(encoder.init(), mel))
  const encode = (mel: HostTensor, lengths: number[], seconds?: number) =>
    runSteps(encoder.encode(mel, lengths, seconds))
  await expect(step(randomMel(20, 1, 6))).rejects.toThrow(
    new ShapeError("audio.step: expected mel f32 [5, L], got f32 [6, 20]"),
  )
  await expect(step(randomMel(2, 1))).rejects.toThrow(
    new InputError("audio.step: expected at least 3 mel frames, which make one token, got 2 (join chunks)"),
  )
  await expect(step(randomMel(81, 1))).rejects.toThrow(
    new InputError("audio.step: expected at most 80 mel frames, got 81 (split the audio)"),
  )
  const batch = padBatch([randomMel(20, 1), randomMel(9, 2)])
  await expect(encode(f32([5, 20], f32Data(randomMel(20, 1))), [20])).rejects.toThrow(
    "audio.encode: expected mel f32 [B, 5, L], got f32 [5, 20]",
  )
  await expect(encode(batch, [20])).rejects.toThrow(new ShapeError("audio.encode: expected 2 lengths, got 1"))
  await expect(encode(batch, [20, 2])).rejects.toThrow(
    new InputError("audio.encode: expected segment 1 to have 3 to 20 mel frames, got 2"),
  )
  await expect(encode(batch, [21, 9])).rejects.toThrow("expected segment 0 to have 3 to 20 mel frames, got 21")
  await expect(encode(batch, [20, 9], 0.01)).rejects.toThrow(
    "chunkSeconds: expected at least 0.02 seconds or none (0), got 0.01",
  )
})

test("loading refuses weights of other sizes", async () => {
  const parts = { executor: cpu, ...smallWeights(SMALL) }
  await expect(AudioEncoder.load({ ...parts, config: { ...SMALL, ffnSize: 40 } })).rejects.toThrow(
    "apm.layers.0.fc1.weight: expected f32 [40, 12], got f32 [48, 12]",
  )
})

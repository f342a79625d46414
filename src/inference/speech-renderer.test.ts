import fc from "fast-check"
import { afterAll, describe, expect, test } from "vitest"
import { dvaeReach, vocosReach } from "../models/minicpmo/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { f32, relativeToMaxAbs } from "../tensor/index.ts"
import type { CodeFrame } from "./code-sampler.ts"
import { randomFrames, SMALL_DVAE, SMALL_VOCOS, smallRenderer } from "./speech.test-util.ts"
import {
  type CodeRenderer,
  flushRendering,
  initRendering,
  LIVE_RENDERING,
  REFERENCE_RENDERING,
  type RenderOptions,
  renderFrames,
  SAMPLES_PER_CODE_FRAME,
} from "./speech-renderer.ts"

const cpu = createOrtNodeExecutor({ device: "cpu", threads: 1 })
afterAll(async () => {
  await cpu[Symbol.asyncDispose]()
})

/** Renders frames that arrive in groups of the given sizes. */
async function render(
  renderer: CodeRenderer,
  frames: readonly CodeFrame[],
  sizes: readonly number[],
  options: RenderOptions,
  seedFrames = 0,
): Promise<Float32Array[]> {
  let state = initRendering(options, seedFrames)
  const pieces: Float32Array[] = []
  let count = seedFrames
  for (let i = 0; count < frames.length; i++) {
    count = Math.min(frames.length, count + sizes[i % sizes.length]!)
    const last = count === frames.length
    const [pcm, next] = await renderFrames(renderer, state, frames.slice(0, count), options, last)
    pieces.push(pcm)
    state = next
  }
  const [rest] = flushRendering(state)
  return rest ? [...pieces, rest] : pieces
}

function joined(pieces: readonly Float32Array[]) {
  const data = pieces.flatMap((piece) => [...piece])
  return f32([data.length], data)
}

/** Frames that decide about a frame, on each side. */
const REACH = Math.ceil((dvaeReach(SMALL_DVAE) + vocosReach(SMALL_VOCOS) + 2) / 2)
const EXACT: RenderOptions = { ...LIVE_RENDERING, contextFrames: REACH, fadeFrames: 3, lookAheadFrames: REACH }
const FRAMES = randomFrames(60, 1)

describe("regrouping", () => {
  test("delivered pieces: when they leave changes no sample", async () => {
    const renderer = await smallRenderer(cpu)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 5, max: 30 }), { minLength: 1, maxLength: 4 }), async (sizes) => {
        const want = joined(await render(renderer, FRAMES, sizes, REFERENCE_RENDERING))
        expect(want.data).toHaveLength(FRAMES.length * SAMPLES_PER_CODE_FRAME)
        for (const delivery of ["emit-early", "prompt"] as const) {
          expect(joined(await render(renderer, FRAMES, sizes, { ...REFERENCE_RENDERING, delivery }))).toEqual(want)
        }
      }),
      { numRuns: 12 },
    )
  })

  test("frames: with context and look-ahead of the models' reach, any grouping equals the whole", async () => {
    const { codec, vocoder } = await smallRenderer(cpu)
    const whole = await vocoder.render(await codec.decode(FRAMES))
    const want = f32([whole.length], whole)
    const sizes = fc.oneof(
      fc.constantFrom([1], [7], [25], [60]),
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 4 }),
    )
    await fc.assert(
      fc.asyncProperty(sizes, fc.constantFrom("hold", "emit-early", "prompt"), async (groups, delivery) => {
        const got = joined(await render({ codec, vocoder }, FRAMES, groups, { ...EXACT, delivery }))
        expect(relativeToMaxAbs(got, want)).toBeLessThan(1e-5)
      }),
      { numRuns: 15 },
    )
    const short = { ...EXACT, lookAheadFrames: 1, contextFrames: 1 }
    expect(relativeToMaxAbs(joined(await render({ codec, vocoder }, FRAMES, [7], short)), want)).toBeGreaterThan(1e-4)
  })
})

test("the reference cuts at calls; the variant gives the first piece early; live holds no more than it must", async () => {
  const renderer = await smallRenderer(cpu)
  const cuts = async (options: RenderOptions) =>
    (await render(renderer, FRAMES, [25], options)).map(({ length }) => length / SAMPLES_PER_CODE_FRAME)
  expect(await cuts(REFERENCE_RENDERING)).toEqual([0, 25, 25, 10])
  expect(await cuts({ ...REFERENCE_RENDERING, delivery: "emit-early" })).toEqual([21, 4, 25, 10])
  const { fadeFrames: fade, lookAheadFrames: ahead } = LIVE_RENDERING
  expect(await cuts(LIVE_RENDERING)).toEqual([25 - fade - ahead, 25, 10 + ahead, fade])
})

test("after a roll-over the reference repeats the end of the seed; live goes on where it ended", async () => {
  const renderer = await smallRenderer(cpu)
  const total = async (options: RenderOptions) => joined(await render(renderer, FRAMES, [25], options, 50)).data.length
  expect(await total(REFERENCE_RENDERING)).toBe(14 * SAMPLES_PER_CODE_FRAME)
  expect(await total(LIVE_RENDERING)).toBe(10 * SAMPLES_PER_CODE_FRAME)
})

test("a look-ahead that no frame has filled yet gives nothing, and nothing is lost", async () => {
  const renderer = await smallRenderer(cpu)
  const [pcm, state] = await renderFrames(renderer, initRendering(EXACT), FRAMES.slice(0, 4), EXACT)
  expect(pcm).toHaveLength(0)
  expect(state).toEqual(initRendering(EXACT))
  expect(flushRendering(state)[0]).toBeUndefined()
})

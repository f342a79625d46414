/** @file Calls that go on and on: what they hold stays as small as it was. The long forms are `npm run soak`. */
import { afterAll, beforeAll, expect, test } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { PromptParts } from "../inference/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createRandom, runSteps } from "../util/index.ts"
import { Call } from "./call.ts"
import { loudVad } from "./loud-vad.test-util.ts"
import { hashedTokens, mockModel, smallVoice } from "./mock-model.test-util.ts"
import type { VoiceParts } from "./model.ts"
import { VoiceCache } from "./voices.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
const executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
let prompts: PromptParts
let voice: VoiceParts
beforeAll(async () => {
  await using set = await openGoldenSet(TINY)
  prompts = await loadPromptParts(set)
  voice = await smallVoice(executor)
})
afterAll(() => executor[Symbol.asyncDispose]())

const loud = (windows: number, level = 0.5) => new Float32Array(windows * 512).fill(level)

/** A thousand by TURNS=1000, and in the soak on a real checkpoint. */
const TURNS = Number(process.env.TURNS ?? 200)

test("many turns, some of them broken off, leave no more behind than a few", {
  timeout: 100_000,
}, async () => {
  const model = mockModel(prompts, hashedTokens(prompts.tokenizer, ["one", " two", ".", "!"]), { voice })
  const limit = 512
  const call = await runSteps(
    Call.open(
      { model, voices: new VoiceCache(), now: () => 0, vad: loudVad },
      { turns: { silenceMs: 200 }, temperature: 0, contextPositions: limit, maxNewTokens: 10 },
    ),
  )
  const random = createRandom(3)
  const sizes: number[] = []
  let found = 0
  let forgotten = 0
  for (let turn = 0; turn < TURNS; turn++) {
    call.push({ pcm: loud(12 + Math.floor(random() * 40)) })
    call.push({ pcm: loud(9, 0) })
    for await (const event of call.listen()) found += event?.type === "speech-end" ? 1 : 0
    for await (const event of call.perceive()) forgotten += event?.type === "context-compacted" ? 1 : 0
    const leaveAfter = random() < 0.3 ? Math.floor(random() * 20) : Number.POSITIVE_INFINITY
    let steps = 0
    for await (const event of call.respond({ speak: turn % 50 === 0 })) {
      if (event?.type === "context-compacted") forgotten++
      if (event?.type === "perceived") expect(event.positions).toBeLessThanOrEqual(limit)
      if (steps++ >= leaveAfter) break
    }
    if (leaveAfter < 20) call.interrupt(random() * 500)
    sizes.push(call.snapshot().bytes.length)
  }
  expect(found).toBe(TURNS)
  expect(forgotten).toBeGreaterThan(TURNS / 20)
  // A snapshot holds all that a call remembers; one of a turn whose answer was left before it began has its sound as well.
  const middle = (from: number, to: number) => sizes.slice(from, to).sort((a, b) => a - b)[(to - from) >> 1]!
  expect(middle(TURNS / 2, TURNS)).toBeLessThanOrEqual(middle(TURNS / 5, TURNS / 2) * 1.1)
  expect(Math.max(...sizes)).toBeLessThan(400_000)
})

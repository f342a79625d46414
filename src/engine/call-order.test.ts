/** @file Commands of a call that are sent at once do what they do one after the other. */
import { setImmediate } from "node:timers/promises"
import fc from "fast-check"
import { beforeAll, expect, test } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { PromptParts } from "../inference/index.ts"
import { Call, VoiceCache } from "../session/index.ts"
import { hashedTokens, mockModel } from "../session/mock-model.test-util.ts"
import { runSteps } from "../util/index.ts"
import { CallHost } from "./call-host.ts"
import type { CallAction } from "./messages.ts"
import { StepQueue } from "./step-queue.ts"

const TINY = new URL("../../test/fixtures/tiny-a", import.meta.url).pathname
let prompts: PromptParts
beforeAll(async () => {
  await using set = await openGoldenSet(TINY)
  prompts = await loadPromptParts(set)
})

const text = fc.constantFrom("one", " two", " three")
const command = fc.oneof(
  fc.record({ say: text }),
  fc.record({ tenths: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ append: fc.constantFrom("user" as const, "assistant" as const, "tool" as const), text }),
  fc.record({ do: fc.constantFrom("respond" as const, "keep" as const, "clear" as const) }),
)
type OneCommand = typeof command extends fc.Arbitrary<infer T> ? T : never

function actionOf(one: OneCommand): CallAction {
  if ("say" in one) return { type: "push", input: { text: one.say } }
  if ("tenths" in one) return { type: "push", input: { pcm: new Float32Array(one.tenths * 1600).fill(0.1) } }
  if ("append" in one) return { type: "append", message: { role: one.append, text: one.text } }
  return one.do === "respond" ? { type: "respond", options: { speak: false, maxNewTokens: 3 } } : { type: one.do }
}

/** What is in the context after these commands and one more answer. */
async function contextAfter(actions: readonly CallAction[], breaths: readonly number[] | undefined): Promise<string> {
  const next = hashedTokens(prompts.tokenizer, ["one", " two", "."], 5)
  const model = mockModel(prompts, next, { stepsPerPass: 4 })
  const parts = { model, voices: new VoiceCache(), now: () => 0 }
  const call = await runSteps(Call.open(parts, { temperature: 0, repetitionPenalty: 1 }))
  const hosted = new CallHost(call, new StepQueue(() => setImmediate()), () => {})
  const act = (one: CallAction) => hosted.act(one, () => {}, new AbortController().signal)
  const running: Promise<unknown>[] = []
  for (const [i, one] of actions.entries()) {
    const done = act(one)
    running.push(done)
    if (!breaths) await done
    for (let breath = breaths?.[i] ?? 0; breath > 0; breath--) await setImmediate()
  }
  await Promise.all(running)
  await act({ type: "push", input: { text: "end" } })
  await act({ type: "respond", options: { speak: false, maxNewTokens: 1 } })
  return model.seen
    .at(-1)!
    .map((id) => (id < 0 ? "♪" : prompts.tokenizer.decode([id])))
    .join("")
}

const none: number[] = new Array(12).fill(0)
/** What went wrong once. */
const FOUND: [OneCommand[], number[]][] = [
  // Added while the input before it was read: what was pushed behind it was read first.
  [
    [{ append: "user", text: "one" }, { say: "one" }, { append: "user", text: " two" }, { say: " three" }],
    [0, 5, ...none],
  ],
  // Three seconds behind a question became part of it.
  [
    [{ tenths: 10 }, { do: "respond" }, { tenths: 29 }, { append: "user", text: "one" }, { tenths: 1 }],
    [1, ...none],
  ],
  // A question behind an added message kept the sound before that from being read before it.
  [[{ tenths: 10 }, { append: "user", text: "one" }, { do: "respond" }], none],
]

test("however fast they are sent", { timeout: 100_000 }, async () => {
  const breaths = fc.array(fc.nat(12), { minLength: 12, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 2, maxLength: 8 }), breaths, async (commands, times) => {
      const actions = commands.map(actionOf)
      expect(await contextAfter(actions, times)).toBe(await contextAfter(actions, undefined))
    }),
    { numRuns: Number(process.env.RUNS ?? 60), examples: FOUND },
  )
})

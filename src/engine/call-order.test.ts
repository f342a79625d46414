/** @file Commands of a call that are sent at once do what they do one after the other. */
import { setImmediate } from "node:timers/promises"
import fc from "fast-check"
import { beforeAll, expect, test } from "vitest"
import { openGoldenSet } from "../../test/parity/golden-set.ts"
import { loadPromptParts } from "../../test/parity/prompts.ts"
import type { PromptParts } from "../inference/index.ts"
import { Call, type CallOptions, VoiceCache } from "../session/index.ts"
import { loudVad } from "../session/loud-vad.test-util.ts"
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
  fc.record({ tenths: fc.integer({ min: 1, max: 40 }), isQuiet: fc.boolean() }),
  fc.record({ append: fc.constantFrom("user" as const, "assistant" as const, "tool" as const), text }),
  fc.record({ do: fc.constantFrom("respond" as const, "keep" as const, "clear" as const) }),
)
type OneCommand =
  | Exclude<typeof command extends fc.Arbitrary<infer T> ? T : never, { tenths: number }>
  | { tenths: number; isQuiet?: boolean }

function actionOf(one: OneCommand): CallAction {
  if ("say" in one) return { type: "push", input: { text: one.say } }
  if ("tenths" in one)
    return { type: "push", input: { pcm: new Float32Array(one.tenths * 1600).fill(one.isQuiet ? 0.01 : 0.5) } }
  if ("append" in one) return { type: "append", message: { role: one.append, text: one.text } }
  return one.do === "respond" ? { type: "respond", options: { speak: false, maxNewTokens: 3 } } : { type: one.do }
}

/** What is in the context after these commands and one more answer, and what the first answer was made for. */
async function after(
  actions: readonly CallAction[],
  breaths: readonly number[] | undefined,
  options: CallOptions = {},
): Promise<{ readonly context: string; readonly question: string }> {
  const next = hashedTokens(prompts.tokenizer, ["one", " two", "."], 5)
  const model = mockModel(prompts, next, { stepsPerPass: 4 })
  const printed = (ids: readonly number[]) => ids.map((id) => (id < 0 ? "♪" : prompts.tokenizer.decode([id]))).join("")
  const parts = { model, voices: new VoiceCache(), now: () => 0, vad: loudVad }
  const call = await runSteps(Call.open(parts, { temperature: 0, repetitionPenalty: 1, ...options }))
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
  return { context: printed(model.seen.at(-1)!), question: printed(model.seen[0]!) }
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

/** What is cleared, and what begins a turn beside an answer, depends on what was listened to by then. */
const ofOrder = command.filter((one) => !("do" in one) || one.do === "keep")

test.each(["always", "speech"] as const)("however fast they are sent to a call with turns: %s", async (perceive) => {
  const options: CallOptions = { turns: { silenceMs: 300, minSpeechMs: 64 }, perceive }
  const breaths = fc.array(fc.nat(12), { minLength: 12, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(fc.array(ofOrder, { minLength: 2, maxLength: 8 }), breaths, async (commands, times) => {
      const actions = commands.map(actionOf)
      expect((await after(actions, times, options)).context).toBe((await after(actions, undefined, options)).context)
    }),
    { numRuns: Number(process.env.RUNS ?? 60) },
  )
})

test.each(["always", "speech"] as const)("what comes behind a question is no part of it: %s", async (perceive) => {
  const options: CallOptions = { turns: { silenceMs: 300, minSpeechMs: 64 }, perceive }
  const some = fc.array(ofOrder, { maxLength: 4 })
  const ask = actionOf({ do: "respond" })
  await fc.assert(
    fc.asyncProperty(some, some, async (before, behind) => {
      const asked = [...before.map(actionOf), ask]
      const { question } = await after([...asked, ...behind.map(actionOf)], none, options)
      expect(question).toBe((await after(asked, none, options)).question)
    }),
    { numRuns: Number(process.env.RUNS ?? 60) },
  )
})

test.each([
  ["a message", { append: "user", text: " three" }],
  ["typed text", { say: " three" }],
] as const)("%s behind a turn that was found comes after all of it, and before its answer", async (_, one) => {
  const turn: OneCommand[] = [{ tenths: 12 }, { tenths: 5, isQuiet: true }]
  const actions = [...turn, one, { do: "respond" } as const].map(actionOf)
  const { context } = await after(actions, undefined, { turns: { silenceMs: 300, minSpeechMs: 64 } })
  const order = [context.lastIndexOf("♪"), context.indexOf(" three"), context.indexOf("assistant\n")]
  expect(order.every((at) => at > 0)).toBe(true)
  expect(order.toSorted((a, b) => a - b)).toEqual(order)
})

test("typed text that is kept stays, though the sound before it is cleared before it was listened to", async () => {
  const sound: OneCommand = { tenths: 12 }
  const actions = [sound, { say: " three" }, { do: "keep" }, sound, { do: "clear" }, { do: "clear" }] as const
  const { context } = await after(actions.map(actionOf), none, { turns: {} })
  expect([context.includes(" three"), context.includes("♪")]).toEqual([true, false])
})

test("however fast they are sent", { timeout: 100_000 }, async () => {
  const breaths = fc.array(fc.nat(12), { minLength: 12, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 2, maxLength: 8 }), breaths, async (commands, times) => {
      const actions = commands.map(actionOf)
      expect((await after(actions, times)).context).toBe((await after(actions, undefined)).context)
    }),
    { numRuns: Number(process.env.RUNS ?? 60), examples: FOUND },
  )
})

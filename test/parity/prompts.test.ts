/** @file Recorded prompts and merged embeddings on every device, and the pieces of recorded live conversations. */
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import { readText } from "../../src/checkpoint/index.ts"
import {
  type AudioStream,
  answerCompleted,
  answerPiece,
  embedPiece,
  INITIAL_STREAM_PROMPT,
  messagePiece,
} from "../../src/inference/index.ts"
import { createOrtNodeExecutor, findVulkanDriver, useVulkanDriver } from "../../src/runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../../src/runtime/index.ts"
import { f32, type HostTensor, relativeToMaxAbs } from "../../src/tensor/index.ts"
import { runSteps } from "../../src/util/index.ts"
import { skipUnless } from "../skip.ts"
import { openGoldenSet, readArrays } from "./golden-set.ts"
import { type GoldenMessage, loadEmbedParts, loadPromptParts, promptCases, readMessage } from "./prompts.ts"
import { matcher, runCases } from "./runner.ts"

const TINY = fileURLToPath(new URL("../fixtures/tiny-a", import.meta.url))

/** One test for each case: it must be there, be compared and pass. */
function passes(open: () => Executor, names: readonly string[]) {
  const executor = open()
  afterAll(async () => executor[Symbol.asyncDispose]())
  test.each(names)("%s", { timeout: 60_000 }, async (name) => {
    const results = []
    for await (const result of runCases(TINY, executor, matcher([name]))) results.push(result)
    expect(results.map(({ failures, ok }) => [failures, ok])).toEqual([[[], true]])
  })
}

describe("on the reference interpreter", () => {
  // Images take it many seconds; the parity command runs them.
  passes(createReferenceExecutor, ["inputs_embeds_audio_merge"])
})

describe("on the CPU", () => {
  passes(() => createOrtNodeExecutor({ device: "cpu", threads: 1 }), Object.keys(promptCases))
})

const driver = findVulkanDriver(process.env) !== undefined
skipUnless(driver, "no Vulkan driver (apt install chromium libvulkan1)")("on WebGPU", () => {
  if (!driver) return
  useVulkanDriver(process.env)
  passes(() => createOrtNodeExecutor({ device: "webgpu" }), ["inputs_embeds_audio_merge"])
})

/** What a recorded live conversation consists of. */
type StreamEvent =
  | {
      readonly prefill: number
      readonly session: string
      readonly message: GoldenMessage
      readonly kw: { readonly omni_input?: boolean; readonly max_slice_nums?: number }
      readonly text: string
      readonly ids: readonly number[]
      readonly audio_cache_length: number
    }
  | {
      readonly generate: number
      readonly inner_calls: readonly { readonly input_ids: readonly number[] }[]
      readonly completed: boolean
    }

/** Column sums and sums of absolute values, [2, D]. */
function columnSums({ data, shape }: HostTensor<"f32">): HostTensor {
  const width = shape.at(-1)!
  const sums = new Float64Array(2 * width)
  for (const [i, value] of data.entries()) {
    sums[i % width]! += value
    sums[width + (i % width)]! += Math.abs(value)
  }
  return f32([2, width], Float32Array.from(sums))
}

describe("recorded live conversations", () => {
  test.each(["streaming_omni", "streaming_voice"])("pieces of %s", { timeout: 30_000 }, async (name) => {
    await using set = await openGoldenSet(TINY)
    await using executor = createOrtNodeExecutor({ device: "cpu", threads: 1 })
    const golden = set.cases.find((known) => known.name === name)!
    const { outputs } = await readArrays(set, golden)
    const parts = await loadPromptParts(set)
    const models = await loadEmbedParts(set, executor)
    const events = JSON.parse(await readText(set.folder, golden.data!)) as StreamEvent[]
    let session = ""
    let state = INITIAL_STREAM_PROMPT
    let heard: AudioStream | undefined
    for (const event of events) {
      if ("generate" in event) {
        const [piece, next] = answerPiece(parts, state)
        expect(piece.ids).toEqual(event.inner_calls[0]!.input_ids)
        state = event.completed ? answerCompleted(next) : next
        heard = undefined
        continue
      }
      if (event.session !== session) state = INITIAL_STREAM_PROMPT
      session = event.session
      const { omni_input, max_slice_nums } = event.kw
      const [piece, next] = messagePiece(parts, state, await readMessage(set, event.message), {
        ...(omni_input === undefined ? {} : { omniInput: omni_input }),
        ...(max_slice_nums === undefined ? {} : { maxSliceNums: max_slice_nums }),
      })
      expect([piece.text, piece.ids]).toEqual([event.text, event.ids])
      // What was heard ends with every message of another role, and with the first turn.
      const [embeds, stream] = await runSteps(
        embedPiece(models, piece, event.message.role === "user" ? heard : undefined),
      )
      heard = state.started ? stream : undefined
      expect(heard?.cache.length ?? 0).toBe(event.audio_cache_length)
      state = next
      const whole = outputs[`prefill${event.prefill}_embeds`]
      const got = whole ? embeds : columnSums(embeds)
      expect(relativeToMaxAbs(got, whole ?? outputs[`prefill${event.prefill}_embeds_sum`]!)).toBeLessThan(1e-4)
    }
    expect(events.length).toBeGreaterThan(5)
  })
})

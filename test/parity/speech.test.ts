import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import { createOrtNodeExecutor, findVulkanDriver, useVulkanDriver } from "../../src/runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../../src/runtime/index.ts"
import { skipUnless } from "../skip.ts"
import { matcher, runCases } from "./runner.ts"
import { speechCases } from "./speech.ts"

const TINY = fileURLToPath(new URL("../fixtures/tiny-a", import.meta.url))

/** One test per device: the cases must all be there and pass. */
function passes(executor: Executor, names: readonly string[]) {
  afterAll(async () => {
    await executor[Symbol.asyncDispose]()
  })
  test.each(names)("%s", async (name) => {
    const results = []
    for await (const result of runCases(TINY, executor, matcher([name]))) results.push(result)
    expect(results.map(({ name, failures }) => [name, failures])).toEqual([[name, []]])
  })
}

describe("on the reference interpreter", () => {
  passes(createReferenceExecutor(), [
    "tts",
    "tts_prefill_audio",
    "dvae_decode",
    "dvae_encode",
    "vocos",
    "speech_stream_short",
    "speech_chat",
  ])
})

describe("on the CPU", () => {
  passes(createOrtNodeExecutor({ device: "cpu", threads: 1 }), Object.keys(speechCases))
})

const driver = findVulkanDriver(process.env) !== undefined

skipUnless(driver, "no Vulkan driver (apt install chromium libvulkan1)")("on WebGPU", () => {
  if (!driver) return
  useVulkanDriver(process.env)
  // The other cases take minutes on a software driver; the parity command runs them.
  passes(createOrtNodeExecutor({ device: "webgpu" }), ["tts_prefill_audio"])
})

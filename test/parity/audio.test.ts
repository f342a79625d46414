import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import { createOrtNodeExecutor, findVulkanDriver, useVulkanDriver } from "../../src/runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../../src/runtime/index.ts"
import { skipUnless } from "../skip.ts"
import { matcher, runCases } from "./runner.ts"

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
  // The padded batches and the stream of 31 seconds take it five to ten seconds; the parity command runs them.
  passes(createReferenceExecutor(), ["apm_single_steps", "apm_streaming"])
})

describe("on the CPU", () => {
  const offline = ["apm_two_audios_chunk1", "apm_two_audios_full", "apm_single_steps"]
  const names = ["mel", "mel_24k", "text_helpers", ...offline, "apm_streaming", "apm_streaming_reset"]
  passes(createOrtNodeExecutor({ device: "cpu", threads: 2 }), names)
})

const driver = findVulkanDriver(process.env) !== undefined

skipUnless(driver, "no Vulkan driver (apt install chromium libvulkan1)")("on WebGPU", () => {
  if (!driver) return
  useVulkanDriver(process.env)
  // The other cases take half a minute on a software driver; the parity command runs them.
  passes(createOrtNodeExecutor({ device: "webgpu" }), ["apm_streaming"])
})

import { describe, expect, test } from "vitest"
import { createOrtNodeExecutor, findVulkanDriver } from "../../src/runtime/index.node.ts"
import { createReferenceExecutor, type Executor } from "../../src/runtime/index.ts"
import { skipUnless } from "../skip.ts"
import { runCases } from "./runner.ts"

const TINY = new URL("../fixtures/tiny-a", import.meta.url).pathname

async function failuresOf(name: string, executor: Executor): Promise<readonly string[]> {
  const failures: string[] = []
  let count = 0
  for await (const result of runCases(TINY, executor, (known) => known === name)) {
    count++
    failures.push(...result.failures)
  }
  return count === 1 ? failures : [`expected one case ${name}, got ${count}`]
}

describe("vision goldens", () => {
  test.each(["vision_positions", "vision_small"])("reference interpreter: %s", async (name) => {
    expect(await failuresOf(name, createReferenceExecutor())).toEqual([])
  })

  test.each(["image_processor", "vision_small", "vision_images", "vision_sliced", "vision_long_strip"])(
    "CPU: %s",
    async (name) => {
      expect(await failuresOf(name, createOrtNodeExecutor({ device: "cpu" }))).toEqual([])
    },
  )
})

const driver = findVulkanDriver(process.env)
skipUnless(driver !== undefined, "no Vulkan driver (install Chromium, or set VK_ICD_FILENAMES)")(
  "vision on WebGPU",
  () => {
    // A software driver compiles each shader for about a second.
    test("vision_small", { timeout: 120_000 }, async () => {
      process.env.VK_ICD_FILENAMES = driver
      expect(await failuresOf("vision_small", createOrtNodeExecutor({ device: "webgpu" }))).toEqual([])
    })
  },
)

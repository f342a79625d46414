/** @file A checkpoint of other sizes and other ids: everything is read from its files, and every device agrees. */
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { temporaryFolders } from "../convert/folders.test-util.node.ts"
import { openModelWeights } from "../convert/index.node.ts"
import { relativeError } from "../convert/weights.test-util.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createReferenceExecutor } from "../runtime/index.ts"
import { loadModel } from "./load.node.ts"
import { makeOddCheckpoint } from "./odd-checkpoint.test-util.node.ts"
import { type PartOutputs, partOutputs, question } from "./parts.test-util.node.ts"

const temporary = temporaryFolders()
const KINDS = ["none", "int8", "int8+int4"] as const

describe("an odd checkpoint", () => {
  const directory = join(temporary(), "odd")
  beforeAll(() => makeOddCheckpoint(directory))

  test("every component on the CPU equals the interpreter, in floats and as it is quantized", async () => {
    await using cpu = createOrtNodeExecutor({ device: "cpu", threads: 1 })
    const reference = createReferenceExecutor({ activationBits: await cpu.activationBits() })
    const outputsOf = async (quantize: (typeof KINDS)[number]) => {
      using weights = await openModelWeights({ directory, quantize })
      return [await partOutputs(directory, weights, cpu), await partOutputs(directory, weights, reference)] as const
    }
    const [exact, wanted] = await outputsOf("none")
    const [rounded, stored] = await outputsOf("int8")
    for (const name of Object.keys(exact) as (keyof PartOutputs)[]) {
      expect(relativeError(exact[name], wanted[name]), name).toBeLessThan(1e-5)
      // ONNX Runtime rounds inputs of 8-bit blocks as well.
      expect(relativeError(rounded[name], stored[name]), name).toBeLessThan(0.05)
      expect(relativeError(rounded[name], wanted[name]), name).toBeLessThan(0.1)
    }
  })

  test("it answers aloud to a picture and a sound, equally on both devices, and quantized", async () => {
    const answer = async (device: "cpu" | "reference", quantize: (typeof KINDS)[number]) => {
      const options = { model: directory, device, quantize, threads: 1, cacheFolder: join(directory, "cache") } as const
      await using loaded = await loadModel(options, () => {}, new AbortController().signal)
      const said = { text: "", samples: 0, image: 0, audio: 0 }
      for await (const event of loaded.chat({ ...question(), temperature: 0, maxNewTokens: 4 })) {
        if (event?.type === "audio-delta") said.samples += event.pcm.length
        if (event?.type !== "turn-end") continue
        const { promptImageTokens: image, promptAudioTokens: audio } = event.usage
        Object.assign(said, { text: event.text, image, audio })
      }
      return said
    }
    const want = await answer("reference", "none")
    expect(want).toMatchObject({ image: 25, audio: 25 })
    expect(want.samples).toBeGreaterThan(0)
    expect(await answer("cpu", "none")).toEqual(want)
    expect(await answer("cpu", "int8+int4")).toMatchObject({ image: 25, audio: 25 })
  }, 60_000)
})

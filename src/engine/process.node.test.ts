/** @file The engine in a child process: answers come through, and however the process ends, its calls end with an error. */
import { afterEach, expect, test } from "vitest"
import { CHECKPOINT } from "../convert/folders.test-util.node.ts"
import { BackendError, CheckpointError } from "../util/index.ts"
import type { LoadOptions } from "./messages.ts"
import { asking } from "./model.test-util.ts"
import { type EngineProcess, startEngineProcess } from "./process.node.ts"

const LOAD: LoadOptions = { model: CHECKPOINT, device: "cpu", quantize: "none", threads: 1, cacheFolder: "cache" }

const started: EngineProcess[] = []
afterEach(async () => {
  for (const { client } of started.splice(0)) await client.close()
})

function start(): EngineProcess {
  const engine = startEngineProcess()
  started.push(engine)
  return engine
}

test("answers, with sound and pictures as they were, and ends when it is closed", async () => {
  const { client, exited } = start()
  expect(await client.load(LOAD)).toMatchObject({ device: "cpu", layers: 3 })
  const audio = { pcm: new Float32Array(16_000).fill(0.1), sampleRateHz: 16_000 }
  const messages = [{ role: "user" as const, content: [{ type: "audio" as const, audio }] }]
  const types = new Set<string>()
  for await (const event of client.chat({ messages, maxNewTokens: 3, temperature: 0 })) types.add(event.type)
  expect(types).toContain("turn-end")
  await client.close()
  expect(await exited).toBe("it was closed")
})

test("killed in the middle of an answer, it ends the answer with an error and says why", async () => {
  const { client, pid, exited } = start()
  await client.load(LOAD)
  const reading = (async () => {
    for await (const _ of client.chat({ ...asking("hello"), maxNewTokens: 2000, minNewTokens: 2000 }))
      process.kill(pid!, "SIGKILL")
  })()
  await expect(reading).rejects.toThrow(BackendError)
  await expect(reading).rejects.toThrow("engine: expected it to run on, got: its process was ended by SIGKILL")
  expect(await exited).toBe("its process was ended by SIGKILL")
  await expect(client.load(LOAD)).rejects.toThrow("engine: expected a live engine")
})

test("a model that does not load is told with its error, and the process serves on", async () => {
  const { client } = start()
  await expect(client.load({ ...LOAD, model: "/nowhere" })).rejects.toThrow(CheckpointError)
  expect(await client.load(LOAD)).toMatchObject({ layers: 3 })
})

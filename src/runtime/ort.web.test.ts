/** @file What the web executor refuses before it fetches anything; test/browser runs it where it belongs. */
import { afterEach, expect, test, vi } from "vitest"
import { BackendError, ConfigError } from "../util/index.ts"
import { createOrtWebExecutor } from "./index.web.ts"

afterEach(() => {
  vi.unstubAllGlobals()
})

test.each([0, -1, 1.5, Number.NaN])("refuses %d threads", async (threads) => {
  const failure = createOrtWebExecutor({ device: "wasm", threads })
  await expect(failure).rejects.toThrow(ConfigError)
  await expect(failure).rejects.toThrow(`threads: expected a whole number from 1 on, got ${threads}`)
})

test("refuses threads where memory cannot be shared", async () => {
  const failure = createOrtWebExecutor({ device: "wasm", threads: 4 })
  await expect(failure).rejects.toThrow(ConfigError)
  await expect(failure).rejects.toThrow(
    "threads: expected a cross-origin isolated page for 4 threads, got one that is not (serve it with the headers",
  )
})

test.each([
  ["a browser without WebGPU", {}, "webgpu: expected navigator.gpu, got none (take the device wasm)"],
  ["a machine without an adapter", { gpu: { requestAdapter: async () => null } }, "webgpu: expected an adapter, got"],
])("refuses %s", async (_, navigator, message) => {
  vi.stubGlobal("navigator", navigator)
  const failure = createOrtWebExecutor({ device: "webgpu" })
  await expect(failure).rejects.toThrow(BackendError)
  await expect(failure).rejects.toThrow(message)
})

test("refuses other settings than a device's first executor took", async () => {
  await using _ = await createOrtWebExecutor({ device: "wasm", threads: 1, wasmPaths: "https://example.org/ort/" })
  await using same = await createOrtWebExecutor({ device: "wasm", threads: 1, wasmPaths: "https://example.org/ort/" })
  expect(same.device).toBe("wasm")
  const failure = createOrtWebExecutor({ device: "wasm", wasmPaths: "https://example.org/ort/" })
  await expect(failure).rejects.toThrow(ConfigError)
  await expect(failure).rejects.toThrow("wasm: expected the settings of its first executor")
})

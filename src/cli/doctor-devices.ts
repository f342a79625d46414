/** @file Tries devices in processes of their own: a driver that crashes or hangs ends that process, not this one. */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { DeviceProbe } from "./doctor-probe.ts"

export type DeviceReport = {
  readonly device: "cpu" | "webgpu"
  /** Why it cannot be used; undefined when it works. */
  readonly problem: string | undefined
  /** Version of ONNX Runtime. */
  readonly runtime: string | undefined
  /** File that names the Vulkan driver. */
  readonly driver: string | undefined
  readonly probe: DeviceProbe["probe"] | undefined
}

type ProbeOptions = {
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs?: number
  /** The module that is run; another one in tests. */
  readonly entry?: string
}

const PROBE = fileURLToPath(new URL("./doctor-probe.ts", import.meta.url))
const DEVICE_MS = 30_000
const BANDWIDTH_MS = 15_000
const LONGEST_OUTPUT = 100_000

/** Compiles and runs small quantized products on a device. @throws the signal's reason, aborted before it begins */
export async function tryDevice(device: "cpu" | "webgpu", options: ProbeOptions = {}): Promise<DeviceReport> {
  const { value, problem } = await runProbe(device, { timeoutMs: DEVICE_MS, ...options })
  const probed = value as (DeviceProbe & { readonly problem?: string }) | undefined
  return {
    device,
    problem: problem ?? probed?.problem,
    runtime: probed?.runtime,
    driver: probed?.driver,
    probe: probed?.probe,
  }
}

/** Bytes per second that all cores read together; undefined when it could not be measured. */
export async function measureBandwidth(options: ProbeOptions = {}): Promise<number | undefined> {
  const { value } = await runProbe("bandwidth", { timeoutMs: BANDWIDTH_MS, ...options })
  const figure = (value as { readonly bytesPerSecond?: unknown } | undefined)?.bytesPerSecond
  return typeof figure === "number" && figure > 0 ? figure : undefined
}

type Outcome = { readonly value?: unknown; readonly problem?: string }

async function runProbe(what: string, options: ProbeOptions & { readonly timeoutMs: number }): Promise<Outcome> {
  const { entry = PROBE, timeoutMs, signal } = options
  signal?.throwIfAborted()
  return await new Promise((resolve) => {
    const child = spawn(process.execPath, [entry, what], { stdio: ["ignore", "pipe", "pipe"], env: process.env })
    let [text, complaints] = ["", ""]
    let late = false
    const kill = () => child.kill("SIGKILL")
    const timer = setTimeout(() => {
      late = true
      kill()
    }, timeoutMs)
    signal?.addEventListener("abort", kill, { once: true })
    child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      if (text.length < LONGEST_OUTPUT) text += piece
    })
    child.stderr.setEncoding("utf8").on("data", (piece: string) => {
      if (complaints.length < LONGEST_OUTPUT) complaints += piece
    })
    const end = (outcome: Outcome) => {
      clearTimeout(timer)
      signal?.removeEventListener("abort", kill)
      resolve(outcome)
    }
    child.on("error", (error) => end({ problem: `expected a process to try it in, got ${error.message}` }))
    child.on("close", (code, by) => {
      if (late)
        return end({ problem: `expected an answer within ${timeoutMs / 1000} s, got none (a driver that hangs)` })
      const value = parseLast(text)
      if (value !== undefined) return end({ value })
      const last = complaints.trim().split("\n").at(-1) ?? ""
      end({
        problem: `expected it to run, got a process that ended with ${by ?? `code ${code}`}${last && `: ${last}`}`,
      })
    })
  })
}

/** The last line: libraries print what they like before it. */
function parseLast(text: string): unknown {
  try {
    return JSON.parse(text.trim().split("\n").at(-1) ?? "")
  } catch {
    return undefined
  }
}

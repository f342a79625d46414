/** @file `omni doctor`: what this machine has, what of it works, and which form of the model fits its memory. */
import { defineCommand } from "citty"
import { freeSpace, listModels } from "../hub/index.node.ts"
import { cacheFolder, modelPlaces } from "../omni.models.node.ts"
import { sizeText } from "../util/index.ts"
import { type DeviceReport, measureBandwidth, tryDevice } from "./doctor-devices.ts"
import { findProgram, type Hardware, readHardware } from "./doctor-hardware.ts"
import { type ModelReport, reportModel } from "./doctor-model.ts"
import { OUTPUT_FLAGS } from "./flags.ts"
import { interruptible } from "./interrupt.ts"
import { createOutput } from "./output.ts"

const FLAGS = {
  model: { type: "string", description: "folder or name of a model; the full one when absent", valueHint: "NAME|DIR" },
  ...OUTPUT_FLAGS,
} as const

/** Programs that some files need; nothing of text chat does. */
const PROGRAMS = [
  { name: "ffmpeg", use: "videos, sound such as M4A, and answers in Opus, AAC and FLAC" },
  { name: "ffprobe", use: "videos, and sound such as M4A" },
]

type Report = {
  readonly hardware: Hardware
  readonly software: { readonly node: string; readonly executable: string; readonly glibcTunables: string | undefined }
  readonly devices: readonly DeviceReport[]
  /** Bytes per second that all cores read together. */
  readonly memoryBytesPerSecond: number | undefined
  readonly model: ModelReport
  /** Models on this machine that lack nothing. */
  readonly here: readonly string[]
  readonly disks: readonly { readonly use: string; readonly folder: string; readonly freeBytes: number | undefined }[]
  readonly programs: readonly { readonly name: string; readonly use: string; readonly path: string | undefined }[]
  /** Why text chat cannot run; empty when it can. */
  readonly problems: readonly string[]
}

async function examine(model: string | undefined, signal: AbortSignal): Promise<Report> {
  const places = modelPlaces(process.env)
  // One after the other: they would measure each other.
  const devices = [await tryDevice("cpu", { signal }), await tryDevice("webgpu", { signal })]
  const memoryBytesPerSecond = await measureBandwidth({ signal })
  const report = await reportModel(model, places, process.availableMemory())
  const cpu = devices[0]!
  const problems = [
    ...(cpu.problem === undefined ? [] : [`device cpu: ${cpu.problem}`]),
    // Without a model named, the full one is an example: smaller ones may run.
    ...(model !== undefined && report.problem !== undefined ? [report.problem] : []),
  ]
  return {
    hardware: readHardware(),
    software: { node: process.version, executable: process.execPath, glibcTunables: process.env.GLIBC_TUNABLES },
    devices,
    memoryBytesPerSecond,
    model: report,
    here: (await listModels(places)).filter(({ missing }) => missing.length === 0).map(({ name }) => name),
    disks: [
      { use: "models", folder: places.cacheFolder, freeBytes: await freeSpace(places.cacheFolder) },
      {
        use: "quantized weights",
        folder: cacheFolder(process.env),
        freeBytes: await freeSpace(cacheFolder(process.env)),
      },
    ],
    programs: await Promise.all(
      PROGRAMS.map(async (one) => ({ ...one, path: await findProgram(one.name, process.env) })),
    ),
    problems,
  }
}

export const doctor = defineCommand({
  meta: { name: "doctor", description: "say what this machine has, what works and what fits" },
  args: FLAGS,
  async run({ args }) {
    const output = createOutput({ json: args.json === true, quiet: args.quiet === true })
    await interruptible(async (signal) => {
      const report = await examine(args.model, signal)
      signal.throwIfAborted()
      const canChat = report.problems.length === 0
      output.record({ type: "doctor", canChat, ...report })
      output.text(`${lines(report).join("\n")}\n`)
      if (!canChat) process.exitCode = 1
    })
  },
})

function lines(report: Report): string[] {
  const { hardware, software, devices, memoryBytesPerSecond, model, here, disks, programs, problems } = report
  const size = (bytes: number | undefined) => (bytes === undefined ? "unknown" : sizeText(bytes))
  const speed = memoryBytesPerSecond === undefined ? "unknown" : `${sizeText(memoryBytesPerSecond)}/s`
  return [
    `processor   ${hardware.cpu}, ${hardware.cores} cores, ${hardware.architecture} ${hardware.platform}`,
    `            ${hardware.features.join(" ") || "no known vector instructions found"}`,
    `memory      ${size(hardware.totalBytes)}, ${size(hardware.availableBytes)} available, read at ${speed}`,
    `node        ${software.node} (${software.executable})`,
    `launcher    huge pages for weights: ${software.glibcTunables?.includes("hugetlb") ? "asked for" : "not asked for"}`,
    ...devices.flatMap(deviceLines),
    ...modelLines(model),
    hereLine(here),
    ...disks.map(({ use, folder, freeBytes }) => `disk        ${size(freeBytes)} free for ${use} (${folder})`),
    ...programs.map(({ name, use, path }) => `program     ${name}: ${path ?? `missing (${use} need it)`}`),
    // What is wrong with a model stands in its own line.
    `verdict     ${problems.length === 0 ? "can run" : `cannot run: ${problems.map((one) => (one === model.problem ? "see model" : one)).join("; ")}`}`,
  ]
}

const OFFICIAL = "openbmb/MiniCPM-o-2_6"

function hereLine(here: readonly string[]): string {
  const missing = here.some((name) => name.startsWith(OFFICIAL))
    ? ""
    : ` (the full model: omni pull ${OFFICIAL}, 17 GB)`
  return `models      ${here.length === 0 ? "none here" : here.join(", ")}${missing}`
}

function deviceLines({ device, runtime, problem, driver, probe }: DeviceReport): string[] {
  const version = runtime ? ` (ONNX Runtime ${runtime})` : ""
  const by = driver ? `, driver ${driver}` : ""
  const first = `device      ${device}: ${problem === undefined ? `works${version}` : problem}${by}`
  if (!probe) return [first]
  const exact =
    probe.activationBits === 8
      ? "exact"
      : probe.activationBits === 7
        ? "saturate, so activations take 7 bits"
        : "wrong, not used"
  const times = `int8 ${probe.int8Ms.toFixed(2)} ms, int4 ${probe.int4Ms.toFixed(2)} ms`
  // Made for tests: it computes on the processor, slowly.
  const soft = /swiftshader|lvp_icd|llvmpipe/.test(driver ?? "") ? ["            in software, for tests alone"] : []
  return [first, ...soft, `            8-bit products ${exact}; ${times}; prefill takes ${probe.prefill}`]
}

function modelLines({ name, plan, plans, problem, missing }: ModelReport): string[] {
  return [
    `model       ${plan ? `${name}: runs as ${plan}` : problem?.startsWith(name) ? problem : `${name}: ${problem ?? "unknown"}`}`,
    ...plans.map(
      ({ plan: each, bytes, fits }) => `            ${each}: ${sizeText(bytes)}${fits ? "" : ", too large"}`,
    ),
    ...(missing.length > 0 ? [`            lacks ${missing.slice(0, 5).join(", ")}`] : []),
  ]
}

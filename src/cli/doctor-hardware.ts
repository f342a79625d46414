/** @file What the operating system says of the machine. */

import { readFileSync } from "node:fs"
import { access, constants } from "node:fs/promises"
import { arch, availableParallelism, cpus, platform, totalmem } from "node:os"
import { delimiter, join } from "node:path"

export type Hardware = {
  readonly cpu: string
  /** Those that this process may use. */
  readonly cores: number
  readonly architecture: string
  readonly platform: string
  /** Instructions that decide about the speed of products. */
  readonly features: readonly string[]
  readonly totalBytes: number
  readonly availableBytes: number
}

const FEATURES = [
  ...["sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"],
  ...["amx_int8", "amx_bf16", "amx_tile", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme"],
]

export function readHardware(): Hardware {
  return {
    cpu: cpus()[0]?.model.trim() || "unknown processor",
    cores: availableParallelism(),
    architecture: arch(),
    platform: platform(),
    features: cpuFeatures(readText("/proc/cpuinfo")),
    totalBytes: totalmem(),
    availableBytes: process.availableMemory(),
  }
}

/** The known features among those that Linux lists for the first core. */
export function cpuFeatures(cpuinfo: string): string[] {
  const listed = /^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? ""
  const all = new Set(listed.trim().split(/\s+/))
  return FEATURES.filter((name) => all.has(name))
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return "" // other systems have no such file
  }
}

/** The first program of that name in the search path. */
export async function findProgram(
  name: string,
  environment: { readonly [name: string]: string | undefined },
): Promise<string | undefined> {
  const folders = (environment.PATH ?? environment.Path ?? "").split(delimiter).filter((folder) => folder !== "")
  const endings = platform() === "win32" ? [".exe", ".cmd", ".bat"] : [""]
  for (const path of folders.flatMap((folder) => endings.map((ending) => join(folder, name + ending)))) {
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (found) return path
  }
  return undefined
}

/** @file Tiny videos made by ffmpeg itself, for tests that need it. */
import { execFileSync, spawnSync } from "node:child_process"
import { skipUnless } from "../../test/skip.ts"

const installed = ["ffmpeg", "ffprobe"].every((program) => spawnSync(program, ["-version"]).status === 0)

export const describeFfmpeg = skipUnless(installed, "no ffmpeg and ffprobe (install Debian's package ffmpeg)")

export function makeMedia(...args: string[]): void {
  execFileSync("ffmpeg", ["-nostdin", "-v", "error", "-y", ...args], { timeout: 20_000 })
}

/** Pictures whose brightness tells their time: 20 per second, in 8 bits, lossless once encoded as `ffv1`. */
export const clock = (seconds: number, rate: number | string): string[] => [
  ...["-f", "lavfi", "-i", `nullsrc=s=32x24:r=${rate}:d=${seconds},format=gray,geq=lum='20*T'`],
]

export const sineSource = (seconds: number, rate = 44_100): string[] => [
  ...["-f", "lavfi", "-i", `sine=frequency=440:duration=${seconds}:sample_rate=${rate}`],
]

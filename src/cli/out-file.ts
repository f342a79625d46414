/** @file Files that commands write: checked before minutes of work, there as a whole or not at all. */
import { access, constants, rename, rm, stat, writeFile } from "node:fs/promises"
import { dirname, resolve } from "node:path"
import { concatPcm, writeWav } from "../audio/index.ts"
import { VOCODER_SAMPLE_RATE_HZ } from "../inference/index.ts"
import { errorText, InputError } from "../util/index.ts"

/** @throws InputError when no file can be written there */
export async function checkOutFile(flag: string, path: string): Promise<void> {
  const there = await stat(path).catch(() => undefined)
  if (there?.isDirectory()) throw new InputError(`${flag}: expected a file to write, got the folder ${path}`)
  await checkOutFolder(flag, dirname(resolve(path)))
}

/** @throws InputError when there is no such folder, or nothing can be written into it */
export async function checkOutFolder(flag: string, folder: string): Promise<void> {
  const problem = await access(folder, constants.W_OK).then(
    () => undefined,
    (error: unknown) => errorText(error),
  )
  if (problem) throw new InputError(`${flag}: expected a folder that can be written, got ${folder}: ${problem}`)
}

/** Writes a file that appears whole. */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const partial = `${path}.${process.pid}.partial`
  try {
    await writeFile(partial, content)
    await rename(partial, path)
  } finally {
    await rm(partial, { force: true })
  }
}

/**
 * Writes pieces of an answer's sound as one WAV file.
 * @returns its length in milliseconds
 */
export async function writeSoundFile(
  path: string,
  pieces: readonly Float32Array[],
  encoding: "s16" | "f32",
): Promise<number> {
  const pcm = concatPcm(pieces)
  await writeWhole(path, writeWav(pcm, { sampleRateHz: VOCODER_SAMPLE_RATE_HZ, encoding }))
  return (pcm.length / VOCODER_SAMPLE_RATE_HZ) * 1000
}

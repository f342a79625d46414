/** @file Files that commands write: checked before minutes of work, there as a whole or not at all. */
import { randomUUID } from "node:crypto"
import { access, constants, realpath, rename, rm, stat, writeFile } from "node:fs/promises"
import { dirname, extname, join, resolve } from "node:path"
import { VOCODER_SAMPLE_RATE_HZ } from "../inference/index.ts"
import { type SoundFormat, SoundWriter } from "../media/index.ts"
import { ConfigError, errorText, InputError } from "../util/index.ts"

/** Formats by the endings of their names; a name with none of them is a WAV file. */
const FORMATS: Readonly<Record<string, SoundFormat>> = {
  ".wav": "wav",
  ".mp3": "mp3",
  ".opus": "opus",
  ".ogg": "opus",
  ".oga": "opus",
  ".aac": "aac",
  ".m4a": "m4a",
  ".flac": "flac",
}

/** Endings that promise what is not written. */
const OTHER_SOUND = new Set([".webm", ".weba", ".wma", ".aif", ".aiff", ".amr", ".pcm", ".raw"])

export type SampleEncoding = "s16" | "f32"

const endingOf = (path: string) => extname(path).toLowerCase()
const formatOf = (path: string): SoundFormat => FORMATS[endingOf(path)] ?? "wav"

/**
 * Checks where sound is to be written.
 * @param inputs files that are read: writing onto one would lose it
 * @throws InputError when no file can be written there, or its name belongs to another format; ConfigError when its format
 * has no such samples, or needs an ffmpeg that is not there
 */
export async function checkOutFile(
  flag: string,
  path: string,
  inputs: readonly (string | undefined)[] = [],
  { encoding = "s16", sounds = new SoundWriter() }: { encoding?: SampleEncoding; sounds?: SoundWriter } = {},
): Promise<void> {
  if (OTHER_SOUND.has(endingOf(path)))
    throw new InputError(
      `${flag}: expected a name that ends in ${Object.keys(FORMATS).join(", ")}, got ${path} (name it .wav, and convert it)`,
    )
  const format = formatOf(path)
  if (encoding === "f32" && format !== "wav")
    throw new ConfigError(`--format: expected int16 for ${format}, got float32 (only WAV files have such samples)`)
  await sounds.check(format, flag)
  const there = await stat(path).catch(() => undefined)
  if (there?.isDirectory()) throw new InputError(`${flag}: expected a file to write, got the folder ${path}`)
  if (there && !there.isFile()) return // a device or pipe, written as it is
  for (const input of inputs) {
    const read = input === undefined ? undefined : await stat(input).catch(() => undefined)
    if (there && read?.ino === there.ino && read.dev === there.dev)
      throw new InputError(`${flag}: expected another file than ${input}, which is read, got ${path} (choose another)`)
  }
  await checkOutFolder(flag, dirname(await targetOf(path)))
}

/** The file that is written: a link stays, and what it names is replaced. */
async function targetOf(path: string): Promise<string> {
  return await realpath(path).catch(() => resolve(path))
}

/** @throws InputError when there is no such folder, or nothing can be written into it */
export async function checkOutFolder(flag: string, folder: string): Promise<void> {
  const problem = await access(folder, constants.W_OK).then(
    () => undefined,
    (error: unknown) => errorText(error),
  )
  if (problem) throw new InputError(`${flag}: expected a folder that can be written, got ${folder}: ${problem}`)
}

/**
 * Writes a file that appears whole; a device or pipe is written as it is, and never replaced.
 * @throws InputError when it cannot be written: the disk is full, its folder is gone
 */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  try {
    const there = await stat(path).catch(() => undefined)
    if (there && !there.isFile()) return await writeFile(path, content)
    const target = await targetOf(path)
    const partial = join(dirname(target), `.omni-${randomUUID()}.partial`)
    try {
      await writeFile(partial, content)
      await rename(partial, target)
    } finally {
      await rm(partial, { force: true })
    }
  } catch (cause) {
    const advice = "free some space, or write somewhere else"
    throw new InputError(`${path}: expected to write it, got: ${errorText(cause)} (${advice})`, { cause })
  }
}

/**
 * Writes pieces of an answer's sound as one file, in the format that its name says.
 * @returns its length in milliseconds
 */
export async function writeSoundFile(
  path: string,
  pieces: readonly Float32Array[],
  { encoding, signal }: { readonly encoding: SampleEncoding; readonly signal?: AbortSignal },
): Promise<number> {
  const options = { sampleRateHz: VOCODER_SAMPLE_RATE_HZ, encoding, signal }
  await writeWhole(path, await new SoundWriter().whole(pieces, formatOf(path), options))
  const samples = pieces.reduce((sum, piece) => sum + piece.length, 0)
  return (samples / VOCODER_SAMPLE_RATE_HZ) * 1000
}

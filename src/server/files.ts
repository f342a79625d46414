/** @file Files inside requests: data URLs and, where allowed, remote ones, decoded to pixels and samples within limits. */
import { randomUUID } from "node:crypto"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { decodeAudio } from "../audio/index.ts"
import type { RgbImage } from "../image/index.ts"
import { mediaUnits, openVideo, readAudioFile } from "../media/index.ts"
import type { ContentPart, Sound } from "../session/index.ts"
import { ConfigError, InputError } from "../util/index.ts"
import { fromBase64 } from "./body.ts"
import type { ServerContext } from "./context.ts"
import { HttpError } from "./errors.ts"

const RATE_HZ = 16_000

/** Frames of a video beyond this are refused: at 64 positions each the context is full. */
const MAX_VIDEO_SECONDS = 300

/**
 * The bytes behind a data URL or a remote one.
 * @throws HttpError 400, 413
 */
export async function fileOf(
  url: string,
  param: string,
  context: ServerContext,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { maxFileBytes } = context.limits
  const data = /^data:[\w.+-]*\/?[\w.+-]*(?:;[\w-]+=[\w.+-]*)*;base64,/i.exec(url.slice(0, 200))
  if (data) return fromBase64(url.slice(data[0].length), param, maxFileBytes)
  if (url.startsWith("data:"))
    throw new HttpError(400, `${param}: expected a base64 data URL, got another`, { param, code: "invalid_value" })
  if (!context.fetchRemote)
    throw new HttpError(400, `${param}: expected a data URL, got a remote one (the server fetches none)`, {
      param,
      code: "remote_files_off",
    })
  return await context.fetchRemote(url, maxFileBytes, signal)
}

export async function imageOf(bytes: Uint8Array, param: string, context: ServerContext): Promise<RgbImage> {
  return await context.decodeImage(bytes, param)
}

/** Sound of any format that we or an installed ffmpeg can read, mono at 16 kHz. @throws InputError, HttpError */
export async function soundOf(
  bytes: Uint8Array,
  param: string,
  context: ServerContext,
  signal: AbortSignal,
): Promise<Sound> {
  const { maxSeconds } = context.limits
  try {
    const { pcm, sampleRateHz } = await decodeAudio(bytes, { sampleRateHz: RATE_HZ, maxSeconds, source: param })
    return { pcm, sampleRateHz }
  } catch (error) {
    if (!(error instanceof InputError) || !isForeign(bytes)) throw error
  }
  // AAC in MP4, and sound of videos: an installed ffmpeg reads them from a file.
  return await asFile(bytes, param, async (path) => {
    const { pcm, sampleRateHz } = await readAudioFile(path, { maxSeconds, signal })
    return { pcm, sampleRateHz }
  })
}

/** A video as the model sees it: one frame and one second of sound at a time. */
export async function videoOf(
  bytes: Uint8Array,
  param: string,
  context: ServerContext,
  signal: AbortSignal,
): Promise<ContentPart[]> {
  return await asFile(bytes, param, async (path) => {
    const video = await openVideo(path, { maxSeconds: Math.min(context.limits.maxSeconds, MAX_VIDEO_SECONDS), signal })
    const parts: ContentPart[] = []
    const sound = video.hasAudio ? video.audio() : undefined
    for await (const { frame, pcm } of mediaUnits({ audio: sound, video: video.frames() })) {
      if (frame) parts.push({ type: "image", image: frame })
      if (sound && pcm.length > 0) parts.push({ type: "audio", audio: { pcm, sampleRateHz: RATE_HZ } })
    }
    return parts
  })
}

/** MP4 and its kin, Matroska and WebM, AVI: containers that only ffmpeg opens. */
function isForeign(bytes: Uint8Array): boolean {
  const text = Buffer.from(bytes.subarray(0, 16)).toString("latin1")
  return text.slice(4, 8) === "ftyp" || text.startsWith("\x1a\x45\xdf\xa3") || text.slice(8, 12) === "AVI "
}

/** Runs a reader of files on bytes in memory. Its errors name the field instead of the path. */
async function asFile<T>(bytes: Uint8Array, param: string, read: (path: string) => Promise<T>): Promise<T> {
  if (!isForeign(bytes)) throw new InputError(`${param}: expected MP4, WebM, Matroska or AVI, got another format`)
  const folder = await mkdtemp(join(tmpdir(), "omni-upload-"))
  const path = join(folder, randomUUID())
  try {
    await writeFile(path, bytes, { mode: 0o600 })
    return await read(path)
  } catch (error) {
    if (error instanceof InputError) throw new InputError(error.message.replaceAll(path, param), { cause: error })
    if (error instanceof ConfigError) throw new ConfigError(error.message.replaceAll(path, param), { cause: error })
    throw error
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

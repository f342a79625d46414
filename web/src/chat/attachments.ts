/**
 * @file Files for a chat message: pictures are made smaller, sound becomes 16 kHz WAV, a video becomes a picture a second and
 * its sound. The browser decodes; nothing leaves the page before the message is sent.
 */
import { base64Of } from "../audio/base64.ts"
import { resample, writeWav } from "../omni.ts"
import { pictureOf } from "../video/frames.ts"
import type { ChatPart } from "./chat-api.ts"

export type Attachment = {
  readonly id: string
  readonly name: string
  readonly kind: "image" | "audio" | "video"
  /** For showing; revoked with {@link dropAttachment}. */
  readonly url: string
  readonly parts: readonly ChatPart[]
}

const LONGEST_EDGE = 1792
const VIDEO_EDGE = 448
const MAX_VIDEO_FRAMES = 32
const MAX_AUDIO_SECONDS = 300
const MAX_FILE_BYTES = 512 * 1024 * 1024
const MODEL_RATE_HZ = 16_000

export type AttachmentFailure = "too-large" | "unreadable" | "unknown-kind"
export class AttachmentError extends Error {
  readonly kind: AttachmentFailure
  constructor(kind: AttachmentFailure) {
    super(kind)
    this.kind = kind
  }
}

/** Reads a file that was chosen, dropped or pasted. @throws AttachmentError */
export async function readAttachment(file: File): Promise<Attachment> {
  if (file.size > MAX_FILE_BYTES) throw new AttachmentError("too-large")
  const kind = (["image", "audio", "video"] as const).find((one) => file.type.startsWith(`${one}/`))
  if (!kind) throw new AttachmentError("unknown-kind")
  const url = URL.createObjectURL(file)
  try {
    const parts =
      kind === "image"
        ? await imageParts(file)
        : kind === "audio"
          ? [await soundPart(file)]
          : await videoParts(file, url)
    return { id: crypto.randomUUID?.() ?? `${performance.now()}`, name: file.name, kind, url, parts }
  } catch (error) {
    URL.revokeObjectURL(url)
    throw error instanceof AttachmentError ? error : new AttachmentError("unreadable")
  }
}

export const dropAttachment = ({ url }: Attachment): void => URL.revokeObjectURL(url)

async function jpegPart(source: CanvasImageSource, width: number, height: number, edge: number): Promise<ChatPart> {
  const { blob } = await pictureOf(source, width, height, edge)
  const data = base64Of(new Uint8Array(await blob.arrayBuffer()))
  return { type: "image_url", image_url: { url: `data:image/jpeg;base64,${data}` } }
}

async function imageParts(file: Blob): Promise<ChatPart[]> {
  const bitmap = await createImageBitmap(file)
  try {
    return [await jpegPart(bitmap, bitmap.width, bitmap.height, LONGEST_EDGE)]
  } finally {
    bitmap.close()
  }
}

async function soundPart(file: Blob): Promise<ChatPart> {
  const pcm = await decodeSound(file, MODEL_RATE_HZ)
  const wav = writeWav(pcm.subarray(0, MAX_AUDIO_SECONDS * MODEL_RATE_HZ), { sampleRateHz: MODEL_RATE_HZ })
  return { type: "input_audio", input_audio: { data: base64Of(wav), format: "wav" } }
}

/** A sound file or a video's sound as mono samples. @throws DOMException when the browser cannot decode it */
export async function decodeSound(file: Blob, rateHz: number): Promise<Float32Array> {
  const context = new OfflineAudioContext(1, 1, 48_000)
  const buffer = await context.decodeAudioData(await file.arrayBuffer())
  const mono = new Float32Array(buffer.length)
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel)
    for (let i = 0; i < mono.length; i++) mono[i]! += samples[i]! / buffer.numberOfChannels
  }
  return resample(mono, buffer.sampleRate, rateHz)
}

async function videoParts(file: Blob, url: string): Promise<ChatPart[]> {
  const video = document.createElement("video")
  video.muted = true
  video.preload = "auto"
  video.src = url
  await happened(video, "loadeddata")
  if (!Number.isFinite(video.duration)) {
    // Browsers' own recordings do not say how long they are: the end tells.
    video.currentTime = Number.MAX_SAFE_INTEGER
    await happened(video, "seeked")
  }
  const seconds = Number.isFinite(video.duration) ? video.duration : video.currentTime
  const frames = Math.max(1, Math.min(MAX_VIDEO_FRAMES, Math.floor(seconds)))
  const parts: ChatPart[] = []
  for (let i = 0; i < frames; i++) {
    video.currentTime = Math.min(seconds, ((i + 0.5) * seconds) / frames)
    await happened(video, "seeked")
    parts.push(await jpegPart(video, video.videoWidth, video.videoHeight, VIDEO_EDGE))
  }
  // Many videos have no sound, which decoders report as an error.
  const sound = await soundPart(file).catch(() => undefined)
  return sound ? [...parts, sound] : parts
}

function happened(video: HTMLVideoElement, name: "loadeddata" | "seeked"): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new AttachmentError("unreadable")), 15_000)
    const settle = (done: () => void) => () => {
      clearTimeout(timer)
      done()
    }
    video.addEventListener(name, settle(resolve), { once: true })
    video.addEventListener(
      "error",
      settle(() => reject(new AttachmentError("unreadable"))),
      { once: true },
    )
  })
}

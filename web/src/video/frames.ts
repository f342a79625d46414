/** @file The camera or the screen as pictures, one a second: what the model sees. */

import { base64Of } from "../audio/base64.ts"
import { type MediaFailure, media, mediaFailure, stopStream } from "../audio/microphone.ts"

export type VideoKind = "camera" | "screen"
export type VideoState = {
  readonly stream: MediaStream | undefined
  readonly kind: VideoKind
  readonly facing: "user" | "environment"
  readonly hd: boolean
  /** Address of the picture that was sent last, and its size. */
  readonly seen: { readonly url: string; readonly width: number; readonly height: number } | undefined
}

/** Longest edges: the model's own tile, and what it cuts into slices. */
const EDGE = { plain: 448, hd: 1344 } as const
const EVERY_MS = 1000

export class VideoSource {
  #state: VideoState = { stream: undefined, kind: "camera", facing: "user", hd: false, seen: undefined }
  readonly #onChange: (state: VideoState) => void
  readonly #onFrame: (image: string) => void
  readonly #onFailure: (reason: MediaFailure) => void
  readonly #video = document.createElement("video")
  readonly #canvas = document.createElement("canvas")
  #timer: ReturnType<typeof setInterval> | undefined
  #opening = 0

  constructor(parts: {
    onChange: (state: VideoState) => void
    /** A JPEG in base64. */
    onFrame: (image: string) => void
    onFailure: (reason: MediaFailure) => void
  }) {
    this.#onChange = parts.onChange
    this.#onFrame = parts.onFrame
    this.#onFailure = parts.onFailure
    this.#video.muted = true
    this.#video.playsInline = true
  }

  get state(): VideoState {
    return this.#state
  }

  /** Opens the camera or asks for a screen, in place of what was open. */
  async start(change: Partial<Pick<VideoState, "kind" | "facing">> = {}): Promise<void> {
    const opening = ++this.#opening
    const wanted = { ...this.#state, ...change }
    try {
      const stream = await open(wanted)
      if (opening !== this.#opening) return stopStream(stream)
      stopStream(this.#state.stream)
      const ended = () => this.#state.stream === stream && this.stop()
      stream.getVideoTracks()[0]!.addEventListener("ended", ended)
      this.#video.srcObject = stream
      await this.#video.play()
      this.#set({ kind: wanted.kind, facing: wanted.facing, stream })
      this.#timer ??= setInterval(() => void this.#grab(), EVERY_MS)
      await this.#grab()
    } catch (error) {
      if (opening === this.#opening) this.#onFailure(mediaFailure(error))
    }
  }

  setHd(hd: boolean): void {
    this.#set({ hd })
    const { stream, kind } = this.#state
    // A camera that cannot give more keeps what it gives.
    if (kind === "camera")
      stream
        ?.getVideoTracks()[0]
        ?.applyConstraints(sizeOf(hd))
        .catch(() => undefined)
  }

  stop(): void {
    this.#opening++
    clearInterval(this.#timer)
    this.#timer = undefined
    stopStream(this.#state.stream)
    this.#video.srcObject = null
    if (this.#state.seen) URL.revokeObjectURL(this.#state.seen.url)
    this.#set({ stream: undefined, seen: undefined })
  }

  #set(change: Partial<VideoState>): void {
    this.#state = { ...this.#state, ...change }
    this.#onChange(this.#state)
  }

  async #grab(): Promise<void> {
    const { videoWidth, videoHeight } = this.#video
    if (!this.#state.stream || videoWidth === 0) return
    const edge = this.#state.hd ? EDGE.hd : EDGE.plain
    const picture = await pictureOf(this.#video, videoWidth, videoHeight, edge, this.#canvas)
    if (!this.#state.stream) return
    const { blob, width, height } = picture
    if (this.#state.seen) URL.revokeObjectURL(this.#state.seen.url)
    this.#set({ seen: { url: URL.createObjectURL(blob), width, height } })
    this.#onFrame(base64Of(new Uint8Array(await blob.arrayBuffer())))
  }
}

function open({ kind, facing, hd }: VideoState): Promise<MediaStream> {
  if (kind === "screen") return media().getDisplayMedia({ video: { frameRate: 5 }, audio: false })
  return media().getUserMedia({ video: { facingMode: facing, ...sizeOf(hd) }, audio: false })
}

const sizeOf = (hd: boolean) =>
  hd ? { width: { ideal: 1920 }, height: { ideal: 1080 } } : { width: { ideal: 1280 }, height: { ideal: 720 } }

/** A picture as JPEG, no longer than `edge` on its longer side. */
export async function pictureOf(
  source: CanvasImageSource,
  sourceWidth: number,
  sourceHeight: number,
  edge: number,
  canvas: HTMLCanvasElement = document.createElement("canvas"),
): Promise<{ blob: Blob; width: number; height: number }> {
  const scale = Math.min(1, edge / Math.max(sourceWidth, sourceHeight))
  const width = Math.max(1, Math.round(sourceWidth * scale))
  const height = Math.max(1, Math.round(sourceHeight * scale))
  canvas.width = width
  canvas.height = height
  const context = canvas.getContext("2d", { alpha: false })!
  context.fillStyle = "#fff"
  context.fillRect(0, 0, width, height)
  context.drawImage(source, 0, 0, width, height)
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.85))
  if (!blob) throw new Error("picture: expected a JPEG, got none (the picture may be too large)")
  return { blob, width, height }
}

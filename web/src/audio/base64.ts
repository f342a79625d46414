/** @file Samples as the wire carries them: 16-bit little-endian in base64. */
import { encodePcm, int16ToFloat } from "../omni.ts"

/** Bytes in base64. */
export function base64Of(bytes: Uint8Array): string {
  let text = ""
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192))
  return btoa(text)
}

/** Float samples as 16-bit PCM in base64. */
export function pcmToBase64(pcm: Float32Array): string {
  return base64Of(encodePcm(pcm, "s16"))
}

/** The samples of 16-bit PCM in base64; half a sample at the end is dropped. @throws DOMException when it is no base64 */
export function pcmFromBase64(text: string): Float32Array {
  const raw = atob(text)
  const samples = new Int16Array(raw.length >> 1)
  for (let i = 0; i < samples.length; i++) samples[i] = raw.charCodeAt(2 * i) | (raw.charCodeAt(2 * i + 1) << 8)
  return int16ToFloat(samples)
}

/** Length of 16-bit PCM at 24 kHz in base64, in milliseconds, without decoding it. */
export function pcmMsOfBase64(text: string): number {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0
  return Math.max(0, Math.floor(((text.length / 4) * 3 - padding) / 2)) / 24
}

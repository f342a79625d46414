/** @file Items of a Realtime conversation as the engine's messages. */
import type { EngineCall } from "../engine/index.ts"
import type { RgbImage } from "../image/index.ts"
import {
  RealtimeInputError,
  type RealtimeItem,
  type RealtimeSessionObject,
  type RealtimeStoredItem,
} from "../protocol/index.ts"
import type { ChatMessage, ContentPart, Sound } from "../session/index.ts"
import { bytesFromBase64, rateOf, samplesFromBase64 } from "./realtime-audio.ts"

const MAX_IMAGE_BYTES = 20 * 1024 * 1024

/** The words of an item: written, said, or a tool's result. */
export function textOf(item: RealtimeItem): string {
  if (item.type === "function_call_output") return item.output
  if (item.type === "function_call") return ""
  const words: string[] = []
  for (const part of item.content) {
    if ("text" in part) words.push(part.text)
    else if ("transcript" in part && part.transcript) words.push(part.transcript)
  }
  return words.join("\n")
}

/** The file in a data URL; other URLs are never fetched. @throws RealtimeInputError */
export function pictureOf(url: string): Uint8Array {
  const match = /^data:image\/(?:png|jpe?g|webp);base64,/.exec(url)
  if (!match) {
    const expected = "image_url: expected a data URL of a PNG, JPEG or WebP, got another"
    throw new RealtimeInputError("invalid_value", `realtime: ${expected}`, "item.content", null)
  }
  return bytesFromBase64(url.slice(match[0].length), "image_url", MAX_IMAGE_BYTES)
}

/** Where the sound of items is. */
type Sounds = { get(id: string): Sound | undefined }

/** Pictures of one item: all are seen, and the last is what a question is about, as a camera's latest frame. */
export function shown(pictures: readonly RgbImage[]): {
  readonly pictures?: readonly RgbImage[]
  readonly frame: RgbImage
} {
  const before = pictures.slice(0, -1)
  return { ...(before.length > 0 ? { pictures: before } : {}), frame: pictures.at(-1)! }
}

/** Gives a call items of earlier as messages: their words, and pictures and sound where they are kept. */
export async function readAgain(
  call: EngineCall,
  items: readonly RealtimeStoredItem[],
  sounds: Sounds,
  decode: (bytes: Uint8Array) => Promise<RgbImage>,
): Promise<void> {
  for (const item of items) {
    const text = textOf(item)
    if (item.type === "function_call") {
      await call.append({ role: "assistant", text: "", toolCalls: [{ name: item.name, arguments: item.arguments }] })
    } else if (item.type === "function_call_output") await call.append({ role: "tool", text })
    else if (item.role !== "user") {
      if (text !== "") await call.append({ role: item.role === "assistant" ? "assistant" : "user", text })
    } else {
      const pictures: RgbImage[] = []
      for (const part of item.content)
        if (part.type === "input_image") pictures.push(await decode(pictureOf(part.image_url)))
      if (pictures.length > 0) await call.push(shown(pictures))
      const sound = sounds.get(item.id)
      // Its transcript says the same again.
      if (sound) await call.append({ role: "user", text: writtenOf(item), sound })
      else if (text !== "") await call.append({ role: "user", text })
    }
  }
}

/** The words of an item that were written. */
function writtenOf(item: Extract<RealtimeItem, { type: "message" }>): string {
  return item.content.flatMap((part) => ("text" in part ? [part.text] : [])).join("\n")
}

/** Whole messages for a question beside the call. @throws RealtimeInputError, InputError for damaged pictures or sound */
export async function messagesOf(
  items: readonly RealtimeStoredItem[],
  session: RealtimeSessionObject,
  sounds: Sounds,
  decode: (bytes: Uint8Array) => Promise<RgbImage>,
): Promise<ChatMessage[]> {
  const messages: ChatMessage[] = []
  if (session.instructions !== "") messages.push({ role: "system", content: session.instructions })
  const { format } = session.audio.input
  for (const item of items) {
    if (item.type === "function_call") {
      messages.push({ role: "assistant", content: "", toolCalls: [{ name: item.name, arguments: item.arguments }] })
    } else if (item.type === "function_call_output") messages.push({ role: "tool", content: item.output })
    else if (item.role !== "user") messages.push({ role: item.role, content: textOf(item) })
    else {
      const content: ContentPart[] = []
      for (const part of item.content) {
        if (part.type === "input_text") content.push({ type: "text", text: part.text })
        else if (part.type === "input_image")
          content.push({ type: "image", image: await decode(pictureOf(part.image_url)) })
        else if (sounds.get(item.id)) content.push({ type: "audio", audio: sounds.get(item.id)! })
        else if (part.audio !== undefined) {
          const audio = { pcm: samplesFromBase64(part.audio, format), sampleRateHz: rateOf(format) }
          content.push({ type: "audio", audio })
        } else if (part.transcript) content.push({ type: "text", text: part.transcript })
      }
      if (content.length > 0) messages.push({ role: "user", content })
    }
  }
  return messages
}

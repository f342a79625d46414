/** @file What users write as messages, with files in any form, made into what the engine takes: pixels and samples. */
import { type AudioInput, type ImageInput, readImage, readPictureOrSound, readSoundInput } from "./media/index.ts"
import { checkChoice, checkList, checkObject } from "./omni.checks.ts"
import type { Behaviour, ChatMessage, ContentPart } from "./session/index.ts"
import { InputError } from "./util/index.ts"

/**
 * One item of a message. A string is text; files whose names are strings say what they are: `{ image: "cat.png" }`. URLs,
 * bytes, pixels and samples may stand alone.
 */
export type MessageItem =
  | Exclude<ImageInput | AudioInput, string>
  | string
  | { readonly text: string }
  | { readonly image: ImageInput }
  | { readonly audio: AudioInput }

export type Message = Omit<ChatMessage, "content"> & { readonly content: string | readonly MessageItem[] }

const ROLES = ["system", "user", "assistant", "tool"]

type Reading = { readonly behaviour?: Behaviour | undefined; readonly signal?: AbortSignal | undefined }

/** @throws InputError naming the item that cannot be read */
export async function readMessages(messages: string | readonly Message[], reading: Reading): Promise<ChatMessage[]> {
  if (typeof messages === "string") return [{ role: "user", content: messages }]
  checkList("messages", messages)
  const read: ChatMessage[] = []
  for (const [i, message] of messages.entries()) {
    checkObject(`messages[${i}]`, message)
    const { content, ...rest } = message
    checkChoice(`messages[${i}].role`, rest.role ?? null, ROLES)
    reading.signal?.throwIfAborted()
    const where = `messages[${i}].content`
    read.push({ ...rest, content: typeof content === "string" ? content : await readItems(content, where, reading) })
  }
  return read
}

async function readItems(items: readonly MessageItem[], where: string, reading: Reading): Promise<ContentPart[]> {
  if (!Array.isArray(items)) throw new InputError(`${where}: expected text or a list of items, got ${typeof items}`)
  const parts: ContentPart[] = []
  for (const [i, item] of items.entries()) parts.push(await readItem(item, { ...reading, source: `${where}[${i}]` }))
  return parts
}

async function readItem(item: MessageItem, reading: Reading & { readonly source: string }): Promise<ContentPart> {
  if (typeof item === "string") return { type: "text", text: item }
  if (typeof item !== "object" || item === null)
    throw new InputError(
      `${reading.source}: expected text, an image or sound, got ${item === null ? "null" : typeof item}`,
    )
  if ("text" in item && typeof item.text === "string") return { type: "text", text: item.text }
  if ("image" in item) return { type: "image", image: await readImage(item.image, reading) }
  if ("audio" in item) return { type: "audio", audio: await readSoundInput(item.audio, reading) }
  const read = await readPictureOrSound(item as Exclude<ImageInput | AudioInput, string>, reading)
  return "image" in read ? { type: "image", image: read.image } : { type: "audio", audio: read.audio }
}

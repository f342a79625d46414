/** @file What users write as messages, with files in any form, made into what the engine takes: pixels and samples. */
import { checkChoice, checkList, checkObject } from "./omni.checks.ts"
import type { InputReader } from "./omni.inputs.ts"
import type { Behaviour, ChatMessage, ContentPart } from "./session/index.ts"
import { InputError } from "./util/index.ts"

/**
 * One item of a message. A string is text; files whose names are strings say what they are: `{ image: "cat.png" }`. Files,
 * bytes, pixels and samples may stand alone.
 */
export type ItemOf<Picture, Recording> =
  | Exclude<Picture | Recording, string>
  | string
  | { readonly text: string }
  | { readonly image: Picture }
  | { readonly audio: Recording }

export type MessageOf<Picture, Recording> = Omit<ChatMessage, "content"> & {
  readonly content: string | readonly ItemOf<Picture, Recording>[]
}

const ROLES = ["system", "user", "assistant", "tool"]

type Reading = { readonly behaviour?: Behaviour | undefined; readonly signal?: AbortSignal | undefined }

/** @throws InputError naming the item that cannot be read */
export async function readMessages<Picture, Recording>(
  messages: string | readonly MessageOf<Picture, Recording>[],
  reader: InputReader<Picture, Recording>,
  reading: Reading,
): Promise<ChatMessage[]> {
  if (typeof messages === "string") return [{ role: "user", content: messages }]
  checkList("messages", messages)
  const read: ChatMessage[] = []
  for (const [i, message] of messages.entries()) {
    checkObject(`messages[${i}]`, message)
    const { content, ...rest } = message
    checkChoice(`messages[${i}].role`, rest.role ?? null, ROLES)
    reading.signal?.throwIfAborted()
    const where = `messages[${i}].content`
    const parts = typeof content === "string" ? content : await readItems(content, where, reader, reading)
    read.push({ ...rest, content: parts })
  }
  return read
}

async function readItems<Picture, Recording>(
  items: readonly ItemOf<Picture, Recording>[],
  where: string,
  reader: InputReader<Picture, Recording>,
  reading: Reading,
): Promise<ContentPart[]> {
  if (!Array.isArray(items)) throw new InputError(`${where}: expected text or a list of items, got ${typeof items}`)
  const parts: ContentPart[] = []
  for (const [i, item] of items.entries())
    parts.push(await readItem(item, reader, { ...reading, source: `${where}[${i}]` }))
  return parts
}

async function readItem<Picture, Recording>(
  item: ItemOf<Picture, Recording>,
  reader: InputReader<Picture, Recording>,
  reading: Reading & { readonly source: string },
): Promise<ContentPart> {
  if (typeof item === "string") return { type: "text", text: item }
  if (typeof item !== "object" || item === null)
    throw new InputError(
      `${reading.source}: expected text, an image or sound, got ${item === null ? "null" : typeof item}`,
    )
  if ("text" in item && typeof item.text === "string") return { type: "text", text: item.text }
  if ("image" in item) return { type: "image", image: await reader.readImage(item.image as Picture, reading) }
  if ("audio" in item) return { type: "audio", audio: await reader.readSound(item.audio as Recording, reading) }
  const read = await reader.readPictureOrSound(item as Picture | Recording, reading)
  return "image" in read ? { type: "image", image: read.image } : { type: "audio", audio: read.audio }
}

/** @file A conversation as a text file, files for the person's disk, and text for their clipboard. */

import type { Line } from "./call/call-state.ts"
import type { ChatLine } from "./chat/chat-controller.ts"
import type { Messages } from "./i18n/en.ts"

/** The transcript of a call, one paragraph per turn. */
export function callText(lines: readonly Line[], words: Messages): string {
  const paragraphs = lines.map(({ role, text, state }) => {
    const name = role === "user" ? words.you : words.modelSays
    const said = text === undefined || text === "" ? `[${words.spokenTurn}]` : text
    return `${name}: ${said}${state === "cut" ? ` [${words.cutShort}]` : ""}`
  })
  return paragraphs.join("\n\n") + (paragraphs.length > 0 ? "\n" : "")
}

/** A chat, with the names of what was attached. */
export function chatText(lines: readonly ChatLine[], words: Messages): string {
  const paragraphs = lines.map(({ role, text, attachments }) => {
    const files = attachments.map(({ name }) => `[${name}]`).join(" ")
    return `${role === "user" ? words.you : words.modelSays}: ${[files, text].filter((part) => part !== "").join(" ")}`
  })
  return paragraphs.join("\n\n") + (paragraphs.length > 0 ? "\n" : "")
}

/** Offers a file for saving. */
export function saveFile(name: string, content: Blob): void {
  const url = URL.createObjectURL(content)
  const link = document.createElement("a")
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

/** Whether the text is in the clipboard now. Pages that are not secure have the older way alone. */
export async function copyText(text: string): Promise<boolean> {
  const { clipboard } = navigator as Partial<Navigator>
  if (clipboard) {
    return await clipboard.writeText(text).then(
      () => true,
      () => false,
    )
  }
  const area = document.createElement("textarea")
  area.value = text
  area.readOnly = true
  area.className = "unseen"
  document.body.append(area)
  const focused = document.activeElement
  area.select()
  const copied = document.execCommand("copy")
  area.remove()
  if (focused instanceof HTMLElement) focused.focus()
  return copied
}

/** `omni 2026-11-24 15.04` with an extension, in local time. */
export function fileName(extension: string, at = new Date()): string {
  const two = (value: number) => String(value).padStart(2, "0")
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `omni ${day} ${two(at.getHours())}.${two(at.getMinutes())}.${extension}`
}

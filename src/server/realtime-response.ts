/**
 * @file The events of one Realtime response in their order: created, items with their parts and deltas, every `done`, and
 * `response.done` exactly once, whatever the end. It knows no engine and no socket.
 */
import type {
  RealtimeResponse,
  RealtimeServerMessage,
  RealtimeSessionObject,
  RealtimeStoredItem,
} from "../protocol/index.ts"
import type { ToolCall } from "../session/index.ts"
import { createAudioWriter } from "./realtime-audio.ts"

export type ResponseParts = {
  readonly id: string
  /** Null out of band. */
  readonly conversationId: string | null
  readonly session: RealtimeSessionObject
  readonly metadata: Record<string, string> | null
  readonly send: (event: RealtimeServerMessage) => void
  readonly newId: (prefix: string) => string
  /** Called once, with the end. */
  readonly onDone?: () => void
  /** Enters an item into the conversation. @returns the id before it; undefined out of band */
  readonly addItem: (item: RealtimeStoredItem) => string | null | undefined
}

type OpenCall = {
  readonly item: Extract<RealtimeStoredItem, { type: "function_call" }> & { call_id: string }
  readonly outputIndex: number
  readonly previous: string | null | undefined
}
type OpenMessage = { item: RealtimeStoredItem; outputIndex: number; previous: string | null | undefined; text: string }

export class ResponseWriter {
  readonly id: string
  /** Milliseconds of sound per item that was sent. */
  audioMs = 0
  /** The message of this response, once there is one. */
  messageId: string | undefined
  readonly toolCalls: ToolCall[] = []
  /** All text that was told. */
  said = ""
  readonly #parts: ResponseParts
  readonly #output: RealtimeStoredItem[] = []
  readonly #audio: ReturnType<typeof createAudioWriter> | undefined
  #open: OpenMessage | undefined
  #openCall: OpenCall | undefined
  #done = false as boolean

  constructor(parts: ResponseParts) {
    this.id = parts.id
    this.#parts = parts
    if (parts.session.output_modalities[0] === "audio")
      this.#audio = createAudioWriter(parts.session.audio.output.format)
    parts.send({ type: "response.created", response: this.#object("in_progress", null, null) })
  }

  get done(): boolean {
    return this.#done
  }

  text(delta: string): void {
    if (this.#done || delta === "") return
    const open = this.#message()
    open.text += delta
    this.said += delta
    const type = this.#audio ? "response.output_audio_transcript.delta" : "response.output_text.delta"
    this.#parts.send({ type, ...this.#where(open), delta })
  }

  audio(pcm: Float32Array): void {
    if (this.#done || !this.#audio || pcm.length === 0) return
    const open = this.#message()
    this.audioMs += pcm.length / 24
    this.#sendAudio(open, this.#audio.push(pcm))
  }

  /** More of a call's arguments. */
  toolCallDelta(name: string, delta: string): void {
    if (this.#done) return
    const open = this.#call(name)
    if (delta === "") return
    open.item.arguments += delta
    this.#parts.send({ type: "response.function_call_arguments.delta", ...this.#names(open), delta })
  }

  /** A whole call; its arguments may have come before. */
  toolCall(call: ToolCall): void {
    if (this.#done) return
    const { item } = this.#call(call.name)
    if (call.arguments.startsWith(item.arguments))
      this.toolCallDelta(call.name, call.arguments.slice(item.arguments.length))
    item.arguments = call.arguments
    this.toolCalls.push(call)
    this.#closeCall("completed")
  }

  #call(name: string): OpenCall {
    if (this.#openCall) return this.#openCall
    this.#closeMessage("completed")
    const { send, newId, addItem, id } = { ...this.#parts }
    const common = { id: newId("item"), object: "realtime.item", type: "function_call", status: "in_progress" } as const
    const item: OpenCall["item"] = { ...common, call_id: newId("call"), name, arguments: "" }
    const previous = addItem(item)
    const outputIndex = this.#output.length
    const told = { ...item }
    send({ type: "response.output_item.added", response_id: id, output_index: outputIndex, item: told })
    if (previous !== undefined) send({ type: "conversation.item.added", previous_item_id: previous, item: told })
    this.#openCall = { item, outputIndex, previous }
    return this.#openCall
  }

  #names({ item, outputIndex }: OpenCall) {
    return { response_id: this.id, output_index: outputIndex, item_id: item.id, call_id: item.call_id }
  }

  #closeCall(status: "completed" | "incomplete"): void {
    const open = this.#openCall
    if (!open) return
    this.#openCall = undefined
    const { send } = this.#parts
    const { item: kept, previous, outputIndex } = open
    const { name, arguments: given } = kept
    send({ type: "response.function_call_arguments.done", ...this.#names(open), name, arguments: given })
    // The conversation holds this very object.
    kept.status = status
    this.#output.push(kept)
    const item = { ...kept }
    send({ type: "response.output_item.done", response_id: this.id, output_index: outputIndex, item })
    if (previous !== undefined) send({ type: "conversation.item.done", previous_item_id: previous, item })
  }

  /** Ends the response; later calls do nothing. */
  finish(
    status: Exclude<RealtimeResponse["status"], "in_progress">,
    details: Omit<NonNullable<RealtimeResponse["status_details"]>, "type"> | null,
    usage: RealtimeResponse["usage"],
  ): void {
    if (this.#done) return
    this.#closeCall("incomplete") // whole ones are closed already
    this.#closeMessage(status === "completed" ? "completed" : "incomplete")
    this.#done = true
    this.#parts.onDone?.()
    const status_details = details === null ? null : { type: status, ...details }
    this.#parts.send({ type: "response.done", response: this.#object(status, status_details, usage) })
  }

  #where({ item, outputIndex }: OpenMessage) {
    return { response_id: this.id, item_id: item.id, output_index: outputIndex, content_index: 0 }
  }

  #sendAudio(open: OpenMessage, delta: string): void {
    if (delta !== "") this.#parts.send({ type: "response.output_audio.delta", ...this.#where(open), delta })
  }

  #content(text: string) {
    return this.#audio
      ? [{ type: "output_audio" as const, transcript: text }]
      : [{ type: "output_text" as const, text }]
  }

  #message(): OpenMessage {
    if (this.#open) return this.#open
    const { send, newId, addItem } = this.#parts
    const item: RealtimeStoredItem = {
      id: newId("item"),
      object: "realtime.item",
      type: "message",
      role: "assistant",
      status: "in_progress",
      content: [],
    }
    this.messageId ??= item.id
    const previous = addItem(item)
    const open = { item, outputIndex: this.#output.length, previous, text: "" }
    this.#open = open
    send({
      type: "response.output_item.added",
      response_id: this.id,
      output_index: open.outputIndex,
      item: { ...item },
    })
    if (previous !== undefined) send({ type: "conversation.item.added", previous_item_id: previous, item: { ...item } })
    const part = this.#audio ? { type: "audio" as const, transcript: "" } : { type: "text" as const, text: "" }
    send({ type: "response.content_part.added", ...this.#where(open), part })
    return open
  }

  #closeMessage(status: "completed" | "incomplete"): void {
    const open = this.#open
    if (!open) return
    this.#open = undefined
    const { send } = this.#parts
    const { text, previous } = open
    const where = this.#where(open)
    if (this.#audio) {
      this.#sendAudio(open, this.#audio.flush())
      send({ type: "response.output_audio.done", ...where })
      send({ type: "response.output_audio_transcript.done", ...where, transcript: text })
    } else send({ type: "response.output_text.done", ...where, text })
    const part = this.#audio ? { type: "audio" as const, transcript: text } : { type: "text" as const, text }
    send({ type: "response.content_part.done", ...where, part })
    // The conversation holds this very object, so what was said is known there as well.
    Object.assign(open.item, { status, content: this.#content(text) })
    this.#output.push(open.item)
    const item = structuredClone(open.item)
    send({ type: "response.output_item.done", response_id: this.id, output_index: open.outputIndex, item })
    if (previous !== undefined) send({ type: "conversation.item.done", previous_item_id: previous, item })
  }

  #object(
    status: RealtimeResponse["status"],
    status_details: RealtimeResponse["status_details"],
    usage: RealtimeResponse["usage"],
  ): RealtimeResponse {
    const { session, conversationId, metadata } = this.#parts
    const { format, voice } = session.audio.output
    return {
      id: this.id,
      object: "realtime.response",
      status,
      status_details,
      output: structuredClone(this.#output),
      conversation_id: conversationId,
      output_modalities: session.output_modalities,
      max_output_tokens: session.max_output_tokens,
      audio: { output: { format, voice } },
      metadata,
      usage,
    }
  }
}

/** @file Stopping an answer: playback first, then the server learns how much of it was heard. */
import type { RealtimeClientEvent } from "../omni.ts"
import { answerSounds, type CallEffect, type CallState, type Step } from "./call-state.ts"

/** Stops what is heard; the server learns how far that was when the loudspeaker has told. */
export function silence(state: CallState, cancel: boolean): Step {
  const { answer } = state
  if (!answer) return [state, []]
  const effects: CallEffect[] = []
  if (cancel && answer.running)
    effects.push({ do: "send", event: { type: "response.cancel", response_id: answer.responseId } })
  const stopped = { ...state, askedAtMs: undefined, answer: cancel ? { ...answer, running: false } : answer }
  const { itemId } = answer
  if (itemId === undefined || state.silenced.includes(itemId) || !answerSounds(state)) return [stopped, effects]
  const lines = state.lines.map((line) => (line.id === itemId ? { ...line, state: "cut" as const } : line))
  const silenced = [...state.silenced, itemId].slice(-32)
  effects.push({ do: "flush", itemId })
  return [{ ...stopped, flushing: { itemId, receivedMs: answer.receivedMs }, silenced, lines }, effects]
}

/** The loudspeaker has told how far the stopped item was heard. */
export function flushed(state: CallState, itemId: string, playedMs: number): Step {
  if (state.phase !== "live" || state.flushing?.itemId !== itemId) return [state, []]
  const audio_end_ms = Math.max(0, Math.floor(Math.min(playedMs, state.flushing.receivedMs)))
  const answer =
    state.answer?.itemId === itemId
      ? { ...state.answer, playedMs: audio_end_ms, receivedMs: audio_end_ms }
      : state.answer
  // Of an item whose sound never came there is nothing to cut: the server would call that an error.
  const cut: RealtimeClientEvent = {
    type: "conversation.item.truncate",
    item_id: itemId,
    content_index: 0,
    audio_end_ms,
  }
  const events = state.flushing.receivedMs > 0 ? [cut, ...state.afterFlush] : state.afterFlush
  return [{ ...state, answer, flushing: undefined, afterFlush: [] }, events.map((event) => ({ do: "send", event }))]
}

/** Sends now, or after the item that is being stopped has been cut: otherwise the cut would meet the next answer. */
export function sendInOrder(state: CallState, events: readonly RealtimeClientEvent[]): Step {
  if (state.flushing !== undefined) return [{ ...state, afterFlush: [...state.afterFlush, ...events] }, []]
  return [state, events.map((event) => ({ do: "send", event }))]
}

/** @file The WebSocket of a call: frames in and out, and why it ended. */
import { parseServerEvent, printEvent, type RealtimeClientEvent, type RealtimeServerEvent } from "../omni.ts"
import { accessKey, checkServer, knownModel } from "../server/api.ts"
import type { CloseCause } from "./call-state.ts"

/** Sound beyond this is not worth sending: the connection is too slow for a call. */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024

export type CallSocket = {
  send(event: RealtimeClientEvent): void
  close(): void
}

export function openSocket(parts: {
  onEvent: (event: RealtimeServerEvent) => void
  onClose: (cause: CloseCause) => void
}): CallSocket {
  const url = new URL("./v1/realtime", location.href)
  url.hash = ""
  url.searchParams.set("model", knownModel() || "default")
  // A full server lets this call wait in line, and says where it stands.
  url.searchParams.set("queue", "true")
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:"
  const key = accessKey.get()
  const socket = new WebSocket(url, ["realtime", ...(key === "" ? [] : [`openai-insecure-api-key.${key}`])])
  let opened = false
  let closed = false
  socket.onopen = () => {
    opened = true
  }
  socket.onmessage = ({ data }) => {
    if (closed || typeof data !== "string") return
    try {
      const event = parseServerEvent(data)
      if (event) parts.onEvent(event)
    } catch (error) {
      console.warn("a server event was not understood", error instanceof Error ? error.message : "")
    }
  }
  socket.onclose = ({ code, reason }) => {
    if (closed) return
    closed = true
    if (opened) return parts.onClose(causeOf(code, reason))
    // A refused handshake does not say why: the server is asked.
    void checkServer().then((failure) =>
      parts.onClose(failure === undefined || failure === "refused" ? "full" : failure),
    )
  }
  return {
    send(event) {
      if (socket.readyState !== WebSocket.OPEN) return
      if (event.type === "input_audio_buffer.append" && socket.bufferedAmount > MAX_UNSENT_BYTES) return
      socket.send(printEvent(event))
    },
    close() {
      closed = true
      socket.close(1000)
    },
  }
}

function causeOf(code: number, reason: string): CloseCause {
  if (code !== 1008) return code === 1013 ? "full" : "dropped"
  return reason.includes("idle") ? "idle" : "expired"
}

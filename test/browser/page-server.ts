/**
 * @file Serves the built page beside our Realtime server and a small stand-in for the other endpoints, which reports what
 * came. It can go away and come back on the same port.
 */
import { once } from "node:events"
import { readFile } from "node:fs/promises"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo, Socket } from "node:net"
import { extname, join, normalize } from "node:path"
import { readWav } from "../../src/audio/index.ts"
import { decodeImage } from "../../src/image/index.node.ts"
import { ClientSecrets } from "../../src/server/client-secrets.ts"
import { attachRealtime } from "../../src/server/realtime-socket.ts"
import { type Heard, pageEngine } from "./page-engine.ts"

const TYPES: { readonly [extension: string]: string } = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
}

/** As our server checks it. */
const VOICE_NAME = /^[\p{L}\p{N}][\p{L}\p{N} ._-]{0,63}$/u

export type Stored = { name: string; seconds: number; loudest: number }
export type PageServer = AsyncDisposable & {
  readonly url: string
  readonly heard: Heard
  readonly stored: Stored[]
  /** Bodies of chat requests. */
  readonly chats: unknown[]
  /** `away`: connections are refused; `full`: sessions and requests are. */
  condition: "well" | "away" | "full"
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

type ChatBody = { messages: { content: string | { type: string }[] }[]; modalities?: string[] }

/** Says what it was sent, word by word, and as sound when asked. */
async function streamAnswer(body: ChatBody, response: ServerResponse): Promise<void> {
  const { content } = body.messages.at(-1)!
  const parts = typeof content === "string" ? [{ type: "text" }] : content
  const count = (type: string) => parts.filter((part) => part.type === type).length
  const words = `I got ${count("image_url")} pictures, ${count("input_audio")} sounds and your words.`.split(/(?<= )/)
  response.writeHead(200, { "content-type": "text/event-stream" })
  for (const word of words) {
    const delta = { content: word }
    response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta }] })}\n\n`)
    if (body.modalities?.includes("audio")) {
      const data = Buffer.from(new Int16Array(2400).fill(3000).buffer).toString("base64")
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { audio: { data } } }] })}\n\n`)
    }
    await new Promise((done) => setTimeout(done, 15))
  }
  response.end("data: [DONE]\n\n")
}

/** @param webRoot folder of the built page */
export async function servePageWithEngine(webRoot: string): Promise<PageServer> {
  const heard: Heard = { calls: [], closed: 0, samples: 0, loudSamples: 0, frames: [], texts: [], answers: 0, cuts: [] }
  const stored: Stored[] = []
  const chats: unknown[] = []
  const state = { condition: "well" as PageServer["condition"] }
  const sockets = new Set<Socket>()

  const json = (response: ServerResponse, value: unknown, status = 200) => {
    response.writeHead(status, { "content-type": "application/json" })
    response.end(JSON.stringify(value))
  }
  const storeVoice = async (request: IncomingMessage, response: ServerResponse) => {
    const form = await new Response(new Uint8Array(await bodyOf(request)), {
      headers: { "content-type": request.headers["content-type"]! },
    }).formData()
    if (!VOICE_NAME.test(String(form.get("name")))) return json(response, { error: { message: "name" } }, 400)
    const sample = form.get("audio_sample") as File
    const wav = readWav(new Uint8Array(await sample.arrayBuffer()))
    const loudest = wav.samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    stored.push({ name: String(form.get("name")), seconds: wav.samples.length / wav.sampleRateHz, loudest })
    json(response, { object: "audio.voice", id: `voice_${stored.length}`, name: form.get("name") })
  }
  const serveFile = async (path: string, response: ServerResponse) => {
    const content = await readFile(join(webRoot, normalize(path === "/" ? "/index.html" : path))).catch(() => undefined)
    response.writeHead(content ? 200 : 404, { "content-type": TYPES[extname(path)] ?? TYPES[".html"]! })
    response.end(content)
  }
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const path = new URL(request.url!, "http://local").pathname
    const full = { error: { message: "too many requests", type: "rate_limit_exceeded", param: null, code: null } }
    if (state.condition === "full" && path.startsWith("/v1/chat")) return json(response, full, 429)
    if (path === "/health") return json(response, { status: "ok" })
    if (path === "/v1/models") return json(response, { object: "list", data: [{ id: "test-model", object: "model" }] })
    if (path === "/v1/audio/voices" && request.method === "POST") return storeVoice(request, response)
    if (path === "/v1/audio/voices")
      return json(response, {
        object: "list",
        data: [{ id: "alto", name: "Alto" }, ...stored.map((one) => ({ id: one.name, name: one.name }))],
      })
    if (path === "/v1/chat/completions") {
      const body = JSON.parse((await bodyOf(request)).toString("utf8")) as ChatBody
      chats.push(body)
      return streamAnswer(body, response)
    }
    return serveFile(path, response)
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => json(response, { error: { message: String(error) } }, 500))
  })
  server.on("connection", (socket) => {
    if (state.condition === "away") return socket.destroy()
    sockets.add(socket)
    return socket.on("close", () => sockets.delete(socket))
  })
  // Before our own listener: a full server answers upgrades with an error.
  server.prependListener("upgrade", (_request, socket) => {
    if (state.condition === "full") socket.end("HTTP/1.1 503 Refused\r\nConnection: close\r\n\r\n")
  })
  const realtime = attachRealtime(server, {
    engine: pageEngine(heard),
    model: "test-model",
    secrets: new ClientSecrets(),
    decodeImage: (bytes, source) => decodeImage(bytes, { behaviour: "live", source }),
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    heard,
    stored,
    chats,
    get condition() {
      return state.condition
    },
    set condition(next) {
      state.condition = next
      if (next === "away") for (const socket of sockets) socket.destroy()
    },
    async [Symbol.asyncDispose]() {
      await realtime.close(100)
      server.closeAllConnections()
      server.close()
    },
  }
}

/** @file A hub on the loopback address that serves files from memory, and misbehaves as a test asks. */
import { createHash } from "node:crypto"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

export const REPO = "org/small"
export const COMMIT = "0123456789abcdef0123456789abcdef01234567"

/** What a test does with a request for a file; true when it has answered. */
export type Misbehave = (request: IncomingMessage, response: ServerResponse, bytes: Uint8Array) => boolean

export type Entry = { type: string; path: string; oid?: string; size?: number; lfs?: { oid: string; size: number } }

export type FakeHub = {
  endpoint: string
  port: number
  /** `METHOD /path` of each request, with its range and whether it had a token. */
  readonly requests: {
    url: string
    range: string | undefined
    authorization: string | undefined
    ifRange: string | undefined
  }[]
  /** Requests for the bytes of one file. */
  fileRequests(path: string): FakeHub["requests"]
  /** Replaced to misbehave. */
  misbehave: Misbehave
  /** Called for questions. */
  misanswer: (request: IncomingMessage, response: ServerResponse) => boolean
  /** Changes the listing. */
  alter: (entries: Entry[]) => Entry[]
  pageSize: number
  stop(): Promise<void>
  start(): Promise<void>
}

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")
export const gitSha1 = (bytes: Uint8Array): string =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex")

/** Bytes that look like weights: no two places are alike. */
export function noise(sizeBytes: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(sizeBytes)
  let state = seed * 2654435761
  for (let i = 0; i < sizeBytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

/** A model repository as the official one is laid out, with files that are not needed too. */
export function modelFiles(shardBytes = 300_000): Map<string, Uint8Array> {
  const map = { "llm.a": "model-00001-of-00002.safetensors", "vpm.b": "model-00002-of-00002.safetensors" }
  return new Map([
    [".gitattributes", text("*.safetensors filter=lfs")],
    ["README.md", text("a model")],
    ["config.json", text({ model_type: "minicpmo" })],
    ["tokenizer_config.json", text({})],
    ["tokenizer.json", text({ model: {} })],
    ["model.safetensors.index.json", text({ weight_map: map })],
    ["model-00001-of-00002.safetensors", noise(shardBytes, 1)],
    ["model-00002-of-00002.safetensors", noise(Math.floor(shardBytes / 2), 2)],
    ["modeling_minicpmo.py", text("print()")],
    ["assets/Vocos.pt", noise(5000, 3)],
    ["assets/chattts_tokenizer/tokenizer.json", text({ vocab: {} })],
    ["assets/demo.png", noise(100, 4)],
    ["onnx/model.safetensors", noise(100, 5)],
  ])
}

/** The files of `modelFiles` that a pull fetches. */
export const NEEDED = [
  "assets/Vocos.pt",
  "assets/chattts_tokenizer/tokenizer.json",
  "config.json",
  "model-00001-of-00002.safetensors",
  "model-00002-of-00002.safetensors",
  "model.safetensors.index.json",
  "tokenizer.json",
  "tokenizer_config.json",
]

const isLarge = (path: string) => /\.(safetensors|pt)$/.test(path)

function listingOf(files: ReadonlyMap<string, Uint8Array>): Entry[] {
  const folders = new Set([...files.keys()].flatMap((path) => (path.includes("/") ? [path.split("/")[0]!] : [])))
  return [
    ...[...folders].map((path) => ({ type: "directory", path, oid: COMMIT, size: 0 })),
    ...[...files].map(([path, bytes]) =>
      isLarge(path)
        ? { type: "file", path, oid: COMMIT, size: bytes.length, lfs: { oid: sha256(bytes), size: bytes.length } }
        : { type: "file", path, oid: gitSha1(bytes), size: bytes.length },
    ),
  ]
}

/** Sends a file with ranges, as storage does. */
export function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  bytes: Uint8Array,
  options: { etag?: string; cutAfter?: number; ranges?: boolean } = {},
): void {
  const { etag = `"${sha256(bytes).slice(0, 32)}"`, cutAfter, ranges = true } = options
  const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "")
  const same = request.headers["if-range"] === undefined || request.headers["if-range"] === etag
  const start = ranges && range && same ? Number(range[1]) : 0
  const body = bytes.subarray(start)
  response.setHeader("etag", etag)
  response.setHeader("content-length", body.length)
  if (ranges && range && same) {
    response.statusCode = 206
    response.setHeader("content-range", `bytes ${start}-${bytes.length - 1}/${bytes.length}`)
  }
  if (cutAfter === undefined || cutAfter >= body.length) {
    response.end(body)
    return
  }
  response.flushHeaders()
  response.write(body.subarray(0, cutAfter), () => setTimeout(() => response.socket?.destroy(), 2))
}

export async function fakeHub(files: ReadonlyMap<string, Uint8Array>): Promise<FakeHub> {
  let server: Server
  const hub: FakeHub = {
    endpoint: "",
    port: 0,
    requests: [],
    fileRequests: (path) => hub.requests.filter(({ url }) => url.startsWith(`/${REPO}/resolve/`) && url.endsWith(path)),
    misbehave: () => false,
    misanswer: () => false,
    alter: (entries) => entries,
    pageSize: 1000,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
    start: async () => {
      server = createServer((request, response) => answer(hub, files, request, response))
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject)
        server.listen(hub.port, "127.0.0.1", resolve)
      })
      hub.port = (server.address() as AddressInfo).port
      hub.endpoint = `http://127.0.0.1:${hub.port}`
    },
  }
  await hub.start()
  return hub
}

function answer(
  hub: FakeHub,
  files: ReadonlyMap<string, Uint8Array>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { headers } = request
  const url = new URL(request.url!, "http://x")
  hub.requests.push({
    ...{ url: url.pathname + url.search, range: headers.range },
    ...{ authorization: headers.authorization, ifRange: headers["if-range"] as string | undefined },
  })
  const path = decodeURIComponent(url.pathname)
  const resolve = `/${REPO}/resolve/${COMMIT}/`
  if (path.startsWith(resolve)) {
    const bytes = files.get(path.slice(resolve.length))
    if (!bytes) return void response.writeHead(404, { "x-error-code": "EntryNotFound" }).end()
    if (!hub.misbehave(request, response, bytes)) sendFile(request, response, bytes)
    return
  }
  if (hub.misanswer(request, response)) return
  response.setHeader("content-type", "application/json")
  if (path === `/api/models/${REPO}/revision/main` || path === `/api/models/${REPO}/revision/${COMMIT}`) {
    response.end(JSON.stringify({ id: REPO, sha: COMMIT }))
  } else if (path === `/api/models/${REPO}/tree/${COMMIT}`) {
    const start = Number(url.searchParams.get("cursor") ?? 0)
    const all = hub.alter(listingOf(files))
    if (start + hub.pageSize < all.length) {
      const next = `${hub.endpoint}${url.pathname}?recursive=true&cursor=${start + hub.pageSize}`
      response.setHeader("link", `<${next}>; rel="next"`)
    }
    response.end(JSON.stringify(all.slice(start, start + hub.pageSize)))
  } else {
    const code = path.startsWith(`/api/models/${REPO}/revision/`) ? "RevisionNotFound" : "RepoNotFound"
    response.writeHead(code === "RepoNotFound" ? 401 : 404, { "x-error-code": code }).end()
  }
}

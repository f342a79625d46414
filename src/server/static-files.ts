/** @file The web page's files: only what the folder held at the start, with a strict content policy. */
import { createHash } from "node:crypto"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { extname, join, sep } from "node:path"
import { gzipSync } from "node:zlib"

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
  ".wasm": "application/wasm",
  ".woff2": "font/woff2",
  ".txt": "text/plain; charset=utf-8",
}

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "media-src 'self' blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ")

const PERMISSIONS = ["microphone", "camera", "display-capture", "screen-wake-lock"]
  .map((one) => `${one}=(self)`)
  .join(", ")

/** Larger texts are sent compressed to who takes it. */
const SMALL_BYTES = 1024
const MAX_FILE_BYTES = 64 * 1024 * 1024

type File = {
  readonly bytes: Buffer<ArrayBuffer>
  readonly gzipped: Buffer<ArrayBuffer> | undefined
  readonly type: string
  readonly tag: string
  readonly hashed: boolean
}

/** Answers GET and HEAD for a path of the page; undefined for other paths. Paths never reach the file system. */
export function createStaticFiles(root: string): (request: Request) => Response | undefined {
  const files = new Map<string, File>()
  for (const name of readdirSync(root, { recursive: true, encoding: "utf8" })) {
    const path = join(root, name)
    const info = statSync(path)
    const type = TYPES[extname(name).toLowerCase()]
    if (!info.isFile() || type === undefined || info.size > MAX_FILE_BYTES) continue
    const bytes = readFileSync(path)
    const tag = `"${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}"`
    const url = `/${name.split(sep).join("/")}`
    const hashed = /[.-][\w-]{8,}\.\w+$/.test(name) && url.startsWith("/assets/")
    const isText = /^text|json|svg|wasm/.test(type) && bytes.length > SMALL_BYTES
    files.set(url, { bytes, gzipped: isText ? gzipSync(bytes) : undefined, type, tag, hashed })
  }
  const index = files.get("/index.html")
  if (index) files.set("/", index)
  return (request) => {
    if (request.method !== "GET" && request.method !== "HEAD") return undefined
    const file = files.get(new URL(request.url).pathname)
    if (!file) return undefined
    const takesGzip = /\bgzip\b/.test(request.headers.get("accept-encoding") ?? "")
    const content = takesGzip ? (file.gzipped ?? file.bytes) : file.bytes
    const headers = {
      "content-type": file.type,
      etag: file.tag,
      "cache-control": file.hashed ? "public, max-age=31536000, immutable" : "no-cache",
      "content-security-policy": POLICY,
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
      "permissions-policy": PERMISSIONS,
      vary: "accept-encoding",
      ...(content === file.gzipped ? { "content-encoding": "gzip" } : {}),
    }
    if (request.headers.get("if-none-match") === file.tag) return new Response(null, { status: 304, headers })
    return new Response(request.method === "HEAD" ? null : content, { headers })
  }
}

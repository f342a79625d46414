/**
 * @file A model folder below an address, read by HTTP Range requests where the server answers them and whole where it does not.
 * Works wherever there is `fetch`. Servers of pages answer unknown addresses with their start page: a web page is no file here.
 */
import { CheckpointError, errorText } from "../util/index.ts"
import { failure } from "./fail.ts"
import { checkPath, checkRange, type FileSource, missingFile } from "./source.ts"

/** Small reads share requests of this size. */
const BLOCK_BYTES = 4 * 2 ** 20
/** Blocks kept per folder: readers go through a few files side by side. */
const KEPT_BLOCKS = 8
/** One request asks for at most this much. */
const REQUEST_BYTES = 64 * 2 ** 20
/** Files of servers without Range requests are held in memory whole. */
const MAX_WHOLE_BYTES = 2 ** 31

type RemoteFile = { readonly sizeBytes: number; readonly whole?: Uint8Array }

/** What a first look at a file found: the file, or why there is none. */
type Found = RemoteFile | { readonly missing: Error }

/**
 * A source over the files below `address`. Nothing is asked for before the first use of a file.
 * @param options.signal aborts all requests; reads then reject with its reason
 */
export function openHttpFolder(address: string | URL, options: { readonly signal?: AbortSignal } = {}): FileSource {
  const base = new URL(address)
  if (!base.pathname.endsWith("/")) base.pathname += "/"
  const name = base.href.replace(/\/(\?.*)?$/, "")
  const files = new Map<string, Promise<Found>>()
  const blocks = new Map<string, Promise<Uint8Array>>()

  const request = async (path: string, init: RequestInit): Promise<Response> => {
    const url = new URL(path.split("/").map(encodeURIComponent).join("/"), base)
    url.search = base.search
    try {
      return await fetch(url, { ...init, ...(options.signal ? { signal: options.signal } : {}) })
    } catch (cause) {
      throw unreachable(path, cause)
    }
  }

  const unreachable = (path: string, cause: unknown): unknown => {
    if (options.signal?.aborted) return options.signal.reason
    const advice =
      "is the server there, does it let pages of other addresses read its files (CORS), and is the file whole?"
    return new CheckpointError(`${path}: expected an answer from ${name}, got: ${errorText(cause)} (${advice})`, {
      cause,
    })
  }

  const bodyOf = async (path: string, response: Response): Promise<Uint8Array> => {
    try {
      return new Uint8Array(await response.arrayBuffer())
    } catch (cause) {
      throw unreachable(path, cause)
    }
  }

  const requestRange = (path: string, start: number, length: number) =>
    request(path, { headers: { range: `bytes=${start}-${start + length - 1}` } })

  /** The first block tells most: whether there is a file, its size, and all of it when it is small. */
  const look = async (path: string): Promise<Found> => {
    checkPath(name, path)
    const response = await requestRange(path, 0, BLOCK_BYTES)
    if (response.status === 404 || response.status === 410) return { missing: missingFile(name, path) }
    if (response.status === 416) return { sizeBytes: 0, whole: new Uint8Array() } // no byte to give
    if (!response.ok) throw failure(path, `a file in ${name}`, `status ${response.status}`, "check the address")
    if (/^text\/html\b/i.test(response.headers.get("content-type") ?? "")) {
      await response.body?.cancel()
      const advice =
        "the server answers addresses that it does not know with a page: check the address of the model folder"
      return { missing: failure(path, `a file in ${name}`, "a web page", advice) }
    }
    if (response.status !== 206) return await readWhole(path, response)
    const block = await bodyOf(path, response)
    if (block.length < BLOCK_BYTES && (totalOf(response) ?? block.length) === block.length)
      return { sizeBytes: block.length, whole: block }
    const sizeBytes = totalOf(response) ?? (await askedSize(path))
    checkLength(path, block, Math.min(BLOCK_BYTES, sizeBytes))
    void keep(`0:${path}`, Promise.resolve(block))
    return { sizeBytes }
  }

  const readWhole = async (path: string, response: Response): Promise<RemoteFile> => {
    const claimed = Number(response.headers.get("content-length") ?? 0)
    if (claimed > MAX_WHOLE_BYTES) {
      await response.body?.cancel()
      const got = `a file of ${claimed} bytes from a server without them`
      throw failure(path, "a server that answers Range requests", got, "serve the model from one that does")
    }
    const whole = await bodyOf(path, response)
    return { sizeBytes: whole.length, whole }
  }

  /** For servers that hide `Content-Range` from pages of other addresses. */
  const askedSize = async (path: string): Promise<number> => {
    const { headers } = await request(path, { method: "HEAD" })
    const size = Number(headers.get("content-length") ?? Number.NaN)
    if (Number.isSafeInteger(size)) return size
    throw failure(path, "the size of the file", "none", "let the server expose the header Content-Range to pages")
  }

  const find = (path: string): Promise<Found> => {
    let file = files.get(path)
    if (file === undefined) {
      file = look(path)
      files.set(path, file)
      file.catch(() => files.delete(path)) // the next one who asks tries again
    }
    return file
  }

  const open = async (path: string): Promise<RemoteFile> => {
    const found = await find(path)
    if ("missing" in found) throw found.missing
    return found
  }

  const keep = (key: string, block: Promise<Uint8Array>): Promise<Uint8Array> => {
    blocks.delete(key)
    blocks.set(key, block) // the latest last
    block.catch(() => blocks.delete(key))
    const [oldest] = blocks.keys()
    if (blocks.size > KEPT_BLOCKS) blocks.delete(oldest!)
    return block
  }

  const readRange = async (path: string, start: number, length: number, sizeBytes: number): Promise<Uint8Array> => {
    const response = await requestRange(path, start, length)
    if (response.status !== 206) throw failure(path, "a part of the file", `status ${response.status}`, "try again")
    const total = totalOf(response) ?? sizeBytes
    if (total !== sizeBytes)
      throw failure(path, `a file of ${sizeBytes} bytes`, `one of ${total}`, "it changed while it was read: load again")
    return checkLength(path, await bodyOf(path, response), length)
  }

  return {
    name,
    exists: async (path) => !("missing" in (await find(path))),
    size: async (path) => (await open(path)).sizeBytes,
    read: async (path, start, length) => {
      const { sizeBytes, whole } = await open(path)
      checkRange(path, start, length, sizeBytes)
      if (whole) return whole.slice(start, start + length)
      const bytes = new Uint8Array(length)
      for (let done = 0; done < length; ) {
        const at = start + done
        const blockStart = at - (at % BLOCK_BYTES)
        if (length < BLOCK_BYTES) {
          const key = `${blockStart}:${path}`
          const size = Math.min(BLOCK_BYTES, sizeBytes - blockStart)
          const block = await keep(key, blocks.get(key) ?? readRange(path, blockStart, size, sizeBytes))
          const piece = block.subarray(at - blockStart, at - blockStart + length - done)
          bytes.set(piece, done)
          done += piece.length
        } else {
          const piece = await readRange(path, at, Math.min(REQUEST_BYTES, length - done), sizeBytes)
          bytes.set(piece, done)
          done += piece.length
        }
      }
      return bytes
    },
  }
}

/** The size of the whole file, where the server says it and the page may know. */
function totalOf(response: Response): number | undefined {
  const total = /\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1]
  return total === undefined ? undefined : Number(total)
}

function checkLength(path: string, bytes: Uint8Array, expected: number): Uint8Array {
  if (bytes.length === expected) return bytes
  throw failure(path, `${expected} bytes`, `an end after ${bytes.length}`)
}

/**
 * @file One file from a hub, whole and checked: whatever cuts the connection, the download goes on where it stopped, and
 * nothing is taken for the file whose checksum differs.
 */
import { CheckpointError, errorText } from "../util/index.ts"
import type { Checksum, HubFile } from "./listing.ts"
import { ask, type HubAccess, PassingError, plainEtag, stallSignal, waitForRetry } from "./requests.ts"

/** The bytes of a file that are here already, in order from its start. Belongs to one caller at a time. */
export type PartFile = {
  readonly sizeBytes: number
  append(bytes: Uint8Array): Promise<void>
  clear(): Promise<void>
  /** Checksum of all bytes, in hexadecimal digits. */
  digest(): Promise<string>
}

/** Where a file is: the model for messages, the commit for its address. */
export type Origin = { readonly repo: string; readonly commit: string }

/** Changes of a file during its download that are taken for a server in motion, and not for one that never settles. */
const MOST_RESTARTS = 3

/** What one connection brought: more bytes, or a reason to begin again. */
type Received = "bytes" | "other-content"

/**
 * Completes `part` to the bytes of `file`.
 * @param onBytes called when the part has grown or was emptied
 * @throws CheckpointError when the checksum is wrong a second time, a network error after too many failures without
 *   progress, what `part` throws, the signal's reason; the part stays for the next time except for a wrong checksum
 */
export async function fetchFile(
  hub: HubAccess,
  origin: Origin,
  file: HubFile,
  part: PartFile,
  options: { readonly onBytes?: (() => void) | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { signal, onBytes } = options
  const what = `${origin.repo}: ${file.path}`
  const state = { etag: undefined as string | undefined }
  let failures = 0
  let reached = part.sizeBytes
  let wrong = 0
  let restarts = 0
  const startOver = async () => {
    state.etag = undefined
    await part.clear()
    onBytes?.()
  }
  const spoilt = async (got: string) => {
    await startOver()
    reached = 0
    if (++wrong > 1) throw wrongChecksum(what, file.checksum, got)
  }
  for (;;) {
    signal?.throwIfAborted()
    if (part.sizeBytes > file.sizeBytes) await startOver()
    if (part.sizeBytes === file.sizeBytes) {
      const got = await part.digest()
      if (got === file.checksum.hex) return
      await spoilt(got)
      continue
    }
    try {
      const received = await receive(hub, what, origin, file, part, state, { onBytes, signal })
      if (received === "other-content") {
        await startOver()
        if (++restarts <= MOST_RESTARTS) reached = 0 // beyond that, going over the same bytes is no progress
      }
      if (received === "bytes" && part.sizeBytes === file.sizeBytes) continue
      throw new PassingError(`${part.sizeBytes} of ${file.sizeBytes} bytes`)
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof WrongContent) {
        await spoilt(error.message)
        continue
      }
      if (!(error instanceof PassingError)) throw error
      failures = part.sizeBytes > reached ? 0 : failures + 1
      reached = Math.max(reached, part.sizeBytes)
      await waitForRetry(hub, what, error, failures, signal)
    }
  }
}

/** The hub itself says that it would send something else than it listed; the message is that checksum. */
class WrongContent extends Error {}

function wrongChecksum(what: string, { kind, hex }: Checksum, got: string): CheckpointError {
  const name = kind === "sha256" ? "SHA-256" : "git SHA-1"
  const advice = "fetched twice: the server or a proxy sends something else; try later or another HF_ENDPOINT"
  return new CheckpointError(`${what}: expected ${name} ${hex}, got ${got} (${advice})`)
}

/** One connection: asks for what is missing and appends it. */
async function receive(
  hub: HubAccess,
  what: string,
  { repo, commit }: Origin,
  file: HubFile,
  part: PartFile,
  state: { etag: string | undefined },
  { onBytes, signal }: { readonly onBytes?: (() => void) | undefined; readonly signal?: AbortSignal | undefined },
): Promise<Received> {
  const start = part.sizeBytes
  using stall = stallSignal(hub.stallMs, signal)
  const path = `/${repo}/resolve/${commit}/${file.path.split("/").map(encodeURIComponent).join("/")}`
  const { response, linkedEtag } = await ask(hub, what, path, rangeHeaders(start, state.etag), stall.signal)
  const leave = () => response.body?.cancel().catch(() => {})
  if (file.checksum.kind === "sha256" && linkedEtag && /^[0-9a-f]{64}$/.test(linkedEtag)) {
    if (linkedEtag !== file.checksum.hex) {
      await leave()
      throw new WrongContent(linkedEtag)
    }
  }
  const etag = response.headers.get("etag") ?? undefined
  const changed = state.etag !== undefined && etag !== undefined && plainEtag(etag) !== plainEtag(state.etag)
  const misplaced = response.status === 206 && rangeStart(response) !== start
  if (response.status === 416 || changed || misplaced) {
    await leave()
    return "other-content"
  }
  state.etag = etag
  // A server that knows no ranges begins at the start: what is here already is read over, the checksum judges it.
  await takeBody(response, part, { skip: response.status === 206 ? 0 : start, end: file.sizeBytes, onBytes, stall })
  return "bytes"
}

/** A weak ETag promises nothing about single bytes and may not stand in If-Range. */
function rangeHeaders(start: number, etag: string | undefined): { readonly [name: string]: string } {
  const encoding = { "accept-encoding": "identity" }
  if (start === 0) return encoding
  const same = etag !== undefined && !etag.startsWith("W/") ? { "if-range": etag } : {}
  return { ...encoding, range: `bytes=${start}-`, ...same }
}

function rangeStart(response: Response): number | undefined {
  const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1]
  return start === undefined ? undefined : Number(start)
}

type Body = {
  readonly skip: number
  /** Bytes beyond are not taken. */
  readonly end: number
  readonly onBytes: (() => void) | undefined
  readonly stall: ReturnType<typeof stallSignal>
}

async function takeBody(response: Response, part: PartFile, { skip, end, onBytes, stall }: Body): Promise<void> {
  const reader = response.body?.getReader()
  if (!reader) return
  let left = skip
  try {
    while (part.sizeBytes < end) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
        throw error instanceof PassingError
          ? error
          : new PassingError(`a connection that was cut (${errorText(cause)})`)
      })
      if (done) return
      stall.touch()
      const skipped = Math.min(left, value.length)
      left -= skipped
      const bytes = value.subarray(skipped, skipped + end - part.sizeBytes)
      if (bytes.length === 0) continue
      await part.append(bytes)
      onBytes?.()
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
}

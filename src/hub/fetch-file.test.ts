/** @file Any sequence of cuts, ranges ignored or not, content that changes: the bytes are exact, or an error says so. */
import { createHash } from "node:crypto"
import fc from "fast-check"
import { expect, test } from "vitest"
import { noise, REPO, sha256 } from "./fake-hub.test-util.ts"
import { fetchFile, type PartFile } from "./fetch-file.ts"
import type { HubFile } from "./listing.ts"
import type { HubAccess } from "./requests.ts"

/** What one connection does. */
type Connection = {
  /** Bytes until it breaks; all when more than there are. */
  readonly bytes: number
  readonly ranges: boolean
  readonly status: number | undefined
  /** The version it serves under an ETag: 0 is the listed one. */
  readonly version: number
  readonly chunk: number
}

function memoryPart(start: Uint8Array): PartFile & { bytes: Uint8Array } {
  return {
    bytes: start,
    get sizeBytes() {
      return this.bytes.length
    },
    async append(more) {
      this.bytes = Buffer.concat([this.bytes, more])
    },
    async clear() {
      this.bytes = new Uint8Array(0)
    },
    async digest() {
      return createHash("sha256").update(this.bytes).digest("hex")
    },
  }
}

/** A `fetch` that plays connections in order and serves rightly after the last; the body breaks as a cut socket does. */
function playing(connections: readonly Connection[], versions: readonly Uint8Array[]): typeof fetch {
  let next = 0
  return async (_, init) => {
    const headers = new Headers(init?.headers)
    const rest = { bytes: Infinity, ranges: true, status: undefined, version: 0, chunk: 64 }
    const { bytes, ranges, status, version, chunk } = connections[next++] ?? rest
    if (status !== undefined) return new Response(null, { status })
    const etag = `"v${version}"`
    const whole = versions[version]!
    const range = /^bytes=(\d+)-$/.exec(headers.get("range") ?? "")
    const same = (headers.get("if-range") ?? etag) === etag
    const start = range && ranges && same ? Number(range[1]) : 0
    if (start >= whole.length && whole.length > 0) return new Response(null, { status: 416 })
    let position = start
    const end = Math.min(whole.length, start + bytes)
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (position >= end) {
          if (end < whole.length) controller.error(new TypeError("terminated"))
          else controller.close()
          return
        }
        controller.enqueue(whole.slice(position, Math.min(end, position + chunk)))
        position = Math.min(end, position + chunk)
      },
    })
    const partial = range && ranges && same
    return new Response(body, {
      status: partial ? 206 : 200,
      headers: { etag, ...(partial ? { "content-range": `bytes ${start}-${whole.length - 1}/${whole.length}` } : {}) },
    })
  }
}

function access(fake: typeof fetch): HubAccess {
  return {
    endpoint: "http://hub",
    fetch: fake,
    sleep: async () => {},
    random: () => 0,
    stallMs: 10_000,
    attempts: 60, // more than the connections that a run plays
  }
}

const connection = fc.record({
  bytes: fc.nat(600),
  ranges: fc.boolean(),
  status: fc.option(fc.constantFrom(408, 429, 500, 503), { nil: undefined, freq: 5 }),
  version: fc.constant(0),
  chunk: fc.integer({ min: 1, max: 200 }),
})
const ORIGIN = { repo: REPO, commit: "c" }

test("any cuts give the exact bytes, and with ranges no byte twice", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 500 }),
      fc.array(connection, { maxLength: 25 }),
      fc.nat(500),
      async (sizeBytes, connections, before) => {
        const whole = noise(sizeBytes)
        const part = memoryPart(whole.slice(0, before))
        const file: HubFile = { path: "w", sizeBytes, checksum: { kind: "sha256", hex: sha256(whole) } }
        let appended = 0
        const counted = part.append.bind(part)
        part.append = async (bytes) => {
          appended += bytes.length
          await counted(bytes)
        }
        await fetchFile(access(playing(connections, [whole])), ORIGIN, file, part)
        expect(sha256(part.bytes)).toBe(file.checksum.hex)
        expect(appended).toBe(sizeBytes - Math.min(before, sizeBytes))
      },
    ),
    { numRuns: 300 },
  )
})

test("whatever a server sends, only the listed bytes are ever taken for the file", async () => {
  const outcomes = { whole: 0, refused: 0 }
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 500 }),
      fc.array(
        fc.record({
          ...{ bytes: fc.nat(600), ranges: fc.boolean(), status: fc.constant(undefined) },
          version: fc.nat(2),
          chunk: fc.integer({ min: 1, max: 200 }),
        }),
        { maxLength: 12 },
      ),
      async (sizeBytes, connections) => {
        const versions = [noise(sizeBytes, 1), noise(sizeBytes, 2), noise(sizeBytes + 7, 3)]
        const part = memoryPart(new Uint8Array(0))
        const file: HubFile = { path: "w", sizeBytes, checksum: { kind: "sha256", hex: sha256(versions[0]!) } }
        const failure = await fetchFile(access(playing(connections, versions)), ORIGIN, file, part).catch(
          (error: unknown) => error as Error,
        )
        if (failure) {
          expect(failure.message).toContain("w: expected SHA-256")
          expect(part.sizeBytes).toBe(0)
          outcomes.refused++
        } else {
          expect(sha256(part.bytes)).toBe(file.checksum.hex)
          outcomes.whole++
        }
      },
    ),
    { numRuns: 300 },
  )
  expect(outcomes.whole).toBeGreaterThan(50)
  expect(outcomes.refused).toBeGreaterThan(5)
})

/** @file Model folders over HTTP: servers with and without Range requests, and everything that is no model folder. */
import { readFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import fc from "fast-check"
import { afterEach, describe, expect, test } from "vitest"
import { CheckpointError } from "../util/index.ts"
import { openHttpFolder } from "./http-folder.ts"
import { openCheckpoint } from "./safetensors.ts"

const CHECKPOINT = join(import.meta.dirname, "../../test/fixtures/tiny-a/checkpoint")
const MiB = 2 ** 20
/** Larger than what is asked for at once, and no multiple of it. */
const LARGE = Uint8Array.from({ length: 9 * MiB + 12_345 }, (_, i) => (i * 31) ^ (i >> 9))

type Answer = (request: IncomingMessage, response: ServerResponse, url: URL) => void
const servers: ReturnType<typeof createServer>[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

/** A loopback server; `asked` collects what came, as `METHOD /path range`. */
async function serve(answer: Answer): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const url = new URL(request.url!, "http://loopback")
    asked.push(`${request.method} ${url.pathname}${url.search} ${request.headers.range ?? "whole"}`)
    answer(request, response, url)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/models/tiny`, asked }
}

/** Answers with files; `hide` leaves out `Content-Range`, as for pages of other addresses. */
function files(contents: ReadonlyMap<string, Uint8Array>, options: { ranges: boolean; hide?: boolean }): Answer {
  return (request, response, url) => {
    const content = contents.get(decodeURIComponent(url.pathname.replace("/models/tiny/", "")))
    if (!content) {
      response.writeHead(404).end()
      return
    }
    const range = options.ranges ? /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") : null
    if (!range) {
      response.writeHead(200, { "content-length": content.length })
      response.end(request.method === "HEAD" ? undefined : content)
      return
    }
    const [start, end] = [Number(range[1]), Math.min(Number(range[2]), content.length - 1)]
    if (start > end) {
      response.writeHead(416).end()
      return
    }
    const total = options.hide ? {} : { "content-range": `bytes ${start}-${end}/${content.length}` }
    response.writeHead(206, { "content-length": end - start + 1, ...total })
    response.end(content.subarray(start, end + 1))
  }
}

const CONTENTS = new Map([
  ["large.bin", LARGE],
  ["with space/small.txt", new TextEncoder().encode("small")],
  ["empty.txt", new Uint8Array()],
])

describe.each([
  { ranges: true, hide: false },
  { ranges: true, hide: true },
  { ranges: false, hide: false },
])("a server of files, %o", (options) => {
  test("gives every range of every file", async () => {
    const { url, asked } = await serve(files(CONTENTS, options))
    const source = openHttpFolder(url)
    for (const [path, content] of CONTENTS) expect([path, await source.size(path)]).toEqual([path, content.length])
    const range = fc.tuple(fc.nat(LARGE.length), fc.nat(LARGE.length)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)])
    await fc.assert(
      fc.asyncProperty(range, async ([start, end]) => {
        const bytes = await source.read("large.bin", start!, end! - start!)
        expect(Buffer.compare(bytes, LARGE.subarray(start, end))).toBe(0)
        bytes.fill(0) // the caller's own: what is kept does not change
      }),
      { numRuns: 20 },
    )
    expect(new TextDecoder().decode(await source.read("with space/small.txt", 1, 3))).toBe("mal")
    if (!options.ranges) expect(asked).toHaveLength(CONTENTS.size)
  })

  test("holds a checkpoint that is read as from disk", async () => {
    const names = [
      "model.safetensors.index.json",
      "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
    ]
    const { url, asked } = await serve(
      files(new Map(names.map((name) => [name, readFileSync(join(CHECKPOINT, name))])), options),
    )
    const checkpoint = await openCheckpoint(openHttpFolder(`${url}/`))
    for (const name of checkpoint.names()) expect((await checkpoint.read(name)).data.length).toBeGreaterThan(0)
    // 5.9 MB in a few requests, not one for each of some hundred tensors.
    expect(asked.length).toBeLessThan(10)
  })
})

const source = async (answer: Answer) => openHttpFolder((await serve(answer)).url)

describe("what is no file", () => {
  test("a missing one is told, once", async () => {
    const { url, asked } = await serve(files(CONTENTS, { ranges: true }))
    const folder = openHttpFolder(url)
    expect(await folder.exists("none.json")).toBe(false)
    await expect(folder.size("none.json")).rejects.toThrow(`none.json: expected a file in ${url}, got none`)
    expect(asked).toHaveLength(1)
  })

  test("the start page that answers every address is none", async () => {
    const folder = await source((_, response) => {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end("<!doctype html><title>app</title>")
    })
    expect(await folder.exists("bundle/bundle.json")).toBe(false)
    await expect(folder.size("config.json")).rejects.toThrow(
      /^config\.json: expected a file in .*\/models\/tiny, got a web page \(the server answers addresses that it does not know/,
    )
  })

  test("other answers are no file and no absence", async () => {
    const folder = await source((_, response) => void response.writeHead(500).end())
    await expect(folder.exists("config.json")).rejects.toThrow(/^config\.json: expected a file in .*, got status 500/)
  })

  test("no server at all", async () => {
    const folder = openHttpFolder("http://127.0.0.1:1/tiny")
    await expect(folder.size("config.json")).rejects.toThrow(CheckpointError)
    await expect(folder.size("config.json")).rejects.toThrow(
      /^config\.json: expected an answer from http:.*\/tiny, got: /,
    )
  })

  test("a file that changed since it was first looked at", async () => {
    let content = LARGE
    const folder = await source((...asked) => files(new Map([["large.bin", content]]), { ranges: true })(...asked))
    expect(await folder.size("large.bin")).toBe(LARGE.length)
    content = LARGE.subarray(0, 6 * MiB)
    await expect(folder.read("large.bin", 5 * MiB, 10)).rejects.toThrow(
      `large.bin: expected a file of ${LARGE.length} bytes, got one of ${6 * MiB} (it changed while it was read: load again)`,
    )
    await expect(folder.read("large.bin", 1, LARGE.length)).rejects.toThrow(
      /^large\.bin: expected \d+ bytes from byte 1/,
    )
  })

  test.each([true, false])("an answer that is cut, ranges %s", async (ranges) => {
    const folder = await source((request, response) => {
      const [start, end] = /(\d+)-(\d+)/.exec(request.headers.range!)!.slice(1).map(Number) as [number, number]
      const head = ranges
        ? { "content-length": end - start + 1, "content-range": `bytes ${start}-${end}/${LARGE.length}` }
        : { "content-length": LARGE.length }
      response.writeHead(ranges ? 206 : 200, head)
      response.write(LARGE.subarray(0, 1000), () => response.destroy())
    })
    await expect(folder.size("large.bin")).rejects.toThrow(
      /^large\.bin: expected an answer from .*, got: .*is the file whole/,
    )
  })

  test("an abort ends what waits, with its reason", async () => {
    const controller = new AbortController()
    const { url } = await serve(() => controller.abort(new Error("enough"))) // no answer ever
    const folder = openHttpFolder(url, { signal: controller.signal })
    await expect(folder.size("config.json")).rejects.toThrow("enough")
  })
})

test("the query of the address goes with every file", async () => {
  const { url, asked } = await serve(files(CONTENTS, { ranges: true }))
  const folder = openHttpFolder(`${url}?token=abc`)
  await folder.read("empty.txt", 0, 0)
  expect(asked).toEqual(["GET /models/tiny/empty.txt?token=abc bytes=0-4194303"])
  expect(folder.name).toBe(url) // messages do not show it
})

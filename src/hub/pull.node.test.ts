/** @file Whole pulls from a hub that misbehaves: the bytes are right in the end, or the error says why they cannot be. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { CheckpointError, ConfigError, OmniError } from "../util/index.ts"
import {
  COMMIT,
  type FakeHub,
  fakeHub,
  modelFiles,
  NEEDED,
  noise,
  REPO,
  sendFile,
  sha256,
} from "./fake-hub.test-util.ts"
import { type PullOptions, pullModel } from "./pull.node.ts"

const SHARD = "model-00001-of-00002.safetensors"
const files = modelFiles()
let hub: FakeHub
let folder = ""
const hubs: FakeHub[] = []
const newHub = async (map = files) => {
  const made = await fakeHub(map)
  hubs.push(made)
  return made
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "omni-hub-"))
  hub = await newHub()
})
afterEach(async () => {
  for (const one of hubs.splice(0)) await one.stop().catch(() => {})
  rmSync(folder, { recursive: true, force: true })
})

const cache = () => join(folder, "cache")
const repoFolder = () => join(cache(), "models--org--small")

/** Pulls without waiting between attempts. */
const pull = (options: Partial<PullOptions> = {}) =>
  pullModel({
    model: REPO,
    endpoint: hub.endpoint,
    cacheFolder: cache(),
    ...options,
    hub: { sleep: async (_, signal) => signal?.throwIfAborted(), random: () => 0.5, ...options.hub },
  })

function listed(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((path) => statSync(join(directory, path)).isFile() && !path.startsWith(".omni"))
    .sort()
}

function expectWhole(directory: string, map: ReadonlyMap<string, Uint8Array> = files): void {
  expect(listed(directory)).toEqual(NEEDED)
  for (const path of NEEDED) expect(sha256(readFileSync(join(directory, path)))).toBe(sha256(map.get(path)!))
}

const parts = () => listed(repoFolder()).filter((path) => path.endsWith("-part"))

describe("what is fetched", () => {
  test("the model's own files, into the shared cache's layout; the second time nothing", async () => {
    const first = await pull()
    const sizeBytes = NEEDED.reduce((sum, path) => sum + files.get(path)!.length, 0)
    expect(first).toEqual({
      ...{ directory: join(repoFolder(), "snapshots", COMMIT), repo: REPO, revision: "main", commit: COMMIT },
      ...{ files: NEEDED.length, sizeBytes, downloadedBytes: sizeBytes },
    })
    expectWhole(first.directory)
    expect(readFileSync(join(repoFolder(), "refs/main"), "utf8")).toBe(COMMIT)
    expect(existsSync(join(repoFolder(), "blobs", sha256(files.get(SHARD)!)))).toBe(true)
    expect(parts()).toEqual([])
    hub.requests.length = 0
    expect(await pull()).toEqual({ ...first, downloadedBytes: 0 })
    expect(hub.requests.map(({ url }) => url.split("?")[0])).toEqual([
      `/api/models/${REPO}/revision/main`,
      `/api/models/${REPO}/tree/${COMMIT}`,
    ])
  })

  test("a plain folder; a file that was changed there is fetched again, the others are not", async () => {
    const directory = join(folder, "plain")
    await pull({ directory })
    expectWhole(directory)
    expect(readdirSync(join(directory, ".omni"))).toEqual(["pull.json"])
    const config = files.get("config.json")!
    writeFileSync(
      join(directory, "config.json"),
      config.map((byte) => byte ^ 1),
    )
    expect(await pull({ directory })).toMatchObject({ downloadedBytes: config.length })
    expectWhole(directory)
    rmSync(join(directory, ".omni"), { recursive: true })
    expect(await pull({ directory })).toMatchObject({ downloadedBytes: 0 })
  })

  test("--include and --exclude", async () => {
    const directory = join(folder, "plain")
    await pull({ directory, include: ["*.json", "*.py"], exclude: ["assets/*", "tok*"] })
    expect(listed(directory)).toEqual(["config.json", "model.safetensors.index.json", "modeling_minicpmo.py"])
    await expect(pull({ include: ["*.gguf"] })).rejects.toThrow(
      new CheckpointError(`${REPO}@main: expected files to fetch, got none of 13 (check the patterns)`),
    )
  })

  test("files of equal content share one download", async () => {
    const twins = new Map([...files, ["vocab.json", files.get("tokenizer.json")!]])
    hub = await newHub(twins)
    const { directory } = await pull()
    expect(readFileSync(join(directory, "vocab.json"))).toEqual(readFileSync(join(directory, "tokenizer.json")))
    expect(
      hub.requests.filter(({ url }) => /vocab|\/tokenizer.json/.test(url) && !url.includes("assets")),
    ).toHaveLength(1)
  })

  test("all pages of the listing", async () => {
    hub.pageSize = 3
    expectWhole((await pull()).directory)
    expect(hub.requests.filter(({ url }) => url.includes("/tree/"))).toHaveLength(Math.ceil(15 / 3))
  })

  test("progress ends at everything", async () => {
    const seen: number[] = []
    const last: unknown[] = []
    await pull({
      onProgress: (progress) => {
        seen.push(progress.doneBytes)
        last[0] = progress
      },
    })
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    const total = NEEDED.reduce((sum, path) => sum + files.get(path)!.length, 0)
    expect(last[0]).toMatchObject({
      doneFiles: NEEDED.length,
      files: NEEDED.length,
      doneBytes: total,
      totalBytes: total,
    })
  })
})

describe("connections that break", () => {
  test("20 cuts: the download goes on where it stopped, under If-Range", async () => {
    let cuts = 0
    hub.misbehave = (request, response, bytes) => {
      if (bytes.length < 100_000 || cuts >= 20) return false
      cuts++
      sendFile(request, response, bytes, { cutAfter: 9000 })
      return true
    }
    const notes: string[] = []
    const { directory, sizeBytes, downloadedBytes } = await pull({ onNote: (line) => notes.push(line) })
    expectWhole(directory)
    expect(cuts).toBe(20)
    expect(downloadedBytes).toBe(sizeBytes) // nothing came twice
    expect(notes.length).toBeGreaterThanOrEqual(20)
    expect(
      hub
        .fileRequests(SHARD)
        .slice(1)
        .every(({ range, ifRange }) => range && ifRange),
    ).toBe(true)
  })

  test("a server that restarts on the same port", async () => {
    hub.misbehave = (request, response, bytes) => {
      if (bytes !== files.get(SHARD)) return false
      sendFile(request, response, bytes, { cutAfter: 9000 })
      return true
    }
    let restarted = false
    const sleep = async () => {
      if (restarted) return
      restarted = true
      await hub.stop()
      setTimeout(() => {
        hub.misbehave = () => false
        void hub.start()
      }, 150)
    }
    const patient = async () => {
      await sleep()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    expectWhole((await pull({ hub: { sleep: patient } })).directory)
    expect(restarted).toBe(true)
  })

  test("a server without ranges: what is here is kept", async () => {
    let served = 0
    hub.misbehave = (request, response, bytes) => {
      if (bytes !== files.get(SHARD)) return false
      served++
      sendFile(request, response, bytes, { ranges: false, ...(served < 4 ? { cutAfter: 50_000 * served } : {}) })
      return true
    }
    const { directory, sizeBytes, downloadedBytes } = await pull()
    expectWhole(directory)
    expect([served, downloadedBytes]).toEqual([4, sizeBytes])
  })

  test("a file that changes on the way is begun again", async () => {
    let served = 0
    hub.misbehave = (request, response, bytes) => {
      if (bytes !== files.get(SHARD)) return false
      // The first connection serves other bytes of another version; later ones the listed file under its own ETag.
      if (served++ === 0) sendFile(request, response, noise(bytes.length, 9), { etag: '"old"', cutAfter: 60_000 })
      else sendFile(request, response, bytes, { etag: '"new"' })
      return true
    }
    expectWhole((await pull()).directory)
    expect(hub.fileRequests(SHARD).map(({ range, ifRange }) => [range, ifRange])).toEqual([
      [undefined, undefined],
      ["bytes=60000-", '"old"'],
      [undefined, undefined],
    ])
  })

  test("a file that never stops changing ends", async () => {
    let served = 0
    hub.misbehave = (request, response, bytes) => {
      if (bytes !== files.get(SHARD)) return false
      sendFile(request, response, bytes, { etag: `"${served++}"`, cutAfter: 1000 })
      return true
    }
    await expect(pull()).rejects.toThrow(`${REPO}: ${SHARD}: expected an answer from`)
    expect(served).toBeLessThan(40)
  })

  test("429 and 503 are waited for as long as they ask, with growing delays otherwise", async () => {
    const answers = [
      [429, "7"],
      [503, undefined],
      [503, undefined],
      [429, undefined],
      [502, "3"],
    ] as const
    let next = 0
    hub.misbehave = (_, response, bytes) => {
      const answer = bytes === files.get(SHARD) ? answers[next++] : undefined
      if (!answer) return false
      response.writeHead(answer[0], answer[1] ? { "retry-after": answer[1] } : {}).end()
      return true
    }
    const delays: number[] = []
    const sleep = async (delayMs: number) => void delays.push(delayMs)
    expectWhole((await pull({ hub: { sleep } })).directory)
    expect(delays).toEqual([7000, 750, 1500, 3000, 6000])
  })

  test("a busy server that asks for an hour, and one that never recovers, are told of", async () => {
    hub.misanswer = (_, response) => Boolean(response.writeHead(429, { "retry-after": "3600" }).end())
    await expect(pull()).rejects.toThrow(
      new OmniError(
        "network",
        `${REPO}@main: expected an answer from ${hub.endpoint}, got status 429 (127.0.0.1:${hub.port}), which asks to wait (check the network, HF_ENDPOINT and the proxy; what was downloaded is kept)`,
      ),
    )
    hub.misanswer = (_, response) => Boolean(response.writeHead(503).end())
    await expect(pull()).rejects.toThrow(/got status 503 \(127\.0\.0\.1:\d+\) 4 times \(check the network/)
    await hub.stop()
    const failure: unknown = await pull().catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: "network", message: expect.stringMatching(/ECONNREFUSED|refused/) })
  })

  test("a connection that brings nothing is given up, and tried again", async () => {
    let stalls = 0
    hub.misbehave = (_, response, bytes) => {
      if (bytes !== files.get(SHARD) || stalls++ > 0) return false
      response.writeHead(200, { "content-length": bytes.length })
      response.write(bytes.subarray(0, 1000))
      return true
    }
    const notes: string[] = []
    expectWhole((await pull({ hub: { stallMs: 300 }, onNote: (line) => notes.push(line) })).directory)
    expect(notes).toEqual([expect.stringContaining(`${SHARD}: nothing for 0 s; trying again`)])
  })
})

describe("wrong content", () => {
  const corrupt = (times: number) => {
    let served = 0
    hub.misbehave = (request, response, bytes) => {
      if (bytes !== files.get(SHARD) || served++ >= times) return false
      sendFile(
        request,
        response,
        bytes.map((byte, i) => (i === 1234 ? byte ^ 1 : byte)),
      )
      return true
    }
  }

  test("once: fetched again", async () => {
    corrupt(1)
    expectWhole((await pull()).directory)
    expect(hub.fileRequests(SHARD)).toHaveLength(2)
  })

  test("twice: an error that names file and checksums; no such file appears", async () => {
    corrupt(2)
    const failure = await pull().catch((error: unknown) => error)
    const bytes = files.get(SHARD)!
    const got = sha256(bytes.map((byte, i) => (i === 1234 ? byte ^ 1 : byte)))
    expect(failure).toEqual(
      new CheckpointError(
        `${REPO}: ${SHARD}: expected SHA-256 ${sha256(bytes)}, got ${got} (fetched twice: the server or a proxy sends something else; try later or another HF_ENDPOINT)`,
      ),
    )
    expect(existsSync(join(repoFolder(), "blobs", sha256(bytes)))).toBe(false)
    expect(existsSync(join(repoFolder(), "refs"))).toBe(false)
  })

  test("a small file is checked as git names it", async () => {
    hub.misbehave = (_, response, bytes) => {
      if (bytes !== files.get("config.json")) return false
      response.end(bytes.map((byte) => byte ^ 1))
      return true
    }
    await expect(pull()).rejects.toThrow("config.json: expected git SHA-1")
  })

  test("a damaged part of an earlier pull is thrown away", async () => {
    const bytes = files.get(SHARD)!
    let abort: AbortController | undefined = new AbortController()
    hub.misbehave = (request, response, got) => {
      if (got !== bytes || !abort) return false
      sendFile(request, response, got, { cutAfter: 100_000 })
      return true
    }
    const sleep = async (_: number, signal: AbortSignal | undefined) => {
      abort?.abort()
      signal?.throwIfAborted()
    }
    await expect(pull({ signal: abort.signal, hub: { sleep } })).rejects.toThrow("aborted")
    abort = undefined
    const part = join(repoFolder(), "blobs", `${sha256(bytes)}.omni-part`)
    // What was on its way when the connection was cut may be lost.
    const { size } = statSync(part)
    expect(size).toBeGreaterThan(5)
    expect(size).toBeLessThanOrEqual(100_000)
    const damaged = readFileSync(part)
    damaged[5]! ^= 1
    writeFileSync(part, damaged)
    hub.requests.length = 0
    expectWhole((await pull()).directory)
    expect(hub.fileRequests(SHARD).map(({ range }) => range)).toEqual([`bytes=${size}-`, undefined])
  })

  test("lengths that lie: too short is asked for again, too long is cut, both checked", async () => {
    const bytes = files.get(SHARD)!
    let served = 0
    hub.misbehave = (request, response, got) => {
      if (got !== bytes) return false
      if (served++ === 0) response.writeHead(200, { "content-length": 1000 }).end(bytes.subarray(0, 1000))
      else sendFile(request, response, Buffer.concat([bytes, noise(5000)]))
      return true
    }
    expectWhole((await pull()).directory)
    expect(served).toBe(2)
    served = 0
    hub.misbehave = (_, response, got) => {
      if (got !== bytes) return false
      served++
      response.writeHead(200, { "content-length": 1000 }).end(bytes.subarray(0, 1000))
      return true
    }
    await expect(pull({ cacheFolder: join(folder, "other") })).rejects.toThrow(/got 1000 of 300000 bytes 8 times/)
    expect(served).toBe(9)
  })

  test("storage that announces another checksum is not even read", async () => {
    hub.misbehave = (_, response, bytes) => {
      if (bytes !== files.get(SHARD)) return false
      response.writeHead(200, { "x-linked-etag": `"${"0".repeat(64)}"` }).end(bytes)
      return true
    }
    await expect(pull()).rejects.toThrow(`got ${"0".repeat(64)} (fetched twice`)
  })
})

describe("tokens and redirects", () => {
  test("the token goes to the hub, and nowhere else", async () => {
    const storage = await newHub()
    storage.misbehave = () => false
    hub.misbehave = (request, response) => {
      response.writeHead(302, { location: `${storage.endpoint}${request.url}?signed=1` }).end()
      return true
    }
    expectWhole((await pull({ token: "hf_secret" })).directory)
    expect(new Set(hub.requests.map(({ authorization }) => authorization))).toEqual(new Set(["Bearer hf_secret"]))
    expect(storage.requests).toHaveLength(NEEDED.length)
    expect(new Set(storage.requests.map(({ authorization }) => authorization))).toEqual(new Set([undefined]))
  })

  test("a link to the next page on another host is asked of the hub", async () => {
    const other = await newHub()
    hub.misanswer = (request, response) => {
      if (!request.url!.includes("/tree/") || request.url!.includes("cursor")) return false
      response.writeHead(200, { link: `<${other.endpoint}${request.url}&cursor=0>; rel="next"` }).end("[]")
      return true
    }
    expectWhole((await pull({ token: "hf_secret" })).directory)
    expect(other.requests).toEqual([])
  })

  test("redirects without end, and to what is no web address", async () => {
    hub.misbehave = (request, response) => Boolean(response.writeHead(302, { location: request.url! }).end())
    await expect(pull()).rejects.toThrow(/expected at most 5 redirects, got more from http:/)
    hub.misbehave = (_, response) => Boolean(response.writeHead(302, { location: "file:///etc/passwd" }).end())
    await expect(pull()).rejects.toThrow(/expected a redirect to a web address as safe as http:/)
  })

  test.each([
    [
      401,
      "GatedRepo",
      undefined,
      /expected access to org\/small, got status 401 \(accept its terms at .*\/org\/small, then set HF_TOKEN to a token of yours\)/,
    ],
    [
      403,
      "GatedRepo",
      "hf_x",
      /status 403 \(accept its terms at .*, then check that the token in HF_TOKEN may read it\)/,
    ],
    [
      401,
      "RepoNotFound",
      undefined,
      /status 401 \(check its name; if it is private or gated, see .*, then set HF_TOKEN/,
    ],
    [404, "RevisionNotFound", undefined, /expected such a revision at .*, got status 404/],
  ])("status %i (%s) says what to do, without the token", async (status, code, token, message) => {
    hub.misanswer = (_, response) => Boolean(response.writeHead(status, { "x-error-code": code }).end())
    const failure = await pull({ token }).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(ConfigError)
    expect((failure as Error).message).toMatch(message)
    expect((failure as Error).message).not.toContain("hf_x")
    expect(hub.requests).toHaveLength(1)
  })
})

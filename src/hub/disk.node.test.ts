/** @file Downloads and the machine: full disks, locks left behind or held, interruption, pulls at the same time. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs"
import { hostname, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { skipUnless } from "../../test/skip.ts"
import { ConfigError } from "../util/index.ts"
import { COMMIT, type FakeHub, fakeHub, modelFiles, REPO, sendFile, sha256 } from "./fake-hub.test-util.ts"
import { fetchFile } from "./fetch-file.ts"
import { takeLock } from "./lock.node.ts"
import { openPart } from "./part-file.node.ts"
import { type PullOptions, pullModel } from "./pull.node.ts"

const SHARD = "model-00001-of-00002.safetensors"
const files = modelFiles()
let hub: FakeHub
let folder = ""

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "omni-hub-"))
  hub = await fakeHub(files)
})
afterEach(async () => {
  await hub.stop().catch(() => {})
  rmSync(folder, { recursive: true, force: true })
})

const pull = (options: Partial<PullOptions> = {}) =>
  pullModel({
    ...{ model: REPO, endpoint: hub.endpoint, cacheFolder: join(folder, "cache") },
    ...options,
    hub: { sleep: async (_, signal) => signal?.throwIfAborted(), random: () => 0.5, ...options.hub },
  })
const shardPart = (cache: string) => join(cache, `models--org--small/blobs/${sha256(files.get(SHARD)!)}.omni-part`)

describe("a full disk", () => {
  test("ends the download at once; what came is kept", async () => {
    const bytes = files.get(SHARD)!
    const file = { path: SHARD, sizeBytes: bytes.length, checksum: { kind: "sha256", hex: sha256(bytes) } } as const
    const part = await openPart(join(folder, "part"), file, async () => {})
    let written = 0
    const append = part.append
    part.append = async (more) => {
      if (written + more.length > 100_000) throw Object.assign(new Error("no space left"), { code: "ENOSPC" })
      written += more.length
      await append(more)
    }
    const access = { endpoint: hub.endpoint, fetch, sleep: async () => {}, random: () => 0, stallMs: 5000, attempts: 8 }
    await expect(fetchFile(access, { repo: REPO, commit: COMMIT }, file, part)).rejects.toThrow("no space left")
    await part.close()
    expect(hub.fileRequests(SHARD)).toHaveLength(1)
    const again = await openPart(join(folder, "part"), file, async () => {})
    expect(again.sizeBytes).toBe(written)
    await fetchFile(access, { repo: REPO, commit: COMMIT }, file, again)
    await again.publish(join(folder, "whole"))
    expect(readFileSync(join(folder, "whole"))).toEqual(Buffer.from(bytes))
    expect(hub.fileRequests(SHARD).at(-1)!.range).toBe(`bytes=${written}-`)
  })

  test("is foreseen", async () => {
    hub.alter = (entries) =>
      entries.map((entry) => (entry.path === SHARD ? { ...entry, lfs: { ...entry.lfs!, size: 2 ** 49 } } : entry))
    await expect(pull()).rejects.toThrow(
      /expected 562950 GB of free space, got [\d.]+ \w+ \(free some, or choose another disk: --dir DIR or HF_HUB_CACHE\)/,
    )
    expect(hub.fileRequests(SHARD)).toEqual([])
  })
})

const canMount =
  process.platform === "linux" &&
  process.getuid?.() === 0 &&
  spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "none", tmpdir()]).status === 0

skipUnless(canMount, "needs the right to mount a small disk")("a disk that really is full", () => {
  test("says so, keeps the part, and the next pull goes on there", async () => {
    const disk = join(folder, "disk")
    mkdirSync(disk)
    expect(spawnSync("mount", ["-t", "tmpfs", "-o", "size=600k", "none", disk]).status).toBe(0)
    try {
      const filler = join(disk, "filler")
      let requests = 0
      hub.misbehave = (request, response, bytes) => {
        if (bytes !== files.get(SHARD)) return false
        // Somebody else fills the disk after the check of free space: the file of 300 kB meets room for less.
        if (requests++ === 0) {
          const left = statfsBytes(disk)
          writeFileSync(filler, new Uint8Array(left - 200_000))
        }
        sendFile(request, response, bytes)
        return true
      }
      const failure = await pull({ cacheFolder: disk }).catch((error: unknown) => error)
      expect(failure).toBeInstanceOf(ConfigError)
      expect((failure as Error).message).toMatch(
        /\.omni-part: expected free space, got ENOSPC: .* \(free some and pull again; what was downloaded is kept\)/,
      )
      const kept = statSync(shardPart(disk)).size
      expect(kept).toBeGreaterThan(0)
      rmSync(filler)
      const { directory } = await pull({ cacheFolder: disk })
      expect(readFileSync(join(directory, SHARD))).toEqual(Buffer.from(files.get(SHARD)!))
      expect(hub.fileRequests(SHARD).at(-1)!.range).toBe(`bytes=${kept}-`)
    } finally {
      spawnSync("umount", [disk])
    }
  })
})

function statfsBytes(path: string): number {
  const { stdout } = spawnSync("stat", ["-f", "-c", "%a %S", path], { encoding: "utf8" })
  const [blocks, size] = stdout.trim().split(" ").map(Number)
  return blocks! * size!
}

describe("interruption", () => {
  test("stops within a chunk; the part is kept and gone on with", async () => {
    const controller = new AbortController()
    hub.misbehave = (_, response, bytes) => {
      if (bytes !== files.get(SHARD)) return false
      response.writeHead(200, { "content-length": bytes.length })
      response.write(bytes.subarray(0, 50_000), () => setTimeout(() => controller.abort(), 50))
      return true
    }
    await expect(pull({ signal: controller.signal })).rejects.toThrow(controller.signal.reason)
    const kept = statSync(shardPart(join(folder, "cache"))).size
    expect(kept).toBe(50_000)
    expect(existsSync(join(folder, "cache/.locks/models--org--small/omni.lock"))).toBe(false)
    hub.misbehave = () => false
    await pull()
    expect(hub.fileRequests(SHARD).map(({ range }) => range)).toEqual([undefined, "bytes=50000-"])
  })

  test("before the start nothing is asked", async () => {
    await expect(pull({ signal: AbortSignal.abort() })).rejects.toThrow("aborted")
    expect(hub.requests).toEqual([])
  })
})

describe("the lock", () => {
  const lockPath = () => join(folder, "deep/omni.lock")
  const leave = (text: string) => {
    mkdirSync(dirname(lockPath()), { recursive: true })
    writeFileSync(lockPath(), text)
  }
  const owner = (more: object) => JSON.stringify({ pid: process.pid, host: hostname(), token: "t", ...more })
  const dead = () => spawnSync(process.execPath, ["-e", ""]).pid

  test("lets one in at a time", async () => {
    let [inside, most] = [0, 0]
    const work = async () => {
      await using lock = await takeLock(lockPath())
      most = Math.max(most, ++inside)
      await new Promise((resolve) => setTimeout(resolve, 20))
      await lock.check()
      inside--
    }
    await Promise.all([work(), work(), work(), work()])
    expect([most, existsSync(lockPath())]).toEqual([1, false])
  })

  test("of a process that is gone is taken over, by one of many", async () => {
    leave(owner({ pid: dead() }))
    let [inside, most] = [0, 0]
    const work = async () => {
      await using _lock = await takeLock(lockPath())
      most = Math.max(most, ++inside)
      await new Promise((resolve) => setTimeout(resolve, 5))
      inside--
    }
    const start = performance.now()
    await Promise.all(Array.from({ length: 8 }, work))
    expect(most).toBe(1)
    expect(performance.now() - start).toBeLessThan(10_000)
  })

  test("that is held is waited for, and the wait can be ended", async () => {
    for (const text of [owner({}), owner({ host: "elsewhere", pid: dead() }), "{"]) {
      leave(text)
      const waits: (number | undefined)[] = []
      const signal = AbortSignal.timeout(300)
      await expect(takeLock(lockPath(), { signal, onWait: (pid) => waits.push(pid) })).rejects.toThrow("timeout")
      expect(waits).toHaveLength(1)
      expect(readFileSync(lockPath(), "utf8")).toBe(text)
    }
  })

  test("that nobody touched for minutes is taken over, whoever it names", async () => {
    for (const [text, minutes] of [
      [owner({}), 11],
      [owner({ host: "elsewhere" }), 11],
      ["{", 1],
    ] as const) {
      leave(text)
      const then = new Date(Date.now() - minutes * 60_000)
      utimesSync(lockPath(), then, then)
      await using _lock = await takeLock(lockPath(), { signal: AbortSignal.timeout(2000) })
      expect(readFileSync(lockPath(), "utf8")).not.toBe(text)
    }
  })

  test("that was taken by another is not removed at the end", async () => {
    const lock = await takeLock(lockPath())
    leave(owner({ token: "other" }))
    await lock[Symbol.asyncDispose]()
    expect(existsSync(lockPath())).toBe(true)
  })

  test("in a folder that cannot be written", async () => {
    writeFileSync(join(folder, "file"), "")
    await expect(takeLock(join(folder, "file/x.lock"))).rejects.toThrow(/expected a folder that can be written, got E/)
  })
})

describe("two pulls at once", () => {
  test.each(["cache", "plain"])("each file comes once (%s)", async (kind) => {
    const notes: string[] = []
    const where = kind === "plain" ? { directory: join(folder, "plain") } : {}
    const results = await Promise.all([1, 2].map(() => pull({ ...where, onNote: (line) => notes.push(line) })))
    expect(results.map(({ downloadedBytes }) => downloadedBytes).sort((a, b) => a - b)).toEqual([
      0,
      results[0]!.sizeBytes,
    ])
    expect(hub.fileRequests(SHARD)).toHaveLength(1)
    // Who has just begun may not have written its number yet.
    const waiting = (who: string) => [`${REPO}@main: waiting for ${who}, which is pulling it`]
    expect([waiting(`the process ${process.pid}`), waiting("a process")]).toContainEqual(notes)
  })
})

/** @file Models on this machine: what a name means, what is listed, what is removed, and what offline can do. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { CheckpointError, ConfigError } from "../util/index.ts"
import { listModels, removeModel, resolveModel } from "./cache.node.ts"
import { COMMIT, type FakeHub, fakeHub, modelFiles, NEEDED, REPO } from "./fake-hub.test-util.ts"
import { pullModel } from "./pull.node.ts"

const files = modelFiles(1000)
const sizeBytes = NEEDED.reduce((sum, path) => sum + files.get(path)!.length, 0)
let hub: FakeHub
let folder = ""
let cache = ""
const snapshot = () => join(cache, "models--org--small/snapshots", COMMIT)
const places = (embedded = {}) => ({ cacheFolder: cache, embedded })
const pull = (more = {}) => pullModel({ model: REPO, endpoint: hub.endpoint, cacheFolder: cache, ...more })

function put(root: string, path: string, text = "{}"): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "omni-hub-"))
  cache = join(folder, "cache")
  hub = await fakeHub(files)
})
afterEach(async () => {
  await hub.stop().catch(() => {})
  rmSync(folder, { recursive: true, force: true })
})

describe("a model's name", () => {
  test("means a folder first, then what comes with the program, then what was pulled", async () => {
    await pull()
    expect(await resolveModel(folder, places())).toBe(folder)
    expect(await resolveModel("nano", places({ nano: folder }))).toBe(folder)
    expect(await resolveModel(REPO, places())).toBe(snapshot())
    expect(await resolveModel(`${REPO}@main`, places())).toBe(snapshot())
    expect(await resolveModel(`${REPO}@${COMMIT}`, places())).toBe(snapshot())
  })

  test.each(["/nowhere", "./nowhere", "nowhere", "a/b/c", "../x"])(
    "%s that is nothing says what it could be",
    async (name) => {
      await expect(resolveModel(name, places())).rejects.toThrow(
        new CheckpointError(
          `${name}: expected a model folder with a config.json, got none (give the folder of a checkpoint, make one with omni init, or fetch one with omni pull org/name)`,
        ),
      )
    },
  )

  test("of a hub says what was tried", async () => {
    const root = join(cache, "models--org--small")
    await expect(resolveModel(REPO, places())).rejects.toThrow(
      new CheckpointError(
        `${REPO}: expected a folder of that name or a whole model in ${root}, got neither (fetch it with omni pull ${REPO}, or give the folder of a checkpoint)`,
      ),
    )
    await pull()
    rmSync(join(snapshot(), "model-00002-of-00002.safetensors"))
    await expect(resolveModel(REPO, places())).rejects.toThrow(
      new CheckpointError(
        `${REPO}: expected a folder of that name or a whole model in ${root}, got ${snapshot()} without model-00002-of-00002.safetensors (fetch the rest with omni pull ${REPO}, or give the folder of a checkpoint)`,
      ),
    )
    await expect(resolveModel(`${REPO}@v2`, places())).rejects.toThrow("got neither")
  })
})

describe("offline", () => {
  test("a complete copy will do, and nobody is asked", async () => {
    const { directory } = await pull()
    hub.requests.length = 0
    expect(await pull({ offline: true })).toEqual({
      ...{
        directory,
        repo: REPO,
        revision: "main",
        commit: COMMIT,
        files: NEEDED.length,
        sizeBytes,
        downloadedBytes: 0,
      },
    })
    rmSync(join(directory, "config.json"))
    await expect(pull({ offline: true })).rejects.toThrow(
      new ConfigError(
        `${REPO}@main: expected a complete copy in ${cache} while HF_HUB_OFFLINE is set, got none (unset HF_HUB_OFFLINE to download)`,
      ),
    )
    expect(hub.requests).toEqual([])
  })
})

describe("offline, a plain folder", () => {
  const directory = () => join(folder, "plain")

  test("that was pulled and is complete will do", async () => {
    const { downloadedBytes, ...pulled } = await pull({ directory: directory() })
    expect(downloadedBytes).toBe(sizeBytes)
    hub.requests.length = 0
    expect(await pull({ directory: directory(), offline: true })).toEqual({ ...pulled, downloadedBytes: 0 })
    expect(await pull({ directory: directory(), offline: true, revision: COMMIT })).toMatchObject({ commit: COMMIT })
    expect(hub.requests).toEqual([])
  })

  test("of another model or revision, in part or with a file cut off will not", async () => {
    const refusal = `expected a complete copy in ${directory()} while HF_HUB_OFFLINE is set, got none (unset HF_HUB_OFFLINE`
    const refused = (options: Parameters<typeof pull>[0] = {}) =>
      expect(pull({ directory: directory(), offline: true, ...options })).rejects.toThrow(refusal)
    await refused()
    await pull({ directory: directory(), include: ["config.json"] })
    await refused()
    await pull({ directory: directory() })
    await refused({ model: "other/model" })
    await refused({ revision: "other" })
    put(directory(), "config.json", "{}")
    await refused()
  })
})

describe("the list", () => {
  test("is empty without a cache", async () => expect(await listModels(places())).toEqual([]))

  test("has pulled models, given folders and their quantized weights; other kinds of models are left out", async () => {
    await pull()
    put(cache, `models--other--bert/snapshots/${COMMIT}/config.json`, '{"model_type":"bert"}')
    put(cache, "models--odd/x")
    put(cache, "version.txt")
    put(snapshot(), `.omni/${"a".repeat(32)}/bundle.json`, "12345")
    const own = join(folder, "own")
    put(own, "bundle/bundle.json", "123")
    const models = await listModels(places({ nano: join(folder, "none") }), [own])
    expect(models).toEqual([
      {
        ...{ name: own, folder: own, repo: undefined, revision: undefined, commit: undefined, sizeBytes: 3 },
        missing: ["config.json", "tokenizer_config.json", "tokenizer.json", "bundle/weights.bin"],
        bundles: ["bundle"],
      },
      {
        ...{ name: REPO, folder: snapshot(), repo: REPO, revision: "main", commit: COMMIT, sizeBytes: sizeBytes + 5 },
        missing: [],
        bundles: [join(".omni", "a".repeat(32))],
      },
    ])
    await expect(listModels(places(), [join(folder, "no")])).rejects.toThrow("no: expected a folder, got none")
  })

  test("a plain folder knows where it came from; a pull that was cut off is shown as incomplete", async () => {
    const directory = join(folder, "plain")
    await pull({ directory })
    expect(await listModels(places(), [directory])).toMatchObject([
      { repo: REPO, revision: "main", commit: COMMIT, missing: [] },
    ])
    put(cache, "models--org--cut/blobs/abc.omni-part", "12345678")
    expect(await listModels(places())).toMatchObject([
      { name: "org/cut", sizeBytes: 8, missing: ["config.json"], commit: undefined },
    ])
  })

  test("revisions are told apart", async () => {
    await pull({ revision: COMMIT })
    expect((await listModels(places())).map(({ name }) => name)).toEqual([`${REPO}@${COMMIT}`])
    await pull()
    expect((await listModels(places())).map(({ name }) => name)).toEqual([REPO])
  })
})

describe("removing", () => {
  test("takes the exact name, and says how much is free now", async () => {
    await pull()
    for (const name of [
      "small",
      "org/Small",
      "org",
      "../models--org--small",
      snapshot(),
      `${REPO}@main`,
      "org/other",
    ]) {
      await expect(removeModel(cache, name)).rejects.toThrow(
        `${name}: expected the exact name org/name of a model in ${cache}, got none`,
      )
    }
    expect(await removeModel(cache, REPO)).toBeGreaterThanOrEqual(sizeBytes)
    expect(existsSync(join(cache, "models--org--small"))).toBe(false)
    await expect(resolveModel(REPO, places())).rejects.toThrow("got neither")
  })

  test("leaves other programs' models alone", async () => {
    put(cache, `models--other--bert/snapshots/${COMMIT}/config.json`, '{"model_type":"bert"}')
    await expect(removeModel(cache, "other/bert")).rejects.toThrow("expected the exact name")
    expect(existsSync(join(cache, "models--other--bert"))).toBe(true)
  })
})

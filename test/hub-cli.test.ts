/** @file `omni pull` and `models` from outside: a hub on the loopback address, several processes, interruption. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { type AddressInfo, connect } from "node:net"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { COMMIT, type FakeHub, fakeHub, REPO, sendFile, sha256 } from "../src/hub/fake-hub.test-util.ts"
import { omni, startOmni, temporaryFolders } from "./cli.test-util.ts"

const temporary = temporaryFolders()
const files = new Map<string, Uint8Array>()
let hub: FakeHub
let large = ""

beforeAll(async () => {
  const model = join(temporary(), "nano")
  await omni(["init", "--preset", "nano", "--layers", "2", model, "--seed", "7"])
  for (const path of readdirSync(model, { recursive: true, encoding: "utf8" }))
    if (statSync(join(model, path)).isFile()) files.set(path, readFileSync(join(model, path)))
  files.set("README.md", new TextEncoder().encode("not needed"))
  large = [...files].sort(([, a], [, b]) => b.length - a.length)[0]![0]
  hub = await fakeHub(files)
})
afterEach(() => {
  hub.requests.length = 0
  hub.misbehave = () => false
  hub.misanswer = () => false
})
afterAll(() => hub.stop())

const records = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { [name: string]: unknown })
const needed = () => [...files.keys()].filter((path) => path !== "README.md")
/** An environment with a home of its own, where nothing was ever pulled. */
const home = (more: NodeJS.ProcessEnv = {}) => {
  const path = temporary()
  return {
    env: {
      HF_HOME: path,
      XDG_CACHE_HOME: path,
      HF_ENDPOINT: hub.endpoint,
      HF_TOKEN: "",
      HF_HUB_CACHE: "",
      HF_HUB_OFFLINE: "",
      ...more,
    },
  }
}
const snapshotOf = ({ env }: ReturnType<typeof home>) => join(env.HF_HOME, "hub/models--org--small/snapshots", COMMIT)
/** Serves the beginning of the largest file, and then nothing. */
const stall = (bytes: number) => {
  hub.misbehave = (_, response, whole) => {
    if (whole !== files.get(large)) return false
    response.writeHead(200, { "content-length": whole.length })
    response.write(whole.subarray(0, bytes))
    return true
  }
}
const until = async (condition: () => boolean) => {
  for (let i = 0; i < 1200 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 25))
  expect(condition()).toBe(true)
}

describe("a model's way", () => {
  test("pull, list, chat by name, remove", async () => {
    const at = home()
    const folder = snapshotOf(at)
    expect(await omni(["models"], at)).toMatchObject({
      ...{ code: 0, stdout: "" },
      stderr: `no models in ${join(at.env.HF_HOME, "hub")} (get one with omni pull org/name)\n`,
    })
    const pulled = await omni(["pull", REPO], at)
    expect(pulled).toMatchObject({ code: 0, stdout: `${folder}\n` })
    expect(pulled.stderr).toMatch(/^\d+ files, \d+\.\d MB, \d+\.\d MB downloaded\n$/)
    for (const path of needed()) expect(sha256(readFileSync(join(folder, path)))).toBe(sha256(files.get(path)!))
    expect(existsSync(join(folder, "README.md"))).toBe(false)

    const listed = await omni(["models"], at)
    expect(listed.stdout).toMatch(/^org\/small: \d+\.\d MB, main 01234567, complete\n {2}\/.*\n$/)
    const [first] = records((await omni(["models", "--json"], at)).stdout)
    expect(first).toMatchObject({ type: "model", name: REPO, folder, complete: true, missing: [], bundles: [] })

    const ask = ["chat", "hello", "--model", REPO, "--threads", "1", "--max-tokens", "4", "--quiet"]
    expect(await omni(ask, at)).toMatchObject({ code: 0, stderr: "" })
    expect(await omni(["models", "--remove", "small"], at)).toMatchObject({ code: 2, stdout: "" })
    const removed = await omni(["models", "--remove", REPO], at)
    expect(removed).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^org\/small: removed, \d+\.\d MB freed\n$/),
    })
    expect((await omni(ask, at)).stderr).toMatch(
      /^omni: org\/small: expected a folder of that name or a whole model in/,
    )
  })

  test("--json tells progress and the result; --dir a plain folder; --quiet only the folder", async () => {
    const [at, folder] = [home(), join(temporary(), "plain")]
    const { code, stdout, stderr } = await omni(["pull", REPO, "--dir", folder, "--json"], at)
    expect([code, stderr]).toEqual([0, ""])
    const lines = records(stdout)
    expect(lines.at(-1)).toMatchObject({ type: "pulled", directory: folder, repo: REPO, files: needed().length })
    expect(lines.at(-2)).toMatchObject({
      ...{ type: "progress", fraction: 1, doneFiles: needed().length, files: needed().length },
      stage: expect.stringMatching(/^\d+ of \d+ files, \d+\.\d MB of \d+\.\d MB/),
    })
    expect(await omni(["pull", REPO, "--dir", folder, "--quiet"], at)).toMatchObject({
      stdout: `${folder}\n`,
      stderr: "",
    })
    expect((await omni(["models", "--dir", folder, "--json"], at)).stdout).toContain(`"commit":"${COMMIT}"`)
  })

  test("offline", async () => {
    const at = home()
    await omni(["pull", REPO], at)
    const offline = { env: { ...at.env, HF_HUB_OFFLINE: "1" } }
    hub.requests.length = 0
    expect(await omni(["pull", REPO, "--quiet"], offline)).toMatchObject({ code: 0, stdout: `${snapshotOf(at)}\n` })
    expect((await omni(["pull", "org/other"], offline)).stderr).toMatch(
      /^omni: org\/other@main: expected a complete copy in/,
    )
    expect(hub.requests).toEqual([])
  })

  test("what is wrong is refused in one line", async () => {
    const wrong = [
      [["pull", "../x"], 'omni: model: expected org/name or org/name@revision, got "../x"\n'],
      [["pull", REPO, "--revision", "a b"], 'omni: revision: expected a branch, tag or commit, got "a b"\n'],
      [
        ["pull", "org/none"],
        /^omni: org\/none@main: expected access to org\/none, got status 401 \(check its name;.*\)\n$/,
      ],
      [["pull", REPO, "--include", "*.gguf"], /expected files to fetch, got none of \d+ \(check the patterns\)\n$/],
      [
        ["pull"],
        "omni: model: expected name of the model, such as openbmb/MiniCPM-o-2_6, got none (see omni pull --help)\n",
      ],
    ] as const
    const outcomes = await Promise.all(wrong.map(([args]) => omni(args, home())))
    for (const [i, outcome] of outcomes.entries()) {
      expect(outcome).toMatchObject({ code: 2, stdout: "", stderr: expect.stringMatching(/^omni: .*\n$/) })
      expect(outcome.stderr).toMatch(wrong[i]![1])
    }
  })
})

describe("tokens and proxies", () => {
  test("a saved token goes to the hub and is printed nowhere", async () => {
    const at = home()
    mkdirSync(at.env.HF_HOME, { recursive: true })
    writeFileSync(join(at.env.HF_HOME, "token"), "hf_saved\n")
    hub.misanswer = (_, response) => Boolean(response.writeHead(403, { "x-error-code": "GatedRepo" }).end())
    const { code, stdout, stderr } = await omni(["pull", REPO, "--json"], at)
    expect(code).toBe(2)
    expect(stderr).toContain("accept its terms at")
    expect(stdout + stderr).not.toContain("hf_saved")
    expect(hub.requests.map(({ authorization }) => authorization)).toEqual(["Bearer hf_saved"])
  })

  test("a proxy of the environment is used", async () => {
    let through = 0
    const proxy = createServer((request, response) => {
      // A plain request carries the whole address.
      through++
      const url = new URL(request.url!)
      const back = connect(hub.port, "127.0.0.1", () => {
        back.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)
        back.pipe(response.socket!)
      })
    })
    proxy.on("connect", (_, client) => {
      through++
      const back = connect(hub.port, "127.0.0.1", () => {
        client.write("HTTP/1.1 200 OK\r\n\r\n")
        client.pipe(back).pipe(client)
      })
      back.on("error", () => client.destroy())
      client.on("error", () => back.destroy())
    })
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve))
    try {
      const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
      const at = home({ HF_ENDPOINT: "http://hub.invalid", http_proxy: address, no_proxy: "" })
      expect(await omni(["pull", REPO, "--quiet"], at)).toMatchObject({
        code: 0,
        stdout: `${snapshotOf(at)}\n`,
        stderr: "",
      })
      expect(through).toBeGreaterThan(0)
    } finally {
      proxy.closeAllConnections()
      proxy.close()
    }
  })
})

describe("several processes and early ends", () => {
  test("two pulls at once end right, each file comes once", async () => {
    const at = home()
    const outcomes = await Promise.all([omni(["pull", REPO], at), omni(["pull", REPO], at)])
    for (const outcome of outcomes) expect(outcome).toMatchObject({ code: 0, stdout: `${snapshotOf(at)}\n` })
    expect(hub.fileRequests(large)).toHaveLength(1)
  })

  test("Ctrl-C keeps the part; the next pull goes on there", async () => {
    const at = home()
    stall(100_000)
    const { child, outcome } = startOmni(["pull", REPO], at)
    const part = join(at.env.HF_HOME, "hub/models--org--small/blobs", `${sha256(files.get(large)!)}.omni-part`)
    await until(() => existsSync(part) && statSync(part).size === 100_000)
    child.kill("SIGINT")
    expect(await outcome).toMatchObject({ code: 130, stdout: "", stderr: "" })
    hub.misbehave = () => false
    expect(await omni(["pull", REPO], at)).toMatchObject({ code: 0 })
    expect(hub.fileRequests(large).at(-1)!.range).toBe("bytes=100000-")
  })

  test("a process that was killed leaves nothing in the way", async () => {
    const at = home({ GLIBC_TUNABLES: "glibc.malloc.hugetlb=1" }) // set already: the launcher starts no second process
    stall(100_000)
    const { child, outcome } = startOmni(["pull", REPO], at)
    const part = join(at.env.HF_HOME, "hub/models--org--small/blobs", `${sha256(files.get(large)!)}.omni-part`)
    const others = needed().filter((path) => path !== large)
    await until(
      () =>
        existsSync(part) &&
        statSync(part).size === 100_000 &&
        others.every((path) => existsSync(join(snapshotOf(at), path))),
    )
    child.kill("SIGKILL")
    await outcome
    expect(existsSync(join(at.env.HF_HOME, "hub/.locks/models--org--small/omni.lock"))).toBe(true)
    expect((await omni(["models"], at)).stdout).toMatch(/^org\/small.*incomplete: lacks model\.safetensors\n/)
    hub.misbehave = (request, response, bytes) => {
      sendFile(request, response, bytes)
      return true
    }
    expect(await omni(["pull", REPO], at)).toMatchObject({ code: 0, stdout: `${snapshotOf(at)}\n` })
    expect(hub.fileRequests(large).at(-1)!.range).toBe("bytes=100000-")
  })
})

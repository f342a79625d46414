/**
 * @file The package as npm packs it, in an empty project: Node.js strips no types below node_modules, so everything has to be
 * built. Dependencies are linked instead of installed: there may be no network.
 */
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { build, type Rolldown } from "vite"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import packageJson from "../package.json" with { type: "json" }
import { packedManifest } from "../scripts/package.ts"

const ROOT = join(import.meta.dirname, "..")
const TINY = join(ROOT, "test", "fixtures", "tiny-a")
const folder = mkdtempSync(join(tmpdir(), "omni-package-"))
const clone = join(folder, "clone")
const project = join(folder, "project")
const installed = join(project, "node_modules", "omni")

/** Links a package of ours into the project. */
function link(name: string): void {
  const target = join(project, "node_modules", name)
  mkdirSync(dirname(target), { recursive: true })
  symlinkSync(join(ROOT, "node_modules", name), target)
}

async function run(command: string, args: readonly string[], cwd: string): Promise<string> {
  const PATH = `${dirname(process.execPath)}${delimiter}${process.env.PATH}`
  const child = spawn(command, args, { cwd, stdio: "pipe", env: { ...process.env, PATH } })
  let output = ""
  let complaint = ""
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text
  })
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint += text
  })
  const [code] = (await once(child, "close")) as [number]
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: exit code ${code}\n${complaint}${output}`)
  return output
}

beforeAll(async () => {
  // A copy of what is packed: packing changes the manifest for a moment, and other tests read it.
  mkdirSync(join(clone, "web", "dist"), { recursive: true })
  for (const path of ["bin", "src", "scripts", "package.json", "tsconfig.base.json", "tsconfig.package.json"])
    cpSync(join(ROOT, path), join(clone, path), { recursive: true })
  for (const path of ["README.md", "CHANGELOG.md", "LICENSE"]) cpSync(join(ROOT, path), join(clone, path))
  writeFileSync(join(clone, "web", "dist", "index.html"), "<!doctype html>") // built elsewhere, as in a package
  symlinkSync(join(ROOT, "node_modules"), join(clone, "node_modules"))
  await run("npm", ["pack", "--silent", "--pack-destination", folder], clone)
  mkdirSync(installed, { recursive: true })
  const tarball = join(folder, `omni-${packageJson.version}.tgz`)
  await run("tar", ["-xzf", tarball, "-C", installed, "--strip-components=1"], folder)
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "app", type: "module", private: true }))
  for (const name of Object.keys(packageJson.dependencies)) link(name)
}, 120_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe("npm pack", () => {
  test("leaves the manifest as it was", () => {
    const before = readFileSync(join(ROOT, "package.json"), "utf8")
    expect(readFileSync(join(clone, "package.json"), "utf8")).toBe(before)
    expect(readdirSync(clone)).not.toContain("package.json.original")
  })

  test("packs no sources, tests or tools, and names what it packs", () => {
    expect(readdirSync(installed).sort()).toEqual(
      [...["CHANGELOG.md", "LICENSE", "README.md", "bin", "dist", "package.json", "scripts", "web"]].sort(),
    )
    const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as typeof packageJson
    expect(manifest).toEqual(packedManifest(packageJson))
    expect(manifest).not.toHaveProperty("devDependencies")
    expect(manifest.exports["."]).toEqual({
      browser: { types: "./dist/omni.web.d.ts", default: "./dist/omni.web.js" },
      default: { types: "./dist/omni.node.d.ts", default: "./dist/omni.node.js" },
    })
    const files = readdirSync(installed, { recursive: true, encoding: "utf8" })
    expect(files.filter((path) => /\.test\.|test-util/.test(path))).toEqual([])
    expect(files.filter((path) => path.endsWith(".ts") && !path.endsWith(".d.ts"))).toEqual([])
  })
})

describe("in an empty project", () => {
  test("the library answers", { timeout: 60_000 }, async () => {
    writeFileSync(
      join(project, "app.mjs"),
      `import { Omni } from "omni"
      await using omni = await Omni.load(${JSON.stringify(join(TINY, "checkpoint"))}, { threads: 1 })
      const content = [{ image: ${JSON.stringify(join(TINY, "assets", "images", "tiny_5x4.png"))} }, "hi"]
      for await (const event of omni.chat([{ role: "user", content }], { maxNewTokens: 5, speak: true }))
        if (event.type === "turn-end") console.log(JSON.stringify(event))`,
    )
    const end = JSON.parse(await run(process.execPath, ["app.mjs"], project)) as { completionTokens: number }
    expect(end).toMatchObject({ type: "turn-end", finishReason: expect.stringMatching(/stop|length/) })
  })

  test("every door opens", async () => {
    const doors = Object.keys(packageJson.exports).filter((door) => door !== "./package.json")
    const names = doors.map((door) => `omni${door.slice(1)}`)
    const script = `for (const name of ${JSON.stringify(names)}) console.log(name, Object.keys(await import(name)).length > 0)`
    writeFileSync(join(project, "doors.mjs"), script)
    const lines = (await run(process.execPath, ["doors.mjs"], project)).trimEnd().split("\n")
    expect(lines).toEqual(names.map((name) => `${name} true`))
  })

  test("the command runs, with its engine in a worker and in a process", { timeout: 60_000 }, async () => {
    const omni = join(installed, "bin", "omni.mjs")
    expect(await run(process.execPath, [omni, "--version"], project)).toBe(`${packageJson.version}\n`)
    const args = ["chat", "hi", "--model", join(TINY, "checkpoint"), "--max-tokens", "4", "--json"]
    expect(await run(process.execPath, [omni, ...args], project)).toContain('"type":"turn-end"')
    const server = spawn(process.execPath, [omni, "serve", "--model", join(TINY, "checkpoint"), "--port", "0"], {
      cwd: project,
      stdio: ["ignore", "pipe", "ignore"],
    })
    try {
      const [line] = (await once(server.stdout.setEncoding("utf8"), "data")) as [string]
      const response = await fetch(new URL("/v1/models", line.trim()))
      expect(await response.json()).toMatchObject({ data: [{ id: "checkpoint" }] })
    } finally {
      server.kill("SIGTERM")
      await once(server, "close")
    }
  })

  test("an application for browsers bundles it, with its worker and what that needs", { timeout: 60_000 }, async () => {
    writeFileSync(join(project, "page.js"), `import { Omni } from "omni"\nwindow.load = (url) => Omni.load(url)\n`)
    const built = await build({
      configFile: false,
      root: project,
      logLevel: "silent",
      worker: { format: "es" },
      build: { write: false, assetsInlineLimit: 0, rolldownOptions: { input: join(project, "page.js") } },
    })
    const names = (built as Rolldown.RolldownOutput).output.map(({ fileName }) => fileName.replace(/-[^.]*/, ""))
    for (const name of ["worker.web.js", "ort.wasm", "silero_vad_v5.onnx"]) expect(names).toContain(`assets/${name}`)
    expect(names.filter((name) => /node|sharp/.test(name))).toEqual([])
  })

  test("its types are those of a strict project", () => {
    for (const name of ["@types/node", "undici-types", "typescript"]) link(name)
    writeFileSync(
      join(project, "app.ts"),
      `import { Omni, type AnswerEvent, type LibraryCall } from "omni"
      import { parseServerEvent } from "omni/protocol"
      const omni: Omni = await Omni.load("nano", { quantize: "int8+int4", onProgress: ({ fraction }) => fraction.toFixed() })
      const call: LibraryCall = omni.call({ language: "en", voice: new URL("file:///voice.wav") })
      await call.push({ pcm: new Int16Array(16_000), frame: "frame.png" })
      const texts: string[] = []
      for await (const event of call.respond()) { const one: AnswerEvent = event; if (one.type === "text-delta") texts.push(one.text) }
      // @ts-expect-error no such option
      omni.call({ sing: true })
      // @ts-expect-error no such device
      await Omni.load("nano", { device: "toaster" })
      export { parseServerEvent }`,
    )
    writeFileSync(
      join(project, "page.ts"),
      `import { Omni, type Message } from "omni/web"
      const omni: Omni = await Omni.load(new URL("/models/nano", location.href), { device: "webgpu", wasmPaths: "/ort/" })
      const messages: Message[] = [{ role: "user", content: [await createImageBitmap(new Blob()), { audio: new Blob() }] }]
      for await (const event of omni.chat(messages)) if (event.type === "audio-delta") event.pcm.fill(0)
      // @ts-expect-error no paths in browsers
      omni.chat([{ role: "user", content: [{ image: "cat.png" }] }])`,
    )
    const options = {
      target: "esnext",
      module: "nodenext",
      strict: true,
      noEmit: true,
      types: ["node"],
      skipLibCheck: true,
    }
    writeFileSync(
      join(project, "tsconfig.json"),
      JSON.stringify({ compilerOptions: options, include: ["app.ts", "page.ts"] }),
    )
    const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc")
    const { stdout, status } = spawnSync(process.execPath, [tsc, "-p", "."], { cwd: project, encoding: "utf8" })
    expect([status, stdout]).toEqual([0, ""])
  })
})

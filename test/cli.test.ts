/** @file The `omni` command from outside: output, exit codes, interruption, closed pipes, help. */
import { spawnSync } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { delimiter, join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import packageJson from "../package.json" with { type: "json" }
import { omni, startOmni, temporaryFolders } from "./cli.test-util.ts"
import { skipUnless } from "./skip.ts"

const temporary = temporaryFolders()
let model = ""
let firstInit: Awaited<ReturnType<typeof omni>>

beforeAll(async () => {
  model = join(temporary(), "nano")
  firstInit = await omni(["init", "--preset", "nano", "--layers", "2", model, "--seed", "7"])
})

/** What people are told of a model that `omni init` made. */
const UNTRAINED = "nano has random weights: its answers are noise until it is trained\n"
const ESCAPES = "\u001b"
const ask = (...flags: string[]) => ["chat", "--model", model, "--threads", "1", ...flags]
const records = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { [name: string]: unknown })

/** An answer that goes on until it is stopped: a random model repeats itself. */
const endless = (...flags: string[]) =>
  ask("hello 1", "--max-tokens", "30000", "--temperature", "0", "--repetition-penalty", "1", ...flags)

describe("init", () => {
  test("makes a model and says what it made", async () => {
    expect(firstInit).toMatchObject({ code: 0, stderr: "" })
    expect(firstInit.stdout).toMatch(/nano: \d+\.\d million parameters, \d+\.\d MB, untrained\n$/)
    const again = await omni(["init", model, "--json"])
    const message = `init: expected a new or empty folder, got ${model} with ${readdirSync(model).length} files (choose another, or empty it)`
    expect(again).toMatchObject({ code: 2, stderr: `omni: ${message}\n` })
    expect(records(again.stdout)).toEqual([{ type: "error", message }])
  })
})

describe("chat", () => {
  test("without --model it takes nano, which it makes", async () => {
    const cache = temporary()
    const args = ["chat", "hello", "--max-tokens", "3", "--threads", "1"]
    const { code, stdout, stderr } = await omni(args, { env: { XDG_CACHE_HOME: cache } })
    expect([code, stdout.length > 1]).toEqual([0, true])
    expect(stderr).toContain("nano has random weights")
    expect(readdirSync(join(cache, "omni", "embedded"))).toHaveLength(1)
    expect(readdirSync(cache)).toEqual(["omni"]) // no identifier of this machine, which ONNX Runtime's telemetry keeps there
  })

  test("prints the answer to standard output and figures to standard error; the same seed answers the same", async () => {
    const args = ask("hello", "--max-tokens", "12", "--seed", "5")
    const [first, quiet, other] = await Promise.all([
      omni(args),
      omni([...args, "--quiet"]),
      omni([...args.slice(0, -1), "6", "--quiet"]),
    ])
    expect(first.code).toBe(0)
    expect(first.stdout).toMatch(/\n$/)
    expect(first.stderr).toMatch(new RegExp(`^${UNTRAINED}`))
    expect(first.stderr.slice(UNTRAINED.length)).toMatch(
      /^\d+ tokens read in \d+\.\d\d s, \d+ written at \d+\.\d per second\n$/,
    )
    expect(first.stdout + first.stderr).not.toContain(ESCAPES)
    expect(quiet).toMatchObject({ code: 0, stdout: first.stdout, stderr: "" })
    expect(other.stdout).not.toBe(first.stdout)
  })

  test("--json prints one object per line, whose deltas are the text of the end", async () => {
    const { code, stdout, stderr } = await omni(ask("hello", "--max-tokens", "12", "--seed", "5", "--json"))
    expect([code, stderr]).toEqual([0, ""])
    const lines = records(stdout)
    const types = lines.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1])
    expect(types).toEqual(["progress", "loaded", "text-delta", "turn-end"])
    expect(lines.find(({ type }) => type === "loaded")).toMatchObject({
      ...{ name: "nano", device: "cpu", quantize: "none", layers: 2 },
    })
    const deltas = lines.filter(({ type }) => type === "text-delta").map(({ text }) => text)
    expect(lines.at(-1)).toMatchObject({ text: deltas.join(""), completionTokens: 12, finishReason: "length" })
  })

  test("- reads the text from standard input", async () => {
    const flags = ["--max-tokens", "6", "--seed", "5", "--quiet"]
    const [piped, given, nothing] = await Promise.all([
      omni(ask("-", ...flags), { input: "hello there\n" }),
      omni(ask("hello there", ...flags)),
      omni(ask("-"), { input: " \n" }),
    ])
    expect(piped).toMatchObject({ code: 0, stderr: "" })
    expect(piped.stdout).toBe(given.stdout)
    expect(nothing).toEqual({
      ...{ code: 2, signal: null, stdout: "" },
      stderr: "omni: text: expected something to say, got nothing\n",
    })
  })

  test.each([
    [["hello", "--model", "/nowhere"], "/nowhere: expected a model folder with a config.json, got none"],
    [[], "text: expected what you say, or - to read it from standard input, got none (see omni chat --help)"],
    [["hello", "--model", "x", "--top-k", "many"], "--top-k: expected a whole number ≥ 0, got many"],
  ])("%j is a usage error: one line on standard error, code 2", async (args, message) => {
    const { code, stdout, stderr } = await omni(["chat", ...args])
    expect(stderr).toMatch(/^omni: [^\n]+\n$/)
    expect(stderr).toContain(`omni: ${message}`)
    expect([code, stdout]).toEqual([2, ""])
    expect(stderr).not.toContain(ESCAPES)
  })

  test("what the model's own checks refuse is code 2 as well", async () => {
    const [threads, long] = await Promise.all([
      omni(ask("hello", "--threads", "100000")),
      omni(ask("-", "--quiet"), { input: "word ".repeat(40_000) }),
    ])
    expect(threads.code).toBe(2)
    expect(threads.stderr).toMatch(/^omni: threads: expected a whole number from 1 to \d+, got 100000\n$/)
    expect(long.code).toBe(2)
    expect(long.stderr).toMatch(/^omni: context: expected at most 32768 positions, got \d+ \(drop earlier turns\)\n$/)
  })

  test("a device that is not there is code 1, in one line of ours", async () => {
    const { code, stderr } = await omni(ask("hello", "--device", "webgpu"), {
      env: { VK_ICD_FILENAMES: "/nowhere.json", VK_DRIVER_FILES: "/nowhere.json" },
    })
    expect(code).toBe(1)
    expect(stderr).toMatch(/^omni: webgpu: expected a graphics adapter, got none \(install a graphics driver/m)
    expect(stderr).not.toContain("onnxruntime_src")
  })
})

describe("convert", () => {
  test("makes a bundle, finds it again, and stops on an interrupt with nothing left behind", async () => {
    const directory = join(temporary(), "larger")
    expect((await omni(["init", "--layers", "12", directory])).code).toBe(0)
    const args = ["convert", "--model", directory]
    const stopped = startOmni([...args, "--quantize", "int8+int4", "--json"])
    await stopped.printed(1)
    stopped.child.kill("SIGINT")
    const { code, stdout, stderr } = await stopped.outcome
    expect([code, stderr]).toEqual([130, ""])
    expect(records(stdout).every(({ type }) => type === "progress")).toBe(true)
    expect(readdirSync(join(directory, ".omni"))).toEqual([])

    const made = await omni([...args, "--quantize", "int4"])
    expect(made).toMatchObject({ code: 0, stderr: "" })
    expect(made.stdout).toMatch(/larger\/\.omni\/[0-9a-f]+: [\d.]+ MB\n$/)
    const found = await omni([...args, "--quantize", "int4", "--json"])
    expect(records(found.stdout)).toEqual([expect.objectContaining({ type: "converted", reused: true })])
    const out = join(temporary(), "small")
    expect(await omni([...args, "--quantize", "int4", "--out", out])).toMatchObject({ code: 0, stderr: "" })
    expect(readdirSync(join(out, "bundle")).sort()).toEqual(["bundle.json", "weights.bin"])
    expect(readdirSync(out)).not.toContain("model.safetensors")
    const none = await omni([...args, "--quantize", "none"])
    expect(none).toMatchObject({ code: 2 })
    expect(none.stderr).toBe("omni: --quantize: expected int8, int4 or int8+int4, got none (nothing to convert)\n")
  })
})

const MIN_NODE_MAJOR = Number(/\d+/.exec(packageJson.engines.node)![0])

/** A Node.js on this machine that the command has to hand over from. */
const oldNode = (process.env.PATH ?? "")
  .split(delimiter)
  .map((folder) => join(folder, "node"))
  .filter((path) => existsSync(path))
  .find((path) => {
    const version = spawnSync(path, ["--version"], { encoding: "utf8" }).stdout
    return Number(/^v(\d+)/.exec(version)?.[1] ?? MIN_NODE_MAJOR) < MIN_NODE_MAJOR
  })

/** How long a stop may take: a step of work and the engine's end. */
const STOP_MS = 5000

async function stopped(signal: NodeJS.Signals, options: { readonly node?: string } = {}) {
  const running = startOmni(endless(), options)
  await running.printed(20)
  const asked = performance.now()
  running.child.kill(signal)
  // Comes only when every process that holds the pipes is gone.
  const outcome = await running.outcome
  expect(performance.now() - asked).toBeLessThan(STOP_MS)
  expect(outcome.stdout.endsWith("\n")).toBe(true)
  return outcome
}

describe("interrupts", () => {
  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s stops the answer cleanly, code %i", async (signal, code) => {
    expect(await stopped(signal)).toMatchObject({ code, signal: null, stderr: UNTRAINED })
  })

  test("with --json nothing but whole records is printed", async () => {
    const running = startOmni(endless("--json"))
    await running.printed(2000)
    running.child.kill("SIGINT")
    const { code, stdout } = await running.outcome
    expect(code).toBe(130)
    expect(records(stdout).at(-1)).toMatchObject({ type: "text-delta" })
    expect(stdout.trimEnd().split("\n")).not.toContain("")
  })

  test("a second one stops at once what does not stop by itself", async () => {
    const script = `import { interruptible } from ${JSON.stringify(join(import.meta.dirname, "../src/cli/interrupt.ts"))}
      await interruptible(() => new Promise(() => setInterval(() => console.log("working"), 50)))`
    const { child, printed, outcome } = startOmni([], { script })
    await printed(1)
    child.kill("SIGINT")
    child.kill("SIGINT") // the same interrupt, by way of the terminal and of the parent
    await printed("working\n".length * 12) // half a second of its own time, however slow the machine is
    expect(child.exitCode).toBe(null)
    child.kill("SIGINT")
    expect(await outcome).toMatchObject({ code: 130, signal: null, stderr: "" })
  })
})

skipUnless(oldNode !== undefined, `no Node.js below ${MIN_NODE_MAJOR} on this machine to hand over from`)(
  "an interrupt through the Node.js that npm installed",
  () => {
    test("stops the answer cleanly and leaves no process behind", async () => {
      expect(await stopped("SIGINT", { node: oldNode! })).toMatchObject({ code: 130, signal: null, stderr: UNTRAINED })
    })
  },
)

describe("a reader that goes away", () => {
  test.each([[["--json"]], [[]]])("ends the answer as success, flags %j", async (flags) => {
    const running = startOmni(endless(...flags))
    await running.printed(1)
    running.child.stdout!.destroy()
    const stderr = flags.length > 0 ? "" : UNTRAINED
    expect(await running.outcome).toMatchObject({ code: 0, signal: null, stderr })
  })

  test("is no error for help either", async () => {
    const running = startOmni(["chat", "--help"])
    running.child.stdout!.destroy()
    expect(await running.outcome).toMatchObject({ code: 0, stderr: "" })
  })
})

describe("help and version", () => {
  const plain = { CI: undefined, TEST: undefined, NO_COLOR: undefined }

  test("of the whole", async () => {
    const [bare, help, version, wrong] = await Promise.all([
      omni([], { env: plain }),
      omni(["--help"], { env: plain }),
      omni(["--version"]),
      omni(["sing"]),
    ])
    expect(help).toEqual(bare)
    expect(help).toMatchObject({ code: 0, stderr: "" })
    for (const command of ["chat", "doctor", "init", "live", "models", "pull", "speak", "transcribe"])
      expect(help.stdout).toMatch(new RegExp(`^ +${command} `, "m"))
    expect(help.stdout).not.toContain(ESCAPES)
    expect(version).toMatchObject({ code: 0, stdout: `${packageJson.version}\n`, stderr: "" })
    const message =
      "omni: command: expected chat, convert, doctor, init, live, models, pull, serve, speak, transcribe, got sing (see omni --help)\n"
    expect(wrong).toMatchObject({ code: 2, stdout: "", stderr: message })
  })

  test("of each command", async () => {
    const commands = ["chat", "convert", "doctor", "init", "models", "pull"]
    const answers = await Promise.all(commands.map((command) => omni([command, "-h"], { env: plain })))
    for (const [i, { code, stdout, stderr }] of answers.entries()) {
      expect([code, stderr]).toEqual([0, ""])
      expect(stdout).toContain(`USAGE omni ${commands[i]} [OPTIONS]`)
      expect(stdout).toContain("--quiet")
      expect(stdout).not.toContain(ESCAPES)
    }
    expect(await omni(["chat", "--version"])).toMatchObject({ code: 0, stdout: `${packageJson.version}\n` })
  })

  test.skipIf(spawnSync("script", ["--version"]).error !== undefined)(
    "on a terminal is coloured, unless NO_COLOR says not (skipped without the command `script`)",
    () => {
      const onTerminal = (env: NodeJS.ProcessEnv) => {
        const command = `${process.execPath} ${join(import.meta.dirname, "../bin/omni.mjs")} --help`
        return spawnSync("script", ["-qec", command, "/dev/null"], {
          env: { ...process.env, ...plain, TERM: "xterm", ...env },
          encoding: "utf8",
        }).stdout
      }
      expect(onTerminal({})).toContain(ESCAPES)
      expect(onTerminal({ NO_COLOR: "yes" })).not.toContain(ESCAPES)
    },
  )
})

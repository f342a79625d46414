/** @file Runs the `omni` command as users do: in a process of its own, output piped. */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"

const OMNI = join(import.meta.dirname, "..", "bin", "omni.mjs")

export type Outcome = {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export type OmniProcess = {
  readonly child: ChildProcess
  /** Resolves when standard output holds this much text or more. */
  printed(length: number): Promise<void>
  readonly outcome: Promise<Outcome>
}

/** Folders that are removed after the tests of the file. */
export function temporaryFolders(): () => string {
  const made: string[] = []
  afterAll(() => {
    for (const path of made) rmSync(path, { recursive: true, force: true })
  })
  return () => {
    const path = mkdtempSync(join(tmpdir(), "omni-cli-"))
    made.push(path)
    return path
  }
}

type StartOptions = {
  /** The Node.js that starts it. */
  readonly node?: string
  readonly env?: NodeJS.ProcessEnv
  /** Its standard input, which is closed after that unless it stays open. */
  readonly input?: string
  readonly staysOpen?: boolean
  /** A module to run instead of the command. */
  readonly script?: string
}

/** Starts the command. */
export function startOmni(args: readonly string[], options: StartOptions = {}): OmniProcess {
  const { node = process.execPath, env, input = "", staysOpen = false, script } = options
  const what = script === undefined ? [OMNI] : ["--input-type=module", "-e", script]
  const child = spawn(node, [...what, ...args], { env: { ...process.env, ...env }, stdio: "pipe" })
  let [stdout, stderr] = ["", ""]
  let wake = () => {}
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text
    wake()
  })
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
  })
  child.stdin.on("error", () => {}) // it may end before it reads
  if (!staysOpen) child.stdin.end(input)
  let over = false
  const outcome = new Promise<Outcome>((resolve) => {
    child.on("close", (code, signal) => {
      over = true
      wake()
      resolve({ code, signal, stdout, stderr })
    })
  })
  const printed = async (length: number) => {
    while (stdout.length < length && !over) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return { child, printed, outcome }
}

export function omni(args: readonly string[], options: StartOptions = {}): Promise<Outcome> {
  return startOmni(args, options).outcome
}

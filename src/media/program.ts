/**
 * @file Other people's programs (ffmpeg, ffprobe) as sources of bytes: arguments as arrays, no shell, no standard input,
 * bounded output, and never a child left behind.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { ConfigError, InputError } from "../util/index.ts"

/** How to run a program. */
export type ProgramOptions = {
  /** The file being read, for errors. */
  readonly source: string
  readonly signal?: AbortSignal | undefined
  /** Longest wait for the next output. */
  readonly stallMs?: number | undefined
}

const STALL_MS = 60_000
const STDERR_CHARS = 4000

/**
 * The program's output as it comes. It is killed when the caller stops reading, aborts, or it stalls.
 * @throws ConfigError when it is not installed; InputError when it fails or stalls; the signal's reason when aborted
 */
export async function* runProgram(
  program: string,
  args: readonly string[],
  { source, signal, stallMs = STALL_MS }: ProgramOptions,
): AsyncGenerator<Uint8Array> {
  signal?.throwIfAborted()
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], windowsHide: true })
  let complaint = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-STDERR_CHARS)
  })
  let stalled = false
  const stop = () => void child.kill("SIGKILL")
  const onStall = () => {
    stalled = true
    stop()
  }
  const ended = endOf(child)
  signal?.addEventListener("abort", stop, { once: true })
  try {
    const output: AsyncIterator<Uint8Array> = child.stdout[Symbol.asyncIterator]()
    for (;;) {
      const timer = setTimeout(onStall, stallMs)
      const next = await output.next().finally(() => clearTimeout(timer))
      signal?.throwIfAborted()
      if (next.done) break
      yield next.value
    }
    const { code, failure } = await ended
    signal?.throwIfAborted()
    if (failure?.code === "ENOENT") throw missing(program, source)
    if (stalled)
      throw new InputError(`${source}: expected ${program} to go on, got nothing for ${stallMs} ms (damaged?)`)
    if (failure || code !== 0) throw refused(program, source, complaint || (failure?.message ?? `exit code ${code}`))
  } finally {
    signal?.removeEventListener("abort", stop)
    stop()
    child.stdout.destroy() // unread output would keep it from closing
    await ended
  }
}

/** All the output, at most `maxBytes`. Throws as {@link runProgram}, and InputError beyond the limit. */
export async function outputOf(
  program: string,
  args: readonly string[],
  options: ProgramOptions & { readonly maxBytes: number },
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let sizeBytes = 0
  for await (const piece of runProgram(program, args, options)) {
    sizeBytes += piece.length
    if (sizeBytes > options.maxBytes) {
      throw new InputError(`${options.source}: expected at most ${options.maxBytes} bytes from ${program}, got more`)
    }
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

type End = { readonly code: number | null; readonly failure?: NodeJS.ErrnoException }

/** Settles when the child is gone; never rejects. */
function endOf(child: ChildProcess): Promise<End> {
  return new Promise((resolve) => {
    child.once("error", (failure) => resolve({ code: null, failure }))
    child.once("close", (code) => resolve({ code }))
  })
}

function missing(program: string, source: string): ConfigError {
  const advice = "install ffmpeg, or give a folder of frames (PNG, JPEG, WebP) and a WAV, MP3, FLAC or Ogg file"
  return new ConfigError(`${source}: expected the program ${program} to read it, got none (${advice})`)
}

function refused(program: string, source: string, complaint: string): InputError {
  const reason = complaint.trim().split("\n").at(-1)!.slice(0, 300)
  return new InputError(`${source}: expected a file that ${program} can read, got: ${reason} (is it complete?)`)
}

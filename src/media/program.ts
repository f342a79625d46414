/**
 * @file Other people's programs (ffmpeg, ffprobe) as sources of bytes: arguments as arrays, no shell, input piece by piece,
 * bounded output, and never a child left behind.
 */
import { type ChildProcess, spawn } from "node:child_process"
import type { Writable } from "node:stream"
import { ConfigError, InputError, OmniError } from "../util/index.ts"

/** How to run a program. */
export type ProgramOptions = {
  /** The file being read or written, for errors. */
  readonly source: string
  /** What the program reads from its standard input, each piece once the last one is taken; it then writes `source`. */
  readonly input?: AsyncIterable<Uint8Array> | undefined
  readonly signal?: AbortSignal | undefined
  /** Longest wait for the next output; the input may take any time. */
  readonly stallMs?: number | undefined
}

const STALL_MS = 60_000
const STDERR_CHARS = 4000

/**
 * The program's output as it comes. It is killed when the caller stops reading, aborts, its input fails, or it stalls.
 * @throws ConfigError when it is not installed; InputError when it fails or stalls (an OmniError when it writes `source`); what
 * the input throws; the signal's reason when aborted
 */
export async function* runProgram(
  program: string,
  args: readonly string[],
  { source, input, signal, stallMs = STALL_MS }: ProgramOptions,
): AsyncGenerator<Uint8Array> {
  signal?.throwIfAborted()
  const child = spawn(program, args, { stdio: "pipe", windowsHide: true })
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
  const feed = new Feed(child.stdin, input, stop)
  signal?.addEventListener("abort", stop, { once: true })
  try {
    const output: AsyncIterator<Uint8Array> = child.stdout[Symbol.asyncIterator]()
    for (;;) {
      const timer = setTimeout(() => void (feed.isDue ? timer.refresh() : onStall()), stallMs)
      const next = await output.next().finally(() => clearTimeout(timer))
      signal?.throwIfAborted()
      if (next.done) break
      yield next.value
    }
    const { code, failure } = await ended
    signal?.throwIfAborted()
    if (feed.failure) throw feed.failure.error
    if (failure?.code === "ENOENT") throw missing(program, source, input !== undefined)
    if (stalled && !input)
      throw new InputError(`${source}: expected ${program} to go on, got nothing for ${stallMs} ms (damaged?)`)
    if (failure || code !== 0) {
      const reason =
        lastLine(complaint) || (failure?.message ?? (stalled ? `nothing for ${stallMs} ms` : `exit code ${code}`))
      if (input) throw new OmniError("program", `${source}: expected ${program} to write it, got: ${reason}`)
      throw new InputError(`${source}: expected a file that ${program} can read, got: ${reason} (is it complete?)`)
    }
  } finally {
    signal?.removeEventListener("abort", stop)
    stop()
    child.stdout.destroy() // unread output would keep it from closing
    await ended
    await feed.done
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

/** Writes a program's standard input. */
class Feed {
  /** It is the input's turn, not the program's. */
  isDue: boolean = true as boolean
  failure: { readonly error: unknown } | undefined
  /** The input is at its end, or closed. Never rejects. */
  readonly done: Promise<void>

  constructor(stdin: Writable, input: AsyncIterable<Uint8Array> | undefined, stop: () => void) {
    stdin.on("error", () => undefined) // the program is gone, and its exit code tells why
    this.done = this.#write(stdin, input).catch((error: unknown) => {
      this.failure = { error }
      stop()
    })
  }

  async #write(stdin: Writable, input: AsyncIterable<Uint8Array> | undefined): Promise<void> {
    for await (const piece of input ?? []) {
      if (stdin.destroyed) return
      this.isDue = false
      await new Promise<void>((resolve) => stdin.write(piece, () => resolve()))
      this.isDue = true
    }
    this.isDue = false
    stdin.end()
  }
}

function missing(program: string, source: string, writes: boolean): ConfigError {
  const advice = writes
    ? "install ffmpeg"
    : "install ffmpeg, or give a folder of frames (PNG, JPEG, WebP) and a WAV, MP3, FLAC or Ogg file"
  return new ConfigError(
    `${source}: expected the program ${program} to ${writes ? "write" : "read"} it, got none (${advice})`,
  )
}

const lastLine = (complaint: string) => complaint.trim().split("\n").at(-1)!.slice(0, 300)

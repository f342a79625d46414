/** @file What ends a command early: Ctrl-C, cleanly at first and then at once, and a reader that has gone away. */

/** Exit codes of a program that a signal ended, by the shell's convention. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const

/** Interrupts this close together are one: the terminal signals us, and so may the process that started us. */
const ONE_INTERRUPT_MS = 200

/**
 * Runs work under a signal that Ctrl-C aborts; being interrupted is no error. Nobody reading the output any more ends
 * the work as well, and is success: who closes a pipe has seen enough.
 */
export async function interruptible(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController()
  let exitCode = 0
  let since = 0
  const onInterrupt = (signal: keyof typeof EXIT_CODES) => {
    const again = controller.signal.aborted && performance.now() - since > ONE_INTERRUPT_MS
    if (again) process.exit(EXIT_CODES[signal])
    if (controller.signal.aborted) return
    since = performance.now()
    exitCode = EXIT_CODES[signal]
    controller.abort(new DOMException("interrupted", "AbortError"))
  }
  const onOutputError = (error: Error) => controller.abort(error)
  process.on("SIGINT", onInterrupt)
  process.on("SIGTERM", onInterrupt)
  process.stdout.on("error", onOutputError)
  try {
    await work(controller.signal)
  } catch (error) {
    if (!controller.signal.aborted) throw error
    if (exitCode === 0 && !isReaderGone(controller.signal.reason)) throw controller.signal.reason
    process.exitCode = exitCode
  } finally {
    process.off("SIGINT", onInterrupt)
    process.off("SIGTERM", onInterrupt)
    process.stdout.off("error", onOutputError)
  }
}

/** True for the error of a stream whose other end was closed. */
export function isReaderGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EPIPE"
}

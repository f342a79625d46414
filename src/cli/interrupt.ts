/** @file Ctrl-C: the first one stops the work cleanly, the second one at once. */

/** Exit code of a program that an interrupt ended, by the shell's convention. */
const INTERRUPTED = 130

/** Runs work under a signal that Ctrl-C aborts; being interrupted is no error. */
export async function interruptible(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController()
  const onInterrupt = () => {
    if (controller.signal.aborted) process.exit(INTERRUPTED)
    controller.abort(new DOMException("interrupted", "AbortError"))
  }
  process.on("SIGINT", onInterrupt)
  process.on("SIGTERM", onInterrupt)
  try {
    await work(controller.signal)
  } catch (error) {
    if (!controller.signal.aborted) throw error
    process.stdout.write("\n")
    process.exitCode = INTERRUPTED
  } finally {
    process.off("SIGINT", onInterrupt)
    process.off("SIGTERM", onInterrupt)
  }
}

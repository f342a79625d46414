/** @file Work cut into steps: an async generator yields between steps, so that others may run and cancelling takes effect. */

/** Long work whose every `next()` is one step; the generator's return value is the result. */
export type Steps<T> = AsyncGenerator<void, T, void>

/** Runs all steps. @throws the signal's reason when it aborts between two of them */
export async function runSteps<T>(steps: Steps<T>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    signal?.throwIfAborted()
    const { done, value } = await steps.next()
    if (done) return value
  }
}

/** Runs steps of computing alone, which nobody has to wait for between them. */
export function runAtOnce<T>(steps: Generator<unknown, T, void>): T {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

/** Bytes that are moved in one step: about 50 ms. */
const STEP_BYTES = 96 * 1024 * 1024

/** Cuts the moving of much memory into steps. @returns told of what was moved, whether it is enough for one step */
export function bytesPerStep(): (bytes: number) => boolean {
  let moved = 0
  return (bytes) => {
    moved += bytes
    if (moved < STEP_BYTES) return false
    moved = 0
    return true
  }
}

/** Steps inside a generator that yields values as well: each is a step without one. Left early, the steps end too. */
export async function* inSteps<T>(steps: Steps<T>): AsyncGenerator<undefined, T, void> {
  try {
    for (;;) {
      const { done, value } = await steps.next()
      if (done) return value
      yield undefined
    }
  } finally {
    await steps.return(undefined as T)
  }
}

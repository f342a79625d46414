/** @file The one way to state what our own code guarantees; a failure is our bug, never the user's. */

/** @throws Error starting with `internal:` when `condition` is false */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`internal: ${message}`)
}

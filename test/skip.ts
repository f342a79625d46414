/** @file Skips suites whose requirements this machine lacks; `npm test` prints each reason. */
import { describe } from "vitest"

/**
 * A `describe` that skips its tests unless the condition holds. The body still runs to collect the tests: what reads
 * the missing thing belongs into hooks or tests.
 * @param reason what is missing, and how to get it
 */
export function skipUnless(condition: boolean, reason: string): (name: string, body: () => void) => void {
  return (name, body) => {
    if (condition) describe(name, body)
    else describe.skip(`${name} [skipped: ${reason}]`, body)
  }
}

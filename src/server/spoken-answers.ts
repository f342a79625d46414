/** @file Words of spoken answers by id, so that a later request can name an answer instead of sending its sound again. */
import { randomBytes } from "node:crypto"

type Spoken = { readonly owner: string; readonly text: string; readonly expiresAt: number }

export class SpokenAnswers {
  readonly #answers = new Map<string, Spoken>()
  readonly #nowMs: () => number
  readonly #limit: number

  constructor(nowMs: () => number, limit = 1000) {
    this.#nowMs = nowMs
    this.#limit = limit
  }

  /** An id for an answer that begins now. */
  newId(): string {
    return `audio_${randomBytes(12).toString("base64url")}`
  }

  /** Keeps an answer for an hour, or until newer ones need its place. @returns when it expires, in Unix seconds */
  keep(id: string, owner: string, text: string): number {
    const expiresAt = Math.floor(this.#nowMs() / 1000) + 3600
    this.#answers.set(id, { owner, text, expiresAt })
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size <= this.#limit) break
      this.#answers.delete(oldest)
    }
    return expiresAt
  }

  /** The words of the owner's answer; undefined when it is unknown, another's, or has expired. */
  find(id: string, owner: string): string | undefined {
    const found = this.#answers.get(id)
    return found && found.owner === owner && found.expiresAt * 1000 > this.#nowMs() ? found.text : undefined
  }
}

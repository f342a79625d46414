/**
 * @file Ephemeral keys (`ek_…`) for browsers: `POST /v1/realtime/client_secrets` mints them, the Realtime socket takes
 * them. They live in memory, at most so many; a running session outlives its secret.
 */
import { randomBytes } from "node:crypto"
import { z } from "zod"
import {
  RealtimeInputError,
  type RealtimeSessionUpdate,
  sessionFromBeta,
  sessionUpdateSchema,
} from "../protocol/index.ts"

export type ClientSecret = {
  readonly value: string
  /** Unix seconds. */
  readonly expires_at: number
  readonly session: RealtimeSessionUpdate
  /** The key that minted it; empty when none was needed. */
  readonly owner: string
}

const requestSchema = z.object({
  expires_after: z
    .object({ anchor: z.literal("created_at").optional(), seconds: z.number().int().min(10).max(7200).optional() })
    .optional(),
  session: z.preprocess((value) => sessionFromBeta(value ?? {}), sessionUpdateSchema),
})

export class ClientSecrets {
  readonly #secrets = new Map<string, ClientSecret>()
  readonly #nowMs: () => number
  readonly #limit: number

  constructor({ nowMs = Date.now, limit = 10_000 }: { nowMs?: () => number; limit?: number } = {}) {
    this.#nowMs = nowMs
    this.#limit = limit
  }

  /**
   * @param body parsed JSON of the request; undefined for an empty one
   * @throws RealtimeInputError naming the field
   */
  create(body: unknown, owner = ""): ClientSecret {
    const parsed = requestSchema.safeParse(body ?? {})
    if (!parsed.success) {
      const issue = parsed.error.issues[0]!
      const param = issue.path.join(".") || null
      throw new RealtimeInputError("invalid_value", `client secret: ${param ?? "body"}: ${issue.message}`, param, null)
    }
    const seconds = parsed.data.expires_after?.seconds ?? 600
    const value = `ek_${randomBytes(24).toString("base64url")}`
    const secret = { value, expires_at: this.#seconds() + seconds, session: parsed.data.session, owner }
    this.#forgetExpired()
    this.#secrets.set(value, secret)
    for (const oldest of this.#secrets.keys()) {
      if (this.#secrets.size <= this.#limit) break
      this.#secrets.delete(oldest)
    }
    return secret
  }

  /** The secret, unless it is unknown or has expired. */
  find(value: string): ClientSecret | undefined {
    const secret = this.#secrets.get(value)
    return secret !== undefined && secret.expires_at > this.#seconds() ? secret : undefined
  }

  #seconds(): number {
    return Math.floor(this.#nowMs() / 1000)
  }

  #forgetExpired(): void {
    for (const [value, secret] of this.#secrets) if (secret.expires_at <= this.#seconds()) this.#secrets.delete(value)
  }
}

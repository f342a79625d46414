/**
 * @file Structured logs: one JSON object per line, static text plus fields. Prompts, transcripts, sound, pictures, names of
 * voices and keys never appear; keys are told apart by the beginning of their hash.
 */
import { createHash } from "node:crypto"

export type LogLevel = "info" | "warn" | "error"
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>

export type Logger = (level: LogLevel, message: string, fields?: LogFields) => void

/** @param write takes one line, with its end */
export function createLogger(write: (line: string) => void, nowMs: () => number = Date.now): Logger {
  return (level, message, fields = {}) => {
    write(`${JSON.stringify({ time: new Date(nowMs()).toISOString(), level, message, ...fields })}\n`)
  }
}

/** Who sent a key, without the key: for logs and as the owner of voices. Empty for no key. */
export function ownerOf(key: string): string {
  return key === "" ? "" : createHash("sha256").update(key).digest("hex").slice(0, 12)
}

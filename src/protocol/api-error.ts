/** @file OpenAI's error object, and the one way from a schema's complaint to it. */
import type { z } from "zod"

export type ApiErrorBody = {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly param: string | null
    readonly code: string | null
  }
}

/** The place and the complaint of a schema's first issue; what was sent is not shown. */
export function firstIssue(error: z.ZodError): { readonly message: string; readonly param: string | null } {
  const issue = error.issues[0]!
  const param = issue.path.length > 0 ? issue.path.map(printKey).join(".") : null
  return { message: `${param ?? "body"}: ${issue.message}`, param }
}

/** Keys of a body are content; only plain ones appear in errors. */
const printKey = (key: PropertyKey) => (/^\w{1,40}$/.test(String(key)) ? String(key) : "(key)")

/** @file A saved call as the bytes of one file: what it is, whose it is, and the call. */
import { InputError } from "../util/index.ts"
import { decodeData, encodeData } from "./snapshot.ts"
import type { CallSnapshot } from "./types.ts"

const FORMAT = "omni-call"

export function writeCallFile({ version, model, bytes }: CallSnapshot): Uint8Array {
  return encodeData({ format: FORMAT, version, model, bytes })
}

/** @throws InputError when the bytes are not those of a saved call; what the call holds is checked when it is restored */
export function readCallFile(file: Uint8Array): CallSnapshot {
  const { format, version, model, bytes } = Object(decodeData(file)) as { readonly [member: string]: unknown }
  if (format !== FORMAT || version !== 1 || typeof model !== "string" || !(bytes instanceof Uint8Array))
    throw new InputError("snapshot: expected a saved call of version 1, got something else (save it again)")
  return { version, model, bytes }
}

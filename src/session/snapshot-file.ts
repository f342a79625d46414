/** @file A saved call as the bytes of one file: what it is, whose it is, and the call, made once and never copied. */
import { InputError } from "../util/index.ts"
import { decodeData, decodeHeader, encodeData, encodeSteps } from "./snapshot.ts"
import type { CallSnapshot } from "./types.ts"

const FORMAT = "omni-call"
/** The first version had another file around the call's bytes, and no options in them. */
export const SNAPSHOT_VERSION = 2

/** @param saved plain data and arrays */
export function* writeSnapshot(model: string, saved: object): Generator<undefined, CallSnapshot, void> {
  const bytes = yield* encodeSteps({ format: FORMAT, version: SNAPSHOT_VERSION, model, ...saved })
  return { version: SNAPSHOT_VERSION, model, bytes }
}

export function writeCallFile({ version, model, bytes }: CallSnapshot): Uint8Array {
  return version === 1 ? encodeData({ format: FORMAT, version, model, bytes }) : bytes
}

/** @throws InputError when the bytes are not those of a saved call; what the call holds is checked when it is restored */
export function readCallFile(file: Uint8Array): CallSnapshot {
  const head = Object(decodeHeader(file)) as { readonly [member: string]: unknown }
  const { format, version, model } = head
  if (format !== FORMAT || (version !== 1 && version !== SNAPSHOT_VERSION) || typeof model !== "string")
    throw new InputError(
      `snapshot: expected a saved call of version 1 or ${SNAPSHOT_VERSION}, got something else (save it again)`,
    )
  if (version === SNAPSHOT_VERSION) return { version, model, bytes: file }
  const { bytes } = Object(decodeData(file)) as { readonly bytes?: unknown }
  if (bytes instanceof Uint8Array) return { version: 1, model, bytes }
  throw new InputError("snapshot: expected a saved call, got one without its data (save it again)")
}

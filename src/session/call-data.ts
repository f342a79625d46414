/** @file A call as data and back: what it remembers, what it has heard, where it stands. */
import type { AudioStream, StreamPromptState } from "../inference/index.ts"
import type { CacheSnapshot } from "../runtime/index.ts"
import { InputError } from "../util/index.ts"
import type { AnswerRecord } from "./answer.ts"
import type { Beginning } from "./call-beginning.ts"
import { Conversation } from "./conversation.ts"
import { Ears, type EarsData } from "./ears.ts"
import { Ledger, type LedgerData } from "./ledger.ts"
import type { OmniModel } from "./model.ts"
import { decodeData } from "./snapshot.ts"
import { SNAPSHOT_VERSION, writeSnapshot } from "./snapshot-file.ts"
import type { TurnGateData } from "./turn-gate.ts"
import type { CallSnapshot } from "./types.ts"

type CallState = {
  readonly conversation: Conversation
  readonly ears: Ears
  readonly gate: TurnGateData | undefined
  readonly answers: number
  /** Absent in calls of the first version. */
  readonly began: Beginning | undefined
}

type SavedCall = {
  readonly began?: Beginning
  readonly prompt: StreamPromptState
  readonly cache: CacheSnapshot
  readonly audio: CacheSnapshot | null
  readonly ledger: LedgerData
  readonly answer: { readonly record: AnswerRecord; readonly textStart: number; readonly end: number } | null
  readonly lastToken: number | null
  readonly ears: EarsData
  readonly gate: TurnGateData | null
  readonly answers: number
}

export function saveCall(
  model: OmniModel,
  { conversation, ears, gate, answers, began }: CallState & { readonly began: Beginning },
): CallSnapshot {
  const { prompt, cache, audio, ledger, answer, lastToken } = conversation.saved
  const saved: SavedCall = {
    prompt,
    cache: cache.snapshot(),
    audio: audio ? audio.cache.snapshot() : null,
    ledger: ledger.data,
    answer: answer ?? null,
    lastToken: lastToken ?? null,
    ears: ears.data,
    gate: gate ?? null,
    answers,
    began,
  }
  return writeSnapshot(model.fingerprint, saved)
}

/** @throws InputError when the snapshot is damaged or of another model */
export function restoreCall(model: OmniModel, snapshot: CallSnapshot, sampleRateHz: number): CallState {
  const { version } = snapshot as { readonly version: unknown }
  if (version !== 1 && version !== SNAPSHOT_VERSION)
    throw new InputError(`snapshot: expected version 1 or ${SNAPSHOT_VERSION}, got ${version}`)
  // Earlier ones were named by the beginning alone.
  const isOfModel = snapshot.model === model.fingerprint || model.fingerprint.startsWith(`${snapshot.model},`)
  if (!isOfModel) {
    throw new InputError("snapshot: expected one of this model, got one of another (load the model it was saved with)")
  }
  const saved = decodeData(snapshot.bytes) as SavedCall
  // Whole data of another kind; damage was told by the header's sum.
  const missing = ["prompt", "cache", "ledger", "ears"].find((key) => typeof Object(saved)[key] !== "object")
  if (missing) throw new InputError(`snapshot: expected a saved call, got one without ${missing} (save it again)`)
  const cache = model.language.createCache()
  cache.restore(saved.cache)
  const encoder = model.perception.audio?.encoder
  let audio: AudioStream | undefined
  if (saved.audio && encoder) {
    audio = encoder.init()
    audio.cache.restore(saved.audio)
  }
  const conversation = new Conversation(model, {
    prompt: saved.prompt,
    cache,
    audio,
    ledger: new Ledger(saved.ledger),
    answer: saved.answer ?? undefined,
    lastToken: saved.lastToken ?? undefined,
  })
  return {
    conversation,
    ears: new Ears(sampleRateHz, saved.ears),
    gate: saved.gate ?? undefined,
    answers: saved.answers,
    began: saved.began,
  }
}

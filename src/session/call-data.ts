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
import { decodeSteps } from "./snapshot.ts"
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

/** Steps that save a call: its conversation must not change between them, what it hears may. */
export function* saveCall(
  model: OmniModel,
  { conversation, ears, gate, answers, began }: CallState & { readonly began: Beginning },
): Generator<undefined, CallSnapshot, void> {
  const { prompt, cache, audio, ledger, answer, lastToken } = conversation.saved
  const now = { ears: ears.data, gate: gate ?? null }
  const saved: SavedCall = {
    prompt,
    cache: yield* cache.snapshotSteps(),
    audio: audio ? yield* audio.cache.snapshotSteps() : null,
    ledger: ledger.data,
    answer: answer ?? null,
    lastToken: lastToken ?? null,
    ...now,
    answers,
    began,
  }
  return yield* writeSnapshot(model.fingerprint, saved)
}

/** @throws InputError when the snapshot is damaged or of another model */
export function* restoreCall(
  model: OmniModel,
  snapshot: CallSnapshot,
  sampleRateHz: number,
): Generator<undefined, CallState, void> {
  const { version } = snapshot as { readonly version: unknown }
  if (version !== 1 && version !== SNAPSHOT_VERSION)
    throw new InputError(`snapshot: expected version 1 or ${SNAPSHOT_VERSION}, got ${version}`)
  // Earlier ones were named by the beginning alone.
  const isOfModel = snapshot.model === model.fingerprint || model.fingerprint.startsWith(`${snapshot.model},`)
  if (!isOfModel) {
    throw new InputError("snapshot: expected one of this model, got one of another (load the model it was saved with)")
  }
  const saved = (yield* decodeSteps(snapshot.bytes)) as SavedCall
  // Whole data of another kind; damage was told by the header's sum.
  const missing = ["prompt", "cache", "ledger", "ears"].find((key) => typeof Object(saved)[key] !== "object")
  if (missing) throw new InputError(`snapshot: expected a saved call, got one without ${missing} (save it again)`)
  const cache = model.language.createCache()
  yield* cache.restoreSteps(saved.cache)
  const encoder = model.perception.audio?.encoder
  let audio: AudioStream | undefined
  if (saved.audio && encoder) {
    audio = encoder.init()
    yield* audio.cache.restoreSteps(saved.audio)
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

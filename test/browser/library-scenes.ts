/** @file What is asked of the library in Node.js and in the browser alike, and what it answered, as plain data to compare. */
import type { PcmInput } from "../../src/media/index.web.ts"
import type { LoadedModel } from "../../src/omni.loaded.ts"
import type { AnswerEvent, CallEvent } from "../../src/session/index.ts"

/** Either library; files come as Blobs, which both take. */
export type AnyOmni = Pick<LoadedModel<Blob, Blob | PcmInput>, "chat" | "call">

/** A picture, a recording, and mono speech at 16 kHz. */
export type Assets = { readonly image: Blob; readonly recording: Blob; readonly speech: Float32Array }

export type Said = { readonly text: string; readonly pcm: readonly number[]; readonly usage: object }

const GREEDY = { temperature: 0, repetitionPenalty: 1, maxNewTokens: 24 } as const
/** An answer of so many tokens, which random weights would end whenever they like. */
export const exactly = (tokens: number) => ({ minNewTokens: tokens, maxNewTokens: tokens })
/** Of speech codes: without a seed they are drawn anew each time. */
const SEED = 7

async function said(events: AsyncIterable<AnswerEvent>): Promise<Said> {
  let text = ""
  let usage: object = {}
  const pieces: number[][] = []
  for await (const event of events) {
    if (event.type === "text-delta") text += event.text
    if (event.type === "audio-delta") pieces.push(Array.from(event.pcm))
    if (event.type === "turn-end") usage = event.usage
  }
  return { text, pcm: pieces.flat(), usage }
}

/** A question about a picture and a recording, answered aloud. */
export function look(omni: AnyOmni, { image, recording }: Assets): Promise<Said> {
  const content = [image, { audio: recording }, "What is said, and where?"]
  return said(omni.chat([{ role: "user", content }], { ...GREEDY, seed: SEED, speak: true }))
}

export function write(omni: AnyOmni): Promise<Said> {
  return said(omni.chat("Who are you?", { ...GREEDY, ...exactly(24) }))
}

/** The first tokens of an answer, and how sure the model was of each. */
export async function begin(omni: AnyOmni): Promise<{ readonly text: string; readonly logprobs: readonly number[] }> {
  const logprobs: number[] = []
  let text = ""
  for await (const event of omni.chat("Who are you?", { ...GREEDY, ...exactly(4), logprobs: 1 })) {
    if (event.type !== "text-delta") continue
    text += event.text
    logprobs.push(...(event.logprobs ?? []).map(({ logprob }) => logprob))
  }
  return { text, logprobs }
}

/** How many tokens of sound and pictures a question has, and its answer. */
export async function take(omni: AnyOmni, ...items: readonly (Blob | { readonly audio: Blob })[]) {
  return await said(omni.chat([{ role: "user", content: [...items, "What is it?"] }], { ...GREEDY, maxNewTokens: 6 }))
}

/** An answer that keeps to a schema, whatever the weights. */
export function structured(omni: AnyOmni): Promise<Said> {
  const schema = { type: "object", properties: { tone: { enum: ["low", "high"] } }, required: ["tone"] }
  const format = { type: "json-schema", schema } as const
  return said(omni.chat("Which tone?", { ...GREEDY, maxNewTokens: 60, format }))
}

/** A call that finds a turn, answers it, is cut to half of what was heard, saved, and gone on with from both. */
export async function talk(omni: AnyOmni, { speech, image }: Assets) {
  const events: CallEvent[] = []
  const options = { ...GREEDY, seed: SEED, mode: "omni", turns: {} } as const
  await using call = omni.call({ ...options, onEvent: (event) => events.push(event) })
  await call.push({ frame: image })
  const sound = new Float32Array(speech.length + 16_000)
  sound.set(speech)
  for (let at = 0; at < sound.length; at += 3200) await call.push({ pcm: sound.slice(at, at + 3200) })
  const answer = await said(call.respond({ speak: true }))
  const interruption = await call.interrupt({ heardMs: answer.pcm.length / 24 / 2 })
  const snapshot = await call.snapshot()
  const goOn = async (one: ReturnType<AnyOmni["call"]>) => {
    await one.push({ text: "And then?" })
    return await said(one.respond({ speak: false }))
  }
  const direct = await goOn(call)
  await using again = omni.call({ ...options, snapshot })
  const turns = events.filter(({ type }) => type.startsWith("speech"))
  return { turns, answer, interruption, direct, restored: await goOn(again) }
}

export type Rates = {
  readonly tokensPerSecond: number
  /** Seconds of sound in a second; 0 where nothing was to be spoken. */
  readonly speechRate: number
  readonly firstSoundMs: number
}

/** How fast a model writes and speaks, after a first answer that warms it up. */
export async function rates(omni: AnyOmni, tokens: number, speak: boolean): Promise<Rates> {
  await said(omni.chat("Hello.", { ...GREEDY, maxNewTokens: 4, speak, seed: SEED }))
  let began = 0
  let tokensPerSecond = 0
  for await (const event of omni.chat("Who are you?", { ...GREEDY, maxNewTokens: tokens })) {
    if (event.type === "text-delta") began ||= performance.now()
    if (event.type === "turn-end") tokensPerSecond = (1000 * (event.completionTokens - 1)) / (performance.now() - began)
  }
  if (!speak) return { tokensPerSecond, speechRate: 0, firstSoundMs: 0 }
  const asked = performance.now()
  let [firstSoundMs, soundMs] = [0, 0]
  for await (const event of omni.chat("Who are you?", { ...GREEDY, speak: true, seed: SEED })) {
    if (event.type === "audio-delta") firstSoundMs ||= performance.now() - asked
    if (event.type === "turn-end") soundMs = event.audioMs
  }
  return { tokensPerSecond, speechRate: soundMs / (performance.now() - asked), firstSoundMs }
}

/** An answer that is stopped: the text that had come, and the error. */
export async function stopped(omni: AnyOmni) {
  await using call = omni.call({ ...GREEDY, ...exactly(2000) })
  await call.push({ text: "Count." })
  const stop = new AbortController()
  const events = call.respond({ speak: false, signal: stop.signal })
  await events.next()
  stop.abort(new Error("enough"))
  const failure = await said(events).then(
    () => "none",
    (error: unknown) => String(error),
  )
  return { failure, after: (await said(call.respond({ speak: false, ...exactly(3) }))).text }
}

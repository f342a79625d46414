/** @file Cases `streaming_*` and `speech_session`: live conversations as the official code leads them. */
import { readText } from "../../src/checkpoint/index.ts"
import { type CodeFrame, type Delivery, REFERENCE_RENDERING, type SpeechDecoder } from "../../src/inference/index.ts"
import {
  type AnswerEvent,
  type AnswerOptions,
  BEHAVIOURS,
  type BehaviourOptions,
  Conversation,
  type OmniModel,
  type OpenedAnswer,
  writeAnswer,
} from "../../src/session/index.ts"
import { f32, f32Data, type HostTensor } from "../../src/tensor/index.ts"
import { TTS_EOS } from "../../src/tokenizer/index.ts"
import { runSteps } from "../../src/util/index.ts"
import { readArrays } from "./golden-set.ts"
import {
  type GoldenMessage,
  type GoldenSettings,
  loadEmbedParts,
  loadPromptParts,
  promptOptions,
  readMessage,
} from "./prompts.ts"
import type { CaseReport } from "./report.ts"
import type { CaseContext, CaseRunner } from "./runner.ts"
import { checkDelivery, DELIVERIES, loadSpeech, loadText, type SpeechCall } from "./speech.ts"

async function loadModel({ set, executor }: CaseContext): Promise<OmniModel> {
  const perception = await loadEmbedParts(set, executor)
  return {
    fingerprint: set.directory,
    language: perception.model,
    prompts: await loadPromptParts(set),
    perception,
  }
}

type Prefill = {
  readonly prefill: number
  readonly session: string
  readonly message: GoldenMessage
  readonly kw: GoldenSettings
  readonly text: string
  readonly ids: readonly number[]
  readonly kv_length: number
  readonly audio_cache_length: number
}

type Generate = {
  readonly generate: number
  readonly session: string
  readonly max_new_tokens: number
  readonly aborted_after_pieces: number | null
  readonly repetition_penalty?: number
  readonly min_new_tokens?: number
  readonly inner_calls: readonly { readonly input_ids: readonly number[]; readonly new: readonly number[] }[]
  readonly new_ids: readonly number[]
  readonly pieces: readonly string[]
  readonly kv_length_after_each_piece: readonly number[]
  readonly completed: boolean
}

type Arrays = { readonly [key: string]: HostTensor }

/** Column sums and column sums of magnitudes, [2, D]. */
function sums({ shape, data }: HostTensor<"f32">): HostTensor {
  const width = shape.at(-1)!
  const out = new Float64Array(2 * width)
  for (const [i, value] of data.entries()) {
    out[i % width]! += value
    out[width + (i % width)]! += Math.abs(value)
  }
  return f32([2, width], Float32Array.from(out))
}

async function comparePrefill(
  { set }: CaseContext,
  { model, conversation }: { model: OmniModel; conversation: Conversation },
  event: Prefill,
  { report, outputs }: { report: CaseReport; outputs: Arrays },
): Promise<void> {
  const name = `prefill${event.prefill}`
  const message = await readMessage(set, event.message)
  const [read] = await runSteps(conversation.read([message], { ...promptOptions(event.kw), states: true }))
  const { piece, embeds, hidden } = read!
  report.equal(`${name} text`, piece.text, event.text)
  report.equal(`${name} ids`, piece.ids, event.ids)
  report.equal(`${name} cache`, conversation.length, event.kv_length)
  report.equal(`${name} sound`, conversation.audioFrames, event.audio_cache_length)
  const rows = f32(embeds.shape.slice(1), embeds.data)
  if (outputs[`${name}_embeds`]) report.close(`${name}_embeds`, rows, outputs[`${name}_embeds`]!)
  if (outputs[`${name}_embeds_sum`]) report.close(`${name}_embeds_sum`, sums(rows), outputs[`${name}_embeds_sum`]!)
  const [, steps, width] = hidden.shape as [number, number, number]
  const last = f32([1, 1, width], f32Data(hidden).slice((steps - 1) * width))
  const normed = f32Data(await model.language.normed(last))
  report.close(`${name}_last_hidden`, f32([width], normed), outputs[`${name}_last_hidden`]!)
}

/** The events of a greedy answer, and undefined after steps without one; `onEvent` stops it by returning false. */
async function answer(
  model: OmniModel,
  conversation: Conversation,
  opened: OpenedAnswer,
  options: Pick<AnswerOptions, "maxNewTokens" | "minNewTokens" | "repetitionPenalty"> & {
    readonly speak: boolean
    readonly behaviour: BehaviourOptions
  },
  onEvent: (event: AnswerEvent | undefined) => boolean,
  onLogits: (logits: Float32Array) => void,
): Promise<void> {
  const { speak, behaviour, ...sampling } = options
  const { piece, hidden, speaker, record } = opened
  const events = writeAnswer(
    model,
    {
      cache: conversation.cache,
      promptIds: piece.ids,
      hidden,
      ...(speak ? { speaker } : {}),
      options: { temperature: 0, ...sampling },
      behaviour,
      prompt: { positions: piece.ids.length, audio: 0, image: 0, cached: 0 },
      startMs: 0,
      now: () => 0,
      onStep: ({ logits }) => onLogits(logits),
    },
    record,
  )
  for await (const event of events) if (!onEvent(event)) break
  conversation.close()
}

async function compareAnswer(
  { model, conversation }: { model: OmniModel; conversation: Conversation },
  event: Generate,
  { report, outputs }: { report: CaseReport; outputs: Arrays },
): Promise<void> {
  const name = `generate${event.generate}`
  const opened = await runSteps(conversation.open())
  report.equal(`${name} prompt`, opened.piece.ids, event.inner_calls[0]!.input_ids)
  report.close(`${name}_spk_state`, opened.speaker, outputs[`${name}_spk_state`]!)
  const pieces: string[] = []
  const lengths: number[] = []
  const logits: number[] = []
  const aborted = event.aborted_after_pieces != null
  // Every inner call yields a piece, also one without text: a stop is told by the ids, not by the texts.
  const written = event.inner_calls.reduce((sum, call) => sum + call.new.length, 0)
  await answer(
    model,
    conversation,
    opened,
    {
      // The limit stops where a piece ends without an event, which leaves the conversation as a stop does.
      maxNewTokens: aborted ? Math.min(written, event.max_new_tokens) : event.max_new_tokens,
      minNewTokens: event.min_new_tokens ?? 0,
      repetitionPenalty: event.repetition_penalty ?? 1,
      speak: false,
      behaviour: BEHAVIOURS.reference,
    },
    (delta) => {
      if (delta?.type === "text-delta") {
        pieces.push(delta.text)
        lengths.push(conversation.length)
      }
      return !aborted || opened.record.ids.length < written
    },
    (row) => logits.push(...row),
  )
  // Pieces without text are not told.
  const told = event.pieces.map((text) => text.split(TTS_EOS)[0]!)
  report.equal(
    `${name} pieces`,
    pieces,
    told.filter((text) => text !== ""),
  )
  const lengthsTold = event.kv_length_after_each_piece.filter((_, i) => told[i] !== "")
  report.equal(`${name} cache`, lengths, lengthsTold)
  report.equal(`${name} ids`, opened.record.ids, event.new_ids)
  report.equal(`${name} cache at the end`, conversation.length, event.kv_length_after_each_piece.at(-1))
  report.equal(`${name} completed`, conversation.saved.prompt.answer === "complete", event.completed)
  const want = outputs[`${name}_logits_first3`]!
  report.close(`${name}_logits_first3`, f32(want.shape, Float32Array.from(logits.slice(0, want.data.length))), want)
}

const streaming: CaseRunner = async (context, report) => {
  const { set, golden } = context
  const { outputs } = await readArrays(set, golden)
  const model = await loadModel(context)
  // One model object holds one session: a prefill of another id resets it, and generating does not look at the id.
  let conversation = new Conversation(model)
  let session: string | undefined
  for (const event of JSON.parse(await readText(set.folder, golden.data!)) as (Prefill | Generate)[]) {
    if ("prefill" in event && event.session !== session) {
      conversation = new Conversation(model)
      session = event.session
    }
    const parts = { model, conversation }
    if ("prefill" in event) await comparePrefill(context, parts, event, { report, outputs })
    else await compareAnswer(parts, event, { report, outputs })
  }
}

/** Reads the case's messages and speaks the answer, greedily; what was delivered, decoded and drawn on the way. */
async function speakAnswer(context: CaseContext, text: OmniModel, delivery: Delivery) {
  const { set, golden, executor } = context
  const { params } = golden
  const { decoder, codec, vocoder } = await loadSpeech(set, executor)
  const decoded: (readonly CodeFrame[])[] = []
  const listening = {
    decode(frames: readonly CodeFrame[]) {
      decoded.push(frames)
      return codec.decode(frames)
    },
  }
  const calls: SpeechCall[] = []
  const counted: SpeechDecoder = Object.create(decoder, {
    generate: {
      value: async function* (...call: Parameters<SpeechDecoder["generate"]>) {
        const result = yield* decoder.generate(...call)
        const [steps, { frames, finished }] = result
        calls.push({ steps, total: frames.length, finished })
        return result
      },
    },
  })
  const voice = { decoder: counted, codec: listening, vocoder, ...(await loadText(set)) }
  const model: OmniModel = { ...text, voice }
  const conversation = new Conversation(model)
  for (const message of params.messages as GoldenMessage[]) {
    await runSteps(conversation.read([await readMessage(set, message)], promptOptions(params)))
  }
  const opened = await runSteps(conversation.open())
  const delivered: Extract<AnswerEvent, { type: "audio-delta" }>[] = []
  const options = {
    maxNewTokens: params.max_new_tokens as number,
    minNewTokens: (params.min_new_tokens ?? 0) as number,
    repetitionPenalty: (params.repetition_penalty ?? 1) as number,
    speak: true,
    behaviour: { ...BEHAVIOURS.reference, rendering: { ...REFERENCE_RENDERING, delivery } },
  }
  const onEvent = (event: AnswerEvent | undefined) => {
    if (event?.type === "audio-delta") delivered.push(event)
    return true
  }
  await answer(model, conversation, opened, options, onEvent, () => {})
  return { delivered, decoded, calls }
}

const speechSession: CaseRunner = async (context, report) => {
  const { params } = context.golden
  const { outputs } = await readArrays(context.set, context.golden)
  const model = await loadModel(context)
  const { delivered, decoded, calls } = await speakAnswer(context, model, DELIVERIES[params.first_piece]!)
  const waves = Object.keys(outputs)
    .filter((key) => key.startsWith("wave_"))
    .map((_, i) => outputs[`wave_${i}`]!)
  checkDelivery(report, delivered, { lengths: params.wave_lengths, texts: params.texts, waves })
  for (const [i, { pcm }] of delivered.entries()) {
    if (waves[i]) report.close(`wave_${i}`, f32([pcm.length], pcm), waves[i])
  }
  for (const [i, frames] of decoded.entries()) {
    const want = outputs[`decoded_codes_${i}`]
    if (want) report.equal(`decoded_codes_${i}`, frames.flat(), Array.from(want.data as ArrayLike<bigint>, Number))
  }
  if (params.generate_calls) report.equal("calls", calls, params.generate_calls)
  if (!params.hold_first_wave_lengths) return
  const held = await speakAnswer(context, model, "hold")
  const { hold_first_wave_lengths: lengths, hold_first_texts: texts } = params
  checkDelivery(report, held.delivered, { lengths, texts, waves })
}

export const streamingCases = {
  streaming_omni: streaming,
  streaming_voice: streaming,
  speech_session: speechSession,
}

/**
 * @file `/v1/audio/speech` and `/v1/audio/voices`. The model reads a text by being asked to, with the official prompts: its
 * transcript may differ from the text in small things, as the official demo's does.
 */
import { speechRequestSchema } from "../protocol/index.ts"
import { type ChatOptions, readAloudQuestions } from "../session/index.ts"
import { answerEvents, enter } from "./answers.ts"
import { readForm, readJson } from "./body.ts"
import { byteStream } from "./byte-stream.ts"
import type { RequestInfo, ServerContext } from "./context.ts"
import { HttpError } from "./errors.ts"
import { checkModel } from "./models.ts"
import { createSoundEncoder, SOUND_TYPES, soundFormat } from "./sound-encoder.ts"
import { eventStream } from "./sse.ts"
import { OWN_VOICES, type StoredVoice } from "./voices.ts"

const MAX_VOICE_BYTES = 10 * 1024 * 1024

/** @throws HttpError for what is wrong with the request, and what the engine throws */
export async function speech(request: Request, context: ServerContext, info: RequestInfo): Promise<Response> {
  const body = await readJson(request, speechRequestSchema, context, info)
  checkModel(body.model, context)
  const format = soundFormat(body.response_format ?? "mp3", "response_format")
  if (body.speed != null && body.speed !== 1)
    throw new HttpError(400, "speed: expected 1, got another (the model speaks at its own pace)", { param: "speed" })
  const voice = context.voices.find(typeof body.voice === "string" ? body.voice : body.voice.id, info.owner)
  const questions = readAloudQuestions(body.input, {
    voice,
    instructions: body.instructions ?? undefined,
    seed: body.seed == null ? undefined : Math.abs(body.seed),
  })
  if (questions.length === 0) throw new HttpError(400, "input: expected text to read, got none", { param: "input" })
  const leave = await enter(context, info)
  try {
    const encoder = await createSoundEncoder(format)
    const pieces = soundPieces(questions, encoder, context, info)
    if (body.stream_format === "sse") return await eventStream(speechEvents(pieces), leave, context, info)
    // A failure after its start cuts the connection: no byte of sound may be an error message.
    const stream = await byteStream(pieces, { done: leave, stallMs: context.limits.stallMs })
    return new Response(stream, { headers: { "content-type": SOUND_TYPES[format] } })
  } catch (error) {
    leave()
    throw error
  }
}

type Usage = { readonly input_tokens: number; readonly output_tokens: number; readonly total_tokens: number }

async function* soundPieces(
  questions: readonly ChatOptions[],
  encoder: Awaited<ReturnType<typeof createSoundEncoder>>,
  context: ServerContext,
  info: RequestInfo,
): AsyncGenerator<Uint8Array<ArrayBuffer>, Usage, void> {
  let usage: Usage = { input_tokens: 0, output_tokens: 0, total_tokens: 0 }
  let begun = false
  for (const question of questions) {
    for await (const event of answerEvents(question, context, info)) {
      if (event.type === "audio-delta") {
        if (!begun && encoder.head.length > 0) yield encoder.head
        begun = true
        const bytes = encoder.push(event.pcm)
        if (bytes.length > 0) yield bytes
      }
      if (event.type !== "turn-end") continue
      const input_tokens = usage.input_tokens + event.promptTokens
      const output_tokens = usage.output_tokens + event.completionTokens
      usage = { input_tokens, output_tokens, total_tokens: input_tokens + output_tokens }
    }
    info.signal.throwIfAborted()
  }
  if (!begun) throw new HttpError(500, "speech: expected sound, got an answer without any (try another seed)")
  const rest = encoder.flush()
  if (rest.length > 0) yield rest
  return usage
}

async function* speechEvents(
  pieces: AsyncGenerator<Uint8Array<ArrayBuffer>, Usage, void>,
): AsyncGenerator<unknown, void, void> {
  try {
    for (;;) {
      const { done, value } = await pieces.next()
      if (done) {
        yield { type: "speech.audio.done", usage: value }
        return
      }
      yield { type: "speech.audio.delta", audio: Buffer.from(value).toString("base64") }
    }
  } finally {
    await pieces.return(undefined as never)
  }
}

const voiceObject = ({ id, name, createdAt, sha256 }: StoredVoice) => ({
  object: "audio.voice",
  id,
  name,
  created_at: createdAt,
  sha256,
})

export function listVoices(context: ServerContext, { owner }: RequestInfo): Response {
  const own = OWN_VOICES.map((name) => ({ object: "audio.voice", id: name, name, created_at: context.createdAt }))
  return Response.json({ object: "list", data: [...own, ...context.voices.list(owner).map(voiceObject)] })
}

/** Stores a recording of 1 to 30 s; `consent` is taken and not kept, as there is nobody to show it to. */
export async function addVoice(request: Request, context: ServerContext, info: RequestInfo): Promise<Response> {
  const { fields, files } = await readForm(request, MAX_VOICE_BYTES, info)
  const file = files.get("audio_sample") ?? files.get("file")
  if (!file)
    throw new HttpError(400, "audio_sample: expected a file, got none", { param: "audio_sample", code: "missing_file" })
  const voice = await context.voices.add(fields.name ?? "", file, info.owner, context.nowMs())
  return Response.json(voiceObject(voice), { status: 201 })
}

export async function deleteVoice(id: string, context: ServerContext, { owner }: RequestInfo): Promise<Response> {
  await context.voices.remove(id, owner)
  return Response.json({ id, object: "audio.voice.deleted", deleted: true })
}

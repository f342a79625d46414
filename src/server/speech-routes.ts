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
import { checkSoundFormat, encodeOptions, SOUND_TYPES } from "./sound-formats.ts"
import { eventStream } from "./sse.ts"
import { OWN_VOICES, type StoredVoice } from "./voices.ts"

const MAX_VOICE_BYTES = 10 * 1024 * 1024

/** @throws HttpError for what is wrong with the request, and what the engine throws */
export async function speech(request: Request, context: ServerContext, info: RequestInfo): Promise<Response> {
  const body = await readJson(request, speechRequestSchema, context, info)
  checkModel(body.model, context)
  const format = body.response_format ?? "mp3"
  if (body.speed != null && body.speed !== 1)
    throw new HttpError(400, "speed: expected 1, got another (the model speaks at its own pace)", { param: "speed" })
  const voice = context.voices.find(typeof body.voice === "string" ? body.voice : body.voice.id, info.owner)
  const questions = readAloudQuestions(body.input, {
    voice,
    instructions: body.instructions ?? undefined,
    seed: body.seed == null ? undefined : Math.abs(body.seed),
  })
  if (questions.length === 0) throw new HttpError(400, "input: expected text to read, got none", { param: "input" })
  await checkSoundFormat(format, "response_format", context)
  const leave = await enter(context, info)
  try {
    const usage: Usage = { input_tokens: 0, output_tokens: 0, total_tokens: 0 }
    const sound = spoken(questions, usage, context, info)
    const pieces = context.sounds.stream(sound, format, encodeOptions(info))
    if (body.stream_format === "sse") return await eventStream(speechEvents(pieces, usage), leave, context, info)
    // A failure after its start cuts the connection: no byte of sound may be an error message.
    const stream = await byteStream(pieces, { done: leave, stallMs: context.limits.stallMs })
    return new Response(stream, { headers: { "content-type": SOUND_TYPES[format] } })
  } catch (error) {
    leave()
    throw error
  }
}

type Usage = { input_tokens: number; output_tokens: number; total_tokens: number }

/** What is spoken, question by question; counts its tokens. */
async function* spoken(
  questions: readonly ChatOptions[],
  usage: Usage,
  context: ServerContext,
  info: RequestInfo,
): AsyncGenerator<Float32Array, void, void> {
  let begun = false
  for (const question of questions) {
    for await (const event of answerEvents(question, context, info)) {
      if (event.type === "audio-delta") {
        begun = true
        yield event.pcm
      }
      if (event.type !== "turn-end") continue
      usage.input_tokens += event.promptTokens
      usage.output_tokens += event.completionTokens
      usage.total_tokens = usage.input_tokens + usage.output_tokens
    }
    info.signal.throwIfAborted()
  }
  if (!begun) throw new HttpError(500, "speech: expected sound, got an answer without any (try another seed)")
}

async function* speechEvents(pieces: AsyncIterable<Uint8Array>, usage: Usage): AsyncGenerator<unknown, void, void> {
  for await (const piece of pieces) yield { type: "speech.audio.delta", audio: Buffer.from(piece).toString("base64") }
  yield { type: "speech.audio.done", usage }
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

/**
 * @file `/v1/audio/transcriptions` and `/translations`: the model is asked, with the official prompts, to write down what it
 * hears. Recordings are heard in windows of at most 30 s, cut where it is quiet; times in the replies are those of windows.
 */
import {
  firstIssue,
  ignoredFields,
  type TranscriptionFields,
  type TranscriptSegment,
  transcriptionFieldsSchema,
} from "../protocol/index.ts"
import {
  type ChatOptions,
  type Sound,
  type TranscriptPart,
  toSrt,
  toVtt,
  transcribe,
  transcriptText,
} from "../session/index.ts"
import { answerEvents, enter } from "./answers.ts"
import { type Form, readForm } from "./body.ts"
import type { RequestInfo, ServerContext } from "./context.ts"
import { HttpError } from "./errors.ts"
import { soundOf } from "./files.ts"
import { checkModel } from "./models.ts"
import { eventStream } from "./sse.ts"

export type TranscriptionTask = "transcribe" | "translate"

/** @throws HttpError and InputError for what is wrong with the request, and what the engine throws */
export async function transcriptions(
  task: TranscriptionTask,
  request: Request,
  context: ServerContext,
  info: RequestInfo,
): Promise<Response> {
  const form = await readForm(request, context.limits.maxBodyBytes, info)
  const fields = fieldsOf(form, context, info)
  checkModel(fields.model, context)
  const file = form.files.get("file")
  if (!file) throw new HttpError(400, "file: expected a sound file, got none", { param: "file", code: "missing_file" })
  const sound = await soundOf(file, "file", context, info.signal)
  const seconds = sound.pcm.length / sound.sampleRateHz
  info.note({ soundSeconds: Math.round(seconds * 10) / 10 })
  const leave = await enter(context, info)
  if (fields.stream) {
    return await eventStream(transcriptEvents(task, fields, sound, context, info), leave, context, info)
  }
  try {
    const segments: TranscriptPart[] = []
    for await (const piece of listen(task, fields, sound, context, info))
      if (typeof piece !== "string") segments.push(piece)
    return reply(task, fields, seconds, segments)
  } finally {
    leave()
  }
}

function fieldsOf({ fields }: Form, { log }: ServerContext, { id }: RequestInfo): TranscriptionFields {
  const parsed = transcriptionFieldsSchema.safeParse({ ...fields })
  if (!parsed.success) {
    const { message, param } = firstIssue(parsed.error)
    throw new HttpError(400, message, { param, code: "invalid_value" })
  }
  if (fields.include !== undefined)
    throw new HttpError(400, "include: expected none, got some (transcripts have no log-probabilities here)", {
      ...{ param: "include", code: "unsupported" },
    })
  if (fields.timestamp_granularities === "word")
    throw new HttpError(
      400,
      "timestamp_granularities: expected segment, got word (the model gives no times of words)",
      {
        param: "timestamp_granularities",
        code: "unsupported",
      },
    )
  const ignored = ignoredFields(fields, parsed.data).filter((name) => name !== "timestamp_granularities")
  if (ignored.length > 0) log("warn", "fields not known", { id, fields: ignored.join(" ") })
  return parsed.data
}

async function* listen(
  task: TranscriptionTask,
  { prompt: hint, temperature, language }: TranscriptionFields,
  sound: Sound,
  context: ServerContext,
  info: RequestInfo,
): AsyncGenerator<string | TranscriptPart, void, void> {
  const ask = (question: ChatOptions) => answerEvents(question, context, info)
  for await (const piece of transcribe(ask, sound, { task, language, hint, temperature })) {
    yield piece
    info.signal.throwIfAborted()
  }
}

const durationUsage = (seconds: number) => ({ type: "duration", seconds: Math.ceil(seconds) })

function reply(
  task: TranscriptionTask,
  fields: TranscriptionFields,
  seconds: number,
  heard: readonly TranscriptPart[],
): Response {
  const text = transcriptText(heard)
  const plain = (body: string, type: string) =>
    new Response(body, { headers: { "content-type": `${type}; charset=utf-8` } })
  switch (fields.response_format) {
    case "json":
      return Response.json({ text, usage: durationUsage(seconds) })
    case "text":
      return plain(`${text}\n`, "text/plain")
    case "srt":
      return plain(toSrt(heard), "application/x-subrip")
    case "vtt":
      return plain(toVtt(heard), "text/vtt")
    case "verbose_json": {
      const segments = heard.map(({ window: id, start, end, text }): TranscriptSegment => {
        // What the model does not tell is 0.
        const unknown = { tokens: [], avg_logprob: 0, compression_ratio: 0, no_speech_prob: 0 }
        return { id, seek: Math.round(start * 100), start, end, text, temperature: fields.temperature ?? 0, ...unknown }
      })
      const language = task === "translate" ? "english" : (fields.language ?? "")
      return Response.json({ task, language, duration: seconds, text, segments, usage: durationUsage(seconds) })
    }
  }
}

async function* transcriptEvents(
  task: TranscriptionTask,
  fields: TranscriptionFields,
  sound: Sound,
  context: ServerContext,
  info: RequestInfo,
): AsyncGenerator<unknown, void, void> {
  const segments: TranscriptPart[] = []
  let pending = ""
  for await (const piece of listen(task, fields, sound, context, info)) {
    if (typeof piece !== "string") {
      segments.push(piece)
      pending = " "
      continue
    }
    yield { type: "transcript.text.delta", delta: pending + piece }
    pending = ""
  }
  const usage = durationUsage(sound.pcm.length / sound.sampleRateHz)
  yield { type: "transcript.text.done", text: transcriptText(segments), usage }
}

/** @file The OpenAPI document: the routes, with request schemas made from the very schemas that check requests. */
import { z } from "zod"
import packageJson from "../../package.json" with { type: "json" }
import { chatRequestSchema, speechRequestSchema, transcriptionFieldsSchema } from "../protocol/index.ts"

const schemaOf = (schema: z.ZodType) => z.toJSONSchema(schema, { io: "input", unrepresentable: "any" })
const json = (schema: unknown) => ({ required: true, content: { "application/json": { schema } } })
const form = (schema: unknown) => ({ required: true, content: { "multipart/form-data": { schema } } })
const answers = (description: string) => ({
  200: { description },
  "4XX": { description: "What is wrong with the request, as OpenAI's error object" },
  "5XX": { description: "The server is full, stops, or failed, as OpenAI's error object" },
})
const operation = (summary: string, rest: object = {}) => ({ summary, responses: answers(summary), ...rest })

const query = (name: string, description: string) => ({ name, in: "query", description, schema: { type: "string" } })

/** @param model name of the loaded model */
export function openApiDocument(model: string) {
  const transcript = schemaOf(transcriptionFieldsSchema) as { properties?: object; required?: string[] }
  const withFile = {
    ...transcript,
    properties: { ...transcript.properties, file: { type: "string", format: "binary" } },
    required: [...(transcript.required ?? []), "file"],
  }
  const voice = {
    type: "object",
    properties: { name: { type: "string" }, audio_sample: { type: "string", format: "binary" } },
    required: ["name", "audio_sample"],
  }
  return {
    openapi: "3.1.0",
    info: { title: "omni", version: packageJson.version, description: `OpenAI's protocols, answered by ${model}.` },
    components: { securitySchemes: { key: { type: "http", scheme: "bearer" } } },
    security: [{ key: [] }],
    paths: {
      "/v1/chat/completions": { post: operation("An answer", { requestBody: json(schemaOf(chatRequestSchema)) }) },
      "/v1/audio/speech": {
        post: operation("A text read aloud", { requestBody: json(schemaOf(speechRequestSchema)) }),
      },
      "/v1/audio/transcriptions": { post: operation("What is said", { requestBody: form(withFile) }) },
      "/v1/audio/translations": { post: operation("What is said, in English", { requestBody: form(withFile) }) },
      "/v1/audio/voices": {
        get: operation("The voices"),
        post: operation("A stored voice", { requestBody: form(voice) }),
      },
      "/v1/audio/voices/{id}": {
        delete: operation("A voice is forgotten", {
          parameters: [{ name: "id", in: "path", required: true, schema: { type: "string" } }],
        }),
      },
      "/v1/models": { get: operation("The loaded model") },
      "/v1/models/{id}": {
        get: operation("The loaded model", {
          parameters: [{ name: "id", in: "path", required: true, schema: { type: "string" } }],
        }),
      },
      "/v1/realtime": {
        get: operation("A Realtime session over WebSocket (docs/openai.md)", {
          parameters: [
            query("model", "The loaded model, or default"),
            query("intent", "transcription: a session that only writes down"),
            query("queue", "true: wait for a place while the server is full"),
            query("dialect", "beta: the old names of events"),
          ],
        }),
      },
      "/v1/realtime/client_secrets": { post: operation("A short-lived key for a browser") },
      "/health": { get: operation("The server runs", { security: [] }) },
      "/ready": { get: operation("The engine takes work", { security: [] }) },
      "/metrics": { get: operation("Measurements for Prometheus") },
      "/openapi.json": { get: operation("This document", { security: [] }) },
    },
  }
}

/** @file What clients of the Realtime API send. `input_video_buffer.append` is our extension. */
import { z } from "zod"
import { itemSchema } from "./realtime-items.ts"
import {
  audioFormatSchema,
  functionToolSchema,
  maxOutputTokensSchema,
  outputModalitiesSchema,
  sessionUpdateSchema,
  toolChoiceSchema,
  voiceSchema,
} from "./realtime-session.ts"

const event_id = z.string().max(512).optional()
const item_id = z.string().min(1).max(128)

export const responseCreateSchema = z.object({
  output_modalities: outputModalitiesSchema.optional(),
  instructions: z.string().max(100_000).optional(),
  audio: z
    .object({
      output: z.object({ format: audioFormatSchema.optional(), voice: voiceSchema.optional() }).optional(),
    })
    .optional(),
  tools: z.array(functionToolSchema).max(128).optional(),
  tool_choice: toolChoiceSchema.optional(),
  max_output_tokens: maxOutputTokensSchema.optional(),
  metadata: z
    .record(z.string().max(64), z.string().max(512))
    .refine((pairs) => Object.keys(pairs).length <= 16, "expected at most 16 pairs")
    .nullish(),
  conversation: z.enum(["auto", "none"]).optional(),
  input: z.array(z.union([itemSchema, z.object({ type: z.literal("item_reference"), id: item_id })])).optional(),
})
export type RealtimeResponseCreate = z.infer<typeof responseCreateSchema>

const event = <T extends string, S extends z.ZodRawShape>(type: T, shape: S) =>
  z.object({ type: z.literal(type), event_id, ...shape })

export const clientEventSchema = z.discriminatedUnion("type", [
  event("session.update", { session: sessionUpdateSchema }),
  event("input_audio_buffer.append", { audio: z.string() }),
  event("input_audio_buffer.commit", {}),
  event("input_audio_buffer.clear", {}),
  event("conversation.item.create", { item: itemSchema, previous_item_id: z.string().nullish() }),
  event("conversation.item.retrieve", { item_id }),
  event("conversation.item.truncate", {
    item_id,
    content_index: z.number().int().min(0),
    audio_end_ms: z.number().min(0),
  }),
  event("conversation.item.delete", { item_id }),
  event("response.create", { response: responseCreateSchema.nullish() }),
  event("response.cancel", { response_id: z.string().nullish() }),
  event("output_audio_buffer.clear", {}),
  /** The camera's latest picture: PNG, JPEG or WebP in base64, on the client's clock. Needs the extension `omni.video`. */
  event("input_video_buffer.append", { image: z.string(), timestamp_ms: z.number().min(0).optional() }),
])
export type RealtimeClientEvent = z.infer<typeof clientEventSchema>

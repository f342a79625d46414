/** @file Items of a Realtime conversation, as clients create them and as the server reports them. */
import { z } from "zod"

const id = z.string().min(1).max(128)
const common = {
  id: id.optional(),
  object: z.literal("realtime.item").optional(),
  status: z.enum(["completed", "incomplete", "in_progress"]).optional(),
}

export const userPartSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("input_text"), text: z.string() }),
  z.object({ type: z.literal("input_audio"), audio: z.string().optional(), transcript: z.string().nullish() }),
  z.object({
    type: z.literal("input_image"),
    image_url: z.string(),
    detail: z.enum(["auto", "low", "high"]).optional(),
  }),
])
export type RealtimeUserPart = z.infer<typeof userPartSchema>

export const assistantPartSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("output_text"), text: z.string() }),
  z.object({ type: z.literal("output_audio"), transcript: z.string().optional(), audio: z.string().optional() }),
])

export const messageItemSchema = z.discriminatedUnion("role", [
  z.object({
    ...common,
    type: z.literal("message"),
    role: z.literal("system"),
    content: z.array(z.object({ type: z.literal("input_text"), text: z.string() })),
  }),
  z.object({ ...common, type: z.literal("message"), role: z.literal("user"), content: z.array(userPartSchema) }),
  z.object({
    ...common,
    type: z.literal("message"),
    role: z.literal("assistant"),
    content: z.array(assistantPartSchema),
  }),
])
export const functionCallItemSchema = z.object({
  ...common,
  type: z.literal("function_call"),
  call_id: z.string().max(128).optional(),
  name: z.string().min(1).max(128),
  arguments: z.string(),
})
export const functionOutputItemSchema = z.object({
  ...common,
  type: z.literal("function_call_output"),
  call_id: z.string().max(128),
  output: z.string(),
})
export const itemSchema = z.discriminatedUnion("type", [
  messageItemSchema,
  functionCallItemSchema,
  functionOutputItemSchema,
])
export type RealtimeItem = z.infer<typeof itemSchema>
/** An item of the conversation: it has its id. */
export type RealtimeStoredItem = RealtimeItem & { readonly id: string }

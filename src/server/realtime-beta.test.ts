/** @file The beta dialect: a whole conversation as old clients have it, word for word. */
import { expect, test } from "vitest"
import { WebSocket } from "ws"
import { KEY, serve } from "./http.test-util.ts"

type Fields = Record<string, unknown>

/** Ids and sound by placeholders; times and limits left out. */
function plain(event: Fields): string {
  const text = JSON.stringify(event, (key, value: unknown) => {
    if (
      ["event_id", "expires_at", "extensions", "truncation", "tracing", "prompt", "include", "metadata"].includes(key)
    )
      return undefined
    if (key === "delta" && typeof value === "string" && value.length > 100) return `<${atob(value).length / 2} samples>`
    return value
  })
  return text.replaceAll(/"(sess|conv|item|resp|call)_[\w-]{12,}"/g, '"<$1>"')
}

test.each([
  ["by header", "", { "openai-beta": "realtime=v1" }],
  ["by query", "?dialect=beta", {}],
])("%s", async (_, query, headers) => {
  await using host = await serve()
  const socket = new WebSocket(`${host.url.replace("http", "ws")}/v1/realtime${query}`, {
    headers: { authorization: `Bearer ${KEY}`, ...headers },
  })
  const lines: string[] = []
  let done: () => void = () => undefined
  const ended = new Promise<void>((resolve) => {
    done = resolve
  })
  socket.on("message", (data: Buffer) => {
    const event = JSON.parse(data.toString("utf8")) as Fields
    lines.push(plain(event))
    if (event.type === "session.created") {
      const session = {
        ...{ modalities: ["text", "audio"], voice: "alloy", temperature: 0.8, max_response_output_tokens: 2 },
        ...{ input_audio_format: "g711_ulaw", output_audio_format: "pcm16", turn_detection: null },
        instructions: "Be brief.",
      }
      socket.send(JSON.stringify({ type: "session.update", session }))
      const content = [{ type: "input_text", text: "hi" }]
      const before = { type: "message", role: "assistant", content: [{ type: "text", text: "Hello." }] }
      socket.send(JSON.stringify({ type: "conversation.item.create", item: before }))
      socket.send(
        JSON.stringify({ type: "conversation.item.create", item: { type: "message", role: "user", content } }),
      )
      socket.send(JSON.stringify({ type: "response.create", response: { modalities: ["audio", "text"] } }))
    }
    if (event.type === "response.done") done()
  })
  await ended
  socket.close()
  const turn_detection = JSON.stringify({
    ...{ create_response: true, interrupt_response: true, type: "server_vad" },
    ...{ threshold: 0.5, prefix_padding_ms: 300, silence_duration_ms: 500, idle_timeout_ms: null },
  })
  const session = (voice: string, more: string, input: string, turns: string, most: string) =>
    `"session":{"id":"<sess>","object":"realtime.session","model":"fake-o","instructions":"${more}","tools":[],"tool_choice":"auto",` +
    `"modalities":["text","audio"],"voice":"${voice}","speed":1,"input_audio_format":"${input}","output_audio_format":"pcm16",` +
    `"input_audio_transcription":null,"input_audio_noise_reduction":null,"turn_detection":${turns},"max_response_output_tokens":${most}}`
  const response = (status: string, details: string, output: string, usage: string) =>
    `"response":{"id":"<resp>","object":"realtime.response","status":"${status}","status_details":${details},"output":[${output}],` +
    `"conversation_id":"<conv>","max_output_tokens":2,"usage":${usage},"modalities":["text","audio"],"voice":"alloy","output_audio_format":"pcm16"}`
  const item = (status: string, content: string) =>
    `{"id":"<item>","object":"realtime.item","type":"message","role":"assistant","status":"${status}","content":[${content}]}`
  const at = `"response_id":"<resp>","item_id":"<item>","output_index":0,"content_index":0`
  const said = item("incomplete", '{"type":"audio","transcript":"One two "}')
  const usage =
    '{"total_tokens":9,"input_tokens":7,"output_tokens":2,"input_token_details":{"text_tokens":7,"audio_tokens":0,"image_tokens":0,"cached_tokens":0},"output_token_details":{"text_tokens":2,"audio_tokens":0}}'
  expect(lines).toEqual([
    `{"type":"session.created",${session("default", "", "pcm16", turn_detection, '"inf"')}}`,
    `{"type":"conversation.created","conversation":{"id":"<conv>","object":"realtime.conversation"}}`,
    `{"type":"session.updated",${session("alloy", "Be brief.", "g711_ulaw", "null", "2")}}`,
    `{"type":"conversation.item.created","previous_item_id":null,"item":{"type":"message","role":"assistant","content":[{"type":"text","text":"Hello."}],"id":"<item>","object":"realtime.item","status":"completed"}}`,
    `{"type":"conversation.item.created","previous_item_id":"<item>","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}],"id":"<item>","object":"realtime.item","status":"completed"}}`,
    `{"type":"response.created",${response("in_progress", "null", "", "null")}}`,
    `{"type":"response.output_item.added","response_id":"<resp>","output_index":0,"item":${item("in_progress", "")}}`,
    `{"type":"conversation.item.created","previous_item_id":"<item>","item":${item("in_progress", "")}}`,
    `{"type":"response.content_part.added",${at},"part":{"type":"audio","transcript":""}}`,
    `{"type":"response.audio_transcript.delta",${at},"delta":"One "}`,
    `{"type":"response.audio.delta",${at},"delta":"<4800 samples>"}`,
    `{"type":"response.audio_transcript.delta",${at},"delta":"two "}`,
    `{"type":"response.audio.delta",${at},"delta":"<4800 samples>"}`,
    `{"type":"response.audio.done",${at}}`,
    `{"type":"response.audio_transcript.done",${at},"transcript":"One two "}`,
    `{"type":"response.content_part.done",${at},"part":{"type":"audio","transcript":"One two "}}`,
    `{"type":"response.output_item.done","response_id":"<resp>","output_index":0,"item":${said}}`,
    `{"type":"response.done",${response("incomplete", '{"type":"incomplete","reason":"max_output_tokens"}', said, usage)}}`,
  ])
})

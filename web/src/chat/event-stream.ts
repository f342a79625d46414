/** @file Server-sent events of a streamed answer, as parsed JSON. */

/**
 * The JSON values of `data:` lines until `[DONE]` or the end. Pieces may be cut anywhere, also inside a character.
 * @throws SyntaxError when a line is no JSON
 */
export async function* eventData(body: ReadableStream<Uint8Array>): AsyncGenerator<unknown, void, void> {
  const decoder = new TextDecoder()
  const reader = body.getReader()
  let rest = ""
  try {
    for (;;) {
      const { done, value } = await reader.read()
      rest += done ? `${decoder.decode()}\n` : decoder.decode(value, { stream: true })
      const lines = rest.split(/\r\n|\n|\r(?!$)/)
      rest = lines.pop()!
      for (const line of lines) {
        if (!line.startsWith("data:")) continue
        const data = line.slice(5).trim()
        if (data === "[DONE]") return
        if (data !== "") yield JSON.parse(data)
      }
      if (done) return
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

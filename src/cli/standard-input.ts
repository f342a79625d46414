/** @file What is piped into a command. */
import { addAbortSignal } from "node:stream"
import { errorText, InputError } from "../util/index.ts"

/** As files of sound may be. */
const MOST_BYTES = 2 ** 30
/** Far more than a context holds. */
const MOST_TEXT_BYTES = 16 * 2 ** 20

/** @throws InputError when it cannot be read or never ends; an AbortError when aborted */
export async function readStandardInput({
  signal,
  mostBytes = MOST_BYTES,
}: {
  readonly signal?: AbortSignal | undefined
  readonly mostBytes?: number
} = {}): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  if (signal) addAbortSignal(signal, process.stdin)
  try {
    for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length
      if (sizeBytes > mostBytes)
        throw new InputError(`standard input: expected at most ${mostBytes} bytes, got more (cut it first)`)
      chunks.push(chunk)
    }
  } catch (cause) {
    if (cause instanceof InputError || signal?.aborted) throw cause
    throw new InputError(`standard input: expected text or a file, got: ${errorText(cause)}`, { cause })
  }
  return Buffer.concat(chunks)
}

/** A text argument, where `-` means standard input. */
export async function textArgument(value: string): Promise<string> {
  if (value !== "-") return value
  return new TextDecoder().decode(await readStandardInput({ mostBytes: MOST_TEXT_BYTES })).trim()
}

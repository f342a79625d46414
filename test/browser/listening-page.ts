/** @file What the browser test of listening runs inside the browser: files decoded, and the probability of speech in them. */
import { decodeAudio } from "../../src/audio/index.ts"
import { createVad } from "../../src/turns/index.ts"
import { openSileroFrom } from "../../src/turns/index.web.ts"
import { OmniError } from "../../src/util/index.ts"

/** Speech probabilities of a file on the server, in chunks of a fifth of a second. */
export async function listen(base: string, file: string): Promise<number[]> {
  const response = await fetch(base + file)
  const bytes = new Uint8Array(await response.arrayBuffer())
  const { pcm } = await decodeAudio(bytes, { sampleRateHz: 16_000 })
  await using model = await openSileroFrom(`${base}silero.onnx`, { threads: 1, wasmPaths: `${base}ort/` })
  const vad = createVad(model)
  const found: number[] = []
  let state = vad.init()
  for (let at = 0; at < pcm.length; at += 3200) {
    const [probabilities, next] = await vad.step(state, pcm.subarray(at, at + 3200))
    found.push(...probabilities)
    state = next
  }
  return found
}

/** Kind and text of the error of opening a model at this address. */
export async function openingError(base: string, file: string): Promise<string | undefined> {
  try {
    await using _ = await openSileroFrom(base + file, { threads: 1, wasmPaths: `${base}ort/` })
    return undefined
  } catch (error) {
    return error instanceof OmniError ? `${error.code}: ${error.message}` : String(error)
  }
}

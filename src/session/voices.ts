/** @file Reference voices that were encoded before: the same recording is never encoded twice. */
import type { ClipEncoder, EmbedParts } from "../inference/index.ts"
import { f32Data, type HostTensor } from "../tensor/index.ts"

/** Voices that are remembered; a voice of ten seconds takes 3.6 MB at the official sizes. */
const MOST_VOICES = 16

export class VoiceCache {
  private readonly known = new Map<string, HostTensor<"f32">>()
  /** How often a voice had to be encoded. */
  encoded = 0

  /** The same models, with an encoder that remembers whole clips; for the first message of a conversation alone. */
  remembering(parts: EmbedParts): EmbedParts {
    const { audio } = parts
    if (!audio) return parts
    const { encoder } = audio
    const known = this.known
    const encoded = () => this.encoded++
    const step: ClipEncoder["step"] = async function* (stream, mel) {
      const key = await contentHash(mel)
      const hit = known.get(key)
      if (hit) {
        known.delete(key)
        known.set(key, hit) // the latest used is the last to go
        return [hit, stream]
      }
      encoded()
      const [tokens, next] = yield* encoder.step(stream, mel)
      known.set(key, tokens)
      if (known.size > MOST_VOICES) known.delete(known.keys().next().value!)
      return [tokens, next]
    }
    const remembering: ClipEncoder = {
      config: encoder.config,
      init: () => encoder.init(),
      encode: (...features) => encoder.encode(...features),
      step,
    }
    return { ...parts, audio: { ...audio, encoder: remembering } }
  }
}

async function contentHash(mel: HostTensor): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", f32Data(mel).slice())
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("")
}

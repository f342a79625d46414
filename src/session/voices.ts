/** @file Reference voices that were encoded before: the same recording is never encoded twice. */
import type { ClipEncoder, EmbedParts } from "../inference/index.ts"
import { f32Data, type HostTensor } from "../tensor/index.ts"
import type { Steps } from "../util/index.ts"

/** Voices that are remembered; a voice of ten seconds takes 3.6 MB at the official sizes. */
const MOST_VOICES = 16

export class VoiceCache {
  private readonly known = new Map<string, readonly HostTensor<"f32">[]>()
  /** How often a voice had to be encoded. */
  encoded = 0

  /**
   * The same models, with an encoder that remembers what it heard: for a conversation's first message alone, where the voice
   * to speak with is.
   */
  remembering(parts: EmbedParts): EmbedParts {
    const { audio } = parts
    if (!audio) return parts
    const { encoder } = audio
    const once = this.once.bind(this)
    const remembering: ClipEncoder = {
      config: encoder.config,
      init: () => encoder.init(),
      async *encode(mel, lengths, ...rest) {
        const key = `whole ${lengths.join()} ${await contentHash(mel)}`
        return [...(yield* once(key, () => encoder.encode(mel, lengths, ...rest)))]
      },
      async *step(stream, mel) {
        let next = stream
        const work = async function* (): Steps<HostTensor<"f32">[]> {
          const [tokens, after] = yield* encoder.step(stream, mel)
          next = after
          return [tokens]
        }
        const [tokens] = yield* once(`stream ${await contentHash(mel)}`, work)
        return [tokens!, next]
      },
    }
    return { ...parts, audio: { ...audio, encoder: remembering } }
  }

  /** What was encoded under this key, or the work's result, which is remembered. */
  private async *once(
    key: string,
    work: () => Steps<readonly HostTensor<"f32">[]>,
  ): Steps<readonly HostTensor<"f32">[]> {
    const { known } = this
    const hit = known.get(key)
    if (hit) {
      known.delete(key)
      known.set(key, hit) // the latest used is the last to go
      return hit
    }
    this.encoded++
    const tokens = yield* work()
    known.set(key, tokens)
    if (known.size > MOST_VOICES) known.delete(known.keys().next().value!)
    return tokens
  }
}

async function contentHash(mel: HostTensor): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", f32Data(mel).slice())
  const sum = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("")
  return `${mel.shape.join("x")} ${sum}`
}

/** @file Reference voices that were encoded before: the same recording is never encoded twice. */
import type { ClipEncoder, EmbedParts } from "../inference/index.ts"
import { f32Data, type HostTensor } from "../tensor/index.ts"
import type { Steps } from "../util/index.ts"

/** Voices that are remembered; a voice of ten seconds takes 3.6 MB at the official sizes. */
const MOST_VOICES = 16

type Tokens = readonly HostTensor<"f32">[]

export class VoiceCache {
  private readonly known = new Map<string, Tokens>()
  /** Voices that are being encoded; whoever waits for one does its next step. */
  private readonly working = new Map<string, { readonly steps: Steps<Tokens>; waiting: number; tokens?: Tokens }>()
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
  private async *once(key: string, work: () => Steps<Tokens>): Steps<Tokens> {
    const { known, working } = this
    const hit = known.get(key)
    if (hit) {
      known.delete(key)
      known.set(key, hit) // the latest used is the last to go
      return hit
    }
    const entry = working.get(key) ?? { steps: work(), waiting: 0 }
    if (entry.waiting++ === 0) {
      this.encoded++
      working.set(key, entry)
    }
    try {
      while (!entry.tokens) {
        const { done, value } = await entry.steps.next()
        if (!done) yield
        else if (value) entry.tokens = value
        else if (!entry.tokens) return yield* this.once(key, work) // it failed for another, who was told
      }
    } catch (error) {
      if (working.get(key) === entry) working.delete(key)
      throw error
    } finally {
      entry.waiting--
      const isOver = entry.tokens !== undefined || entry.waiting === 0
      if (isOver && working.get(key) === entry) working.delete(key)
      if (entry.waiting === 0) await entry.steps.return([])
    }
    known.set(key, entry.tokens)
    if (known.size > MOST_VOICES) known.delete(known.keys().next().value!)
    return entry.tokens
  }
}

async function contentHash(mel: HostTensor): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", f32Data(mel).slice())
  const sum = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("")
  return `${mel.shape.join("x")} ${sum}`
}

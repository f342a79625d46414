/**
 * @file Voices: the model's own under OpenAI's names, and stored recordings. A stored voice is two files named by its id, in
 * one folder; names and owners are in the files, never in paths. Ids cannot be guessed.
 */
import { createHash, randomBytes } from "node:crypto"
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { z } from "zod"
import { decodeAudio, readWavMono, writeWav } from "../audio/index.ts"
import { voiceNameSchema } from "../protocol/index.ts"
import type { Sound } from "../session/index.ts"
import { HttpError } from "./errors.ts"

/** Names that mean the model's own voice. */
export const OWN_VOICES = [
  "default",
  "alloy",
  "ash",
  "ballad",
  "cedar",
  "coral",
  "echo",
  "fable",
  "marin",
  "nova",
  "onyx",
  "sage",
  "shimmer",
  "verse",
]

const RATE_HZ = 16_000
const MIN_SECONDS = 1
const MAX_SECONDS = 30
const MAX_VOICES = 100

const storedSchema = z.object({
  id: z.string().regex(/^voice_[\w-]{16}$/),
  name: voiceNameSchema,
  owner: z.string(),
  createdAt: z.number(),
  sha256: z.string(),
})

export type StoredVoice = z.infer<typeof storedSchema>

export class Voices {
  readonly #folder: string | undefined
  readonly #voices = new Map<string, { readonly voice: StoredVoice; readonly sound: Sound }>()

  private constructor(folder: string | undefined) {
    this.#folder = folder
  }

  /** @param folder where voices are stored; undefined keeps them in memory */
  static async open(folder: string | undefined): Promise<Voices> {
    const voices = new Voices(folder)
    if (folder === undefined) return voices
    await mkdir(folder, { recursive: true, mode: 0o700 })
    for (const name of await readdir(folder)) {
      if (!name.endsWith(".json")) continue
      const voice = storedSchema.parse(JSON.parse(await readFile(join(folder, name), "utf8")))
      const { pcm, sampleRateHz } = readWavMono(await readFile(join(folder, `${voice.id}.wav`)), "stored voice")
      voices.#voices.set(voice.id, { voice, sound: { pcm, sampleRateHz } })
    }
    return voices
  }

  /** The owner's voices, oldest first. */
  list(owner: string): StoredVoice[] {
    return [...this.#voices.values()]
      .map(({ voice }) => voice)
      .filter((voice) => voice.owner === owner)
      .sort((a, b) => a.createdAt - b.createdAt)
  }

  /**
   * The recording behind a name or id; undefined for the model's own voice.
   * @throws HttpError 404 when the owner has no such voice
   */
  find(nameOrId: string, owner: string): Sound | undefined {
    if (OWN_VOICES.includes(nameOrId)) return undefined
    const byId = this.#voices.get(nameOrId)
    const found =
      byId?.voice.owner === owner
        ? byId
        : [...this.#voices.values()].find(({ voice }) => voice.owner === owner && voice.name === nameOrId)
    if (found) return found.sound
    throw new HttpError(404, "voice: expected a known voice, got another (GET /v1/audio/voices lists them)", {
      param: "voice",
      code: "voice_not_found",
    })
  }

  /** @throws HttpError 400, 409; InputError for a file that is no sound */
  async add(name: string, file: Uint8Array, owner: string, nowMs: number): Promise<StoredVoice> {
    const parsed = voiceNameSchema.safeParse(name)
    if (!parsed.success)
      throw new HttpError(400, `name: ${parsed.error.issues[0]!.message}`, { param: "name", code: "invalid_value" })
    if (OWN_VOICES.includes(name) || this.list(owner).some((voice) => voice.name === name))
      throw new HttpError(409, "name: expected a new name, got one that exists", { param: "name", code: "name_taken" })
    if (this.#voices.size >= MAX_VOICES)
      throw new HttpError(409, `voices: expected at most ${MAX_VOICES}, got more (delete some)`, { code: "too_many" })
    const { pcm } = await decodeAudio(file, { sampleRateHz: RATE_HZ, maxSeconds: MAX_SECONDS, source: "audio_sample" })
    const seconds = pcm.length / RATE_HZ
    if (seconds < MIN_SECONDS)
      throw new HttpError(
        400,
        `audio_sample: expected ${MIN_SECONDS} to ${MAX_SECONDS} s, got ${seconds.toFixed(1)} s`,
        {
          param: "audio_sample",
        },
      )
    const wav = writeWav(pcm, { sampleRateHz: RATE_HZ })
    const id = `voice_${randomBytes(12).toString("base64url")}`
    const sha256 = createHash("sha256").update(wav).digest("hex")
    const voice: StoredVoice = { id, name, owner, createdAt: Math.floor(nowMs / 1000), sha256 }
    // The list entry last, and by renaming: a crash in between leaves no half voice.
    if (this.#folder !== undefined) {
      await writeFile(join(this.#folder, `${id}.wav`), wav, { mode: 0o600 })
      await writeFile(join(this.#folder, `${id}.tmp`), JSON.stringify(voice), { mode: 0o600 })
      await rename(join(this.#folder, `${id}.tmp`), join(this.#folder, `${id}.json`))
    }
    this.#voices.set(id, { voice, sound: readWavMono(wav) })
    return voice
  }

  /** @throws HttpError 404 when the owner has no such voice */
  async remove(id: string, owner: string): Promise<void> {
    if (this.#voices.get(id)?.voice.owner !== owner)
      throw new HttpError(404, "voice: expected a known voice, got another", { code: "voice_not_found" })
    this.#voices.delete(id)
    if (this.#folder === undefined) return
    await rm(join(this.#folder, `${id}.json`), { force: true })
    await rm(join(this.#folder, `${id}.wav`), { force: true })
  }
}

/**
 * @file A live call, headless: a recording is said into it second by second, the answer is spoken into a WAV file.
 *
 *   node examples/live-call.ts question.wav answer.wav --frame photo.png --voice me.wav --model openbmb/MiniCPM-o-2_6
 *
 * A microphone does the same: push what it delivers, in pieces of any length.
 */
import { readFile, writeFile } from "node:fs/promises"
import { parseArgs } from "node:util"
import { concatPcm, Omni, readWavMono, writeWav } from "omni"

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string", default: "nano" },
    frame: { type: "string" },
    voice: { type: "string" },
    "max-tokens": { type: "string", default: "200" },
  },
})
const [question, out] = positionals
if (question === undefined || out === undefined)
  throw new Error("expected the recording to say, and the WAV file to write")

await using omni = await Omni.load(values.model)
const { pcm, sampleRateHz } = readWavMono(await readFile(question))

await using call = omni.call({
  mode: values.frame === undefined ? "audio_assistant" : "omni",
  sampleRateHz,
  maxNewTokens: Number(values["max-tokens"]),
  ...(values.voice === undefined ? {} : { voice: values.voice }),
  onEvent: (event) => {
    if (event.type === "perceived")
      console.error(`heard ${event.audioMs.toFixed(0)} ms in ${event.workMs.toFixed(0)} ms`)
  },
})

// The model reads each second while the next one is said: waiting for the push is all it takes not to flood it.
for (let at = 0; at < pcm.length; at += sampleRateHz) {
  const frame = values.frame === undefined ? {} : { frame: values.frame }
  await call.push({ pcm: pcm.subarray(at, at + sampleRateHz), ...frame })
}

const sound: Float32Array[] = []
for await (const event of call.respond({ speak: true })) {
  if (event.type === "text-delta") process.stdout.write(event.text)
  if (event.type === "audio-delta") sound.push(event.pcm)
  if (event.type === "turn-end") {
    const { firstTextMs = 0, firstAudioMs = 0 } = event.timings
    console.log()
    console.error(`first text after ${firstTextMs.toFixed(0)} ms, first sound after ${firstAudioMs.toFixed(0)} ms`)
  }
}
await writeFile(out, writeWav(concatPcm(sound), { sampleRateHz: 24_000 }))

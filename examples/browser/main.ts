/**
 * @file The whole model in a page: load it from an address or a folder of yours, ask about a picture, or talk.
 *
 *   npx omni init nano && MODEL=$PWD/nano npx vite examples/browser
 *
 * Nothing leaves the page: the model runs in a worker of it.
 */
/// <reference types="vite/client" />
// The development server leaves packages as they are, so it has to be told where this one file lies.
import vadModel from "@ricky0123/vad-web/dist/silero_vad_v5.onnx?url"
import { type AnswerEvent, type ModelSource, Omni } from "omni/web"
import { Loudspeaker, openMicrophone } from "./sound.ts"

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T
const [loadForm, askForm, state, log] = [
  find<HTMLFormElement>("load"),
  find<HTMLFormElement>("ask"),
  find("state"),
  find("log"),
]

let omni: Omni | undefined
let hangUp: (() => Promise<void>) | undefined

function write(who: "you" | "omni", text = ""): Text {
  const line = document.createElement("p")
  line.className = who
  log.append(line)
  return line.appendChild(document.createTextNode(text))
}

/** Runs what a button asks for, and tells what went wrong. */
function run(work: () => Promise<void>): void {
  work().catch((error: unknown) => {
    if (error instanceof DOMException && error.name === "AbortError") return // an answer that was interrupted
    state.textContent = String(error)
  })
}

async function load(model: ModelSource): Promise<void> {
  await hangUp?.()
  await omni?.close()
  omni = undefined
  askForm.hidden = true
  omni = await Omni.load(model, {
    vadModel,
    onProgress: ({ stage, fraction }) => {
      state.textContent = `${stage}: ${Math.round(100 * fraction)} %`
    },
  })
  const { name, device, quantize, loadMs, untrained } = omni.info
  const noise = untrained ? " Its weights are random: what it says is noise." : ""
  state.textContent = `${name} on ${device}, ${quantize}, loaded in ${(loadMs / 1000).toFixed(1)} s.${noise}`
  askForm.hidden = false
}

async function show(events: AsyncIterable<AnswerEvent>, speaker?: Loudspeaker): Promise<void> {
  const line = write("omni")
  for await (const event of events) {
    if (event.type === "text-delta") line.data += event.text
    if (event.type === "audio-delta") speaker?.play(event.pcm)
  }
}

async function ask(): Promise<void> {
  const given = new FormData(askForm)
  const text = String(given.get("text"))
  const image = given.get("image") as File
  write("you", image.size > 0 ? `${text} (${image.name})` : text)
  const content = image.size > 0 ? [{ image }, text] : text
  await show(omni!.chat([{ role: "user", content }], { maxNewTokens: 100 }))
}

/** A call: the model finds the ends of your turns itself, answers aloud, and stops when you speak again. */
async function talk(): Promise<void> {
  const speaker = new Loudspeaker()
  let answering = false
  const answer = async () => {
    answering = true
    speaker.begin()
    await show(call.respond({ maxNewTokens: 60 }), speaker).finally(() => {
      answering = false
    })
  }
  const call = omni!.call({
    turns: {},
    sampleRateHz: speaker.sampleRateHz,
    onEvent: ({ type }) => {
      if (type === "speech-end") run(answer)
      if (type === "speech-start" && (answering || speaker.isPlaying))
        run(async () => void (await call.interrupt({ heardMs: speaker.stop() })))
    },
  })
  const microphone = await openMicrophone(speaker.context, (pcm) => run(() => call.push({ pcm })))
  state.textContent = "Listening."
  hangUp = async () => {
    hangUp = undefined
    microphone.close()
    speaker.stop()
    await call.close()
    await speaker.context.close()
    state.textContent = "The call has ended."
  }
}

loadForm.addEventListener("submit", (event) => {
  event.preventDefault()
  run(() => load(String(new FormData(loadForm).get("address"))))
})
askForm.addEventListener("submit", (event) => {
  event.preventDefault()
  run(ask)
})
find("pick").addEventListener("click", () => {
  const picker = Object.assign(document.createElement("input"), { type: "file", webkitdirectory: true })
  picker.addEventListener("change", () => run(() => load(picker.files!)))
  picker.click()
})
find("talk").addEventListener("click", () => run(hangUp ?? talk))

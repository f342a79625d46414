/** @file What the library's browser test runs in the page: one loaded model, and what is asked of it. */

import { readImage } from "../../src/media/index.web.ts"
import { type ModelSource, Omni, OmniError, type OmniOptions } from "../../src/omni.web.ts"
import { type Assets, begin, exactly, look, rates, stopped, structured, take, talk, write } from "./library-scenes.ts"

const SCENES = { begin, look, write, structured, talk, stopped }
export type SceneName = keyof typeof SCENES

let omni: Omni | undefined

export async function load(model: ModelSource, options: OmniOptions = {}) {
  await omni?.close()
  omni = undefined
  const stages: string[] = []
  const onProgress: OmniOptions["onProgress"] = ({ stage }) => {
    if (stages.at(-1) !== stage) stages.push(stage)
  }
  omni = await Omni.load(model, { ...options, onProgress })
  return { info: omni.info, stages }
}

/** Kind and text of the error of loading. */
export async function loadingError(model: string, options: OmniOptions & { abortAfterMs?: number } = {}) {
  const { abortAfterMs, ...rest } = options
  const signal = abortAfterMs === undefined ? undefined : AbortSignal.timeout(abortAfterMs)
  try {
    await using _ = await Omni.load(model, { ...rest, ...(signal ? { signal } : {}) })
    return "loaded"
  } catch (error) {
    return error instanceof OmniError ? `${error.code}: ${error.message}` : String(error)
  }
}

/** Loads another model beside the first, asks both at once, closes the other one while it answers, and asks the first again. */
export async function besideAnother(model: string, options: OmniOptions) {
  const other = await Omni.load(model, options)
  const both = await Promise.all([write(omni!), write(other)])
  const answer = other.chat("Count.", exactly(2000))
  await answer.next()
  const rest = (async () => {
    for await (const _ of answer);
  })().catch(String)
  await other.close()
  const closed = [await rest, await write(other).catch(String)].join("; ")
  return { both, closed, after: await write(omni!) }
}

async function assets(): Promise<Assets> {
  const blob = async (name: string) => await (await fetch(name)).blob()
  const speech = new Float32Array(await (await blob("speech.f32")).arrayBuffer())
  return { image: await blob("picture.png"), recording: await blob("recording.wav"), speech }
}

/** Plays a scene with the loaded model, and says how long it took. */
export async function play(name: SceneName) {
  const given = await assets()
  const began = performance.now()
  const result = await SCENES[name](omni!, given)
  return { result, milliseconds: performance.now() - began }
}

/** Loads the folder that was picked with the page's input, then from a copy in the browser's own file system. */
export async function loadPicked(options: OmniOptions) {
  const { files } = document.querySelector("input")!
  const picked = (await load(files!, options)).info
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("copy", { create: true })
  for (const file of files!) {
    const [, ...parts] = file.webkitRelativePath.split("/")
    let into = folder
    for (const part of parts.slice(0, -1)) into = await into.getDirectoryHandle(part, { create: true })
    const target = await (await into.getFileHandle(parts.at(-1)!, { create: true })).createWritable()
    await target.write(file)
    await target.close()
  }
  return { picked, copied: (await load(folder, options)).info }
}

/** What the page makes of an image file: its size and all bytes of its pixels. */
export async function pixels(name: string, behaviour: "live" | "reference") {
  const { width, height, data } = await readImage(await (await fetch(name)).blob(), { source: name, behaviour })
  return { width, height, data: Array.from(data) }
}

/** Loads a model and says how fast it is. */
export async function measure(model: string, options: OmniOptions, tokens: number, speak: boolean) {
  const { info } = await load(model, options)
  return { loadMs: info.loadMs, ...(await rates(omni!, tokens, speak)) }
}

/** The same picture in all forms that pages have. */
export async function seePictures() {
  const { image } = await assets()
  const bitmap = await createImageBitmap(image)
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d")!
  context.drawImage(bitmap, 0, 0)
  const imageData = context.getImageData(0, 0, bitmap.width, bitmap.height)
  const forms = [image, new Uint8Array(await image.arrayBuffer()), bitmap, imageData]
  const texts: string[] = []
  for (const form of forms) texts.push((await take(omni!, form as Blob)).text)
  // A bitmap that its owner closes at once, as of a camera.
  await using call = omni!.call({ temperature: 0, maxNewTokens: 6, mode: "omni" })
  const pushed = call.push({ pictures: [image], frame: bitmap })
  bitmap.close()
  await pushed
  await using closed = omni!.call({ mode: "omni" })
  return { texts, closed: await closed.push({ frame: bitmap }).catch(String) }
}

/** Records a second of a tone as the browser records a microphone, and asks about it. */
export async function hearRecording() {
  const context = new AudioContext()
  const oscillator = context.createOscillator()
  const target = context.createMediaStreamDestination()
  oscillator.connect(target)
  oscillator.start()
  const recorder = new MediaRecorder(target.stream)
  const recorded = new Promise<Blob>((resolve) => {
    recorder.ondataavailable = ({ data }) => resolve(data)
  })
  recorder.start()
  const began = context.currentTime
  while (context.currentTime < began + 1.2) await new Promise((resolve) => setTimeout(resolve, 20))
  recorder.stop()
  const blob = await recorded
  const seconds = context.currentTime - began
  const broken = await take(omni!, { audio: blob.slice(0, 40) }).catch(String)
  await context.close()
  return { type: blob.type, seconds, broken, ...(await take(omni!, { audio: blob })) }
}

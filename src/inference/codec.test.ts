import { afterAll, expect, test } from "vitest"
import { dvaeReach, vocosReach } from "../models/minicpmo/index.ts"
import { createOrtNodeExecutor } from "../runtime/index.node.ts"
import { createReferenceExecutor } from "../runtime/index.ts"
import { f32, f32Data, type HostTensor, relativeToMaxAbs } from "../tensor/index.ts"
import { InputError, ShapeError } from "../util/index.ts"
import { randomFrames, randomState, SMALL_DVAE, SMALL_VOCOS, smallRenderer } from "./speech.test-util.ts"

const cpu = createOrtNodeExecutor({ device: "cpu", threads: 1 })
afterAll(async () => {
  await cpu[Symbol.asyncDispose]()
})

const wave = (samples: Float32Array) => f32([samples.length], samples)

/** First and last column in which two mels differ. */
function changedColumns(a: HostTensor, b: HostTensor): [number, number] {
  const length = a.shape[1]!
  const columns: number[] = []
  for (let i = 0; i < a.data.length; i++) if (Math.abs(f32Data(a)[i]! - f32Data(b)[i]!) > 1e-6) columns.push(i % length)
  return [Math.min(...columns), Math.max(...columns)]
}

test("the interpreter and ONNX Runtime agree, for any number of frames", async () => {
  const [want, got] = [await smallRenderer(createReferenceExecutor()), await smallRenderer(cpu)]
  for (const count of [1, 2, 13]) {
    const frames = randomFrames(count, count)
    const mel = await want.codec.decode(frames)
    expect(mel.shape).toEqual([7, 2 * count])
    expect(relativeToMaxAbs(await got.codec.decode(frames), mel)).toBeLessThan(1e-5)
    expect(await got.codec.encode(mel)).toEqual(await want.codec.encode(mel))
    const sound = wave(await want.vocoder.render(mel))
    expect(sound.shape).toEqual([512 * count])
    expect(relativeToMaxAbs(wave(await got.vocoder.render(mel)), sound)).toBeLessThan(1e-5)
  }
})

test("a changed frame is heard exactly as far as the codec and the vocoder reach", async () => {
  const { codec, vocoder } = await smallRenderer(cpu)
  const frames = randomFrames(41, 1)
  const changed = frames.with(20, randomFrames(1, 9)[0]!)
  const [a, b] = [await codec.decode(frames), await codec.decode(changed)]
  const reach = dvaeReach(SMALL_DVAE)
  expect(changedColumns(a, b)).toEqual([40 - reach, 41 + reach])

  const column = 30
  const mel = f32(a.shape, f32Data(a).slice())
  for (let m = 0; m < 7; m++) mel.data[m * 82 + column]! += 1
  const [before, after] = [await vocoder.render(a), await vocoder.render(mel)]
  const differing = [...before.keys()].filter((n) => Math.abs(before[n]! - after[n]!) > 1e-7)
  const side = vocosReach(SMALL_VOCOS) * 256 + 512 - 128 // a transform is 1024 wide around its 256 samples
  expect(Math.min(...differing)).toBeGreaterThanOrEqual(column * 256 - side)
  expect(Math.max(...differing)).toBeLessThan((column + 1) * 256 + side)
  expect(Math.max(...differing) - Math.min(...differing)).toBeGreaterThan(2 * side - 256)
})

test("encoding takes an odd last mel frame as context only", async () => {
  const { codec } = await smallRenderer(cpu)
  const mel = f32([7, 23], randomState(7 * 23, 4))
  expect(await codec.encode(mel)).toHaveLength(11)
  expect((await codec.encode(mel)).flat().every((code) => Number.isInteger(code) && code >= 0 && code < 625)).toBe(true)
})

test("nothing gives nothing", async () => {
  const { codec, vocoder } = await smallRenderer(cpu)
  const mel = await codec.decode([])
  expect(mel.shape).toEqual([7, 0])
  expect(await vocoder.render(mel)).toHaveLength(0)
})

test("errors say what was expected", async () => {
  const { codec, vocoder } = await smallRenderer(cpu)
  await expect(codec.decode([[1, 2, 3, 625]])).rejects.toThrow(
    new InputError("speech codec: expected frames of 4 codes in [0, 625), got 1, 2, 3, 625"),
  )
  await expect(codec.decode([[1, 2, 3]])).rejects.toThrow("got 1, 2, 3")
  await expect(codec.encode(f32([7, 1], new Float32Array(7)))).rejects.toThrow(
    new ShapeError("speech codec: expected a mel [7, 2 or more], got [7, 1]"),
  )
  await expect(vocoder.render(f32([80, 2], new Float32Array(160)))).rejects.toThrow(
    new ShapeError("vocoder: expected a mel [7, L], got [80, 2]"),
  )
})

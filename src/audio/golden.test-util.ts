/** @file Reads the recorded outputs of the official code for this folder's tests. */
import { readFileSync } from "node:fs"
import { f32, type HostTensor, tensor } from "../tensor/index.ts"
import { readWavMono } from "./wav.ts"

const SET = new URL("../../test/fixtures/tiny-a/", import.meta.url)

/** Structured data of a case. */
export function goldenJson<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`cases/${name}.json`, SET), "utf8")) as T
}

/** Samples of a recording in the set. */
export function goldenAudio(name: string): Float32Array {
  return readWavMono(readFileSync(new URL(`assets/audio/${name}.wav`, SET)), name).pcm
}

/** All arrays of a case: float32 and int64 is what this folder needs. */
export function goldenTensors(name: string): Record<string, HostTensor> {
  const bytes = readFileSync(new URL(`cases/${name}.safetensors`, SET))
  const headerBytes = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerBytes)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >
  const tensors: Record<string, HostTensor> = {}
  for (const [key, entry] of Object.entries(header)) {
    if (key === "__metadata__") continue
    const [from, to] = entry.data_offsets.map((offset) => 8 + headerBytes + offset) as [number, number]
    const buffer = bytes.buffer.slice(bytes.byteOffset + from, bytes.byteOffset + to)
    if (entry.dtype === "F32") tensors[key] = f32(entry.shape, new Float32Array(buffer))
    if (entry.dtype === "I64") tensors[key] = tensor("i64", entry.shape, new BigInt64Array(buffer))
  }
  return tensors
}

/** The deterministic noise of the reference's test vectors: a linear congruential generator, ±0.1. */
export function lcgNoise(samples: number, amplitude = 0.1): Float32Array {
  let state = 12345
  return Float32Array.from({ length: samples }, () => {
    state = Number((1103515245n * BigInt(state) + 12345n) % 2147483648n)
    return amplitude * ((2 * state) / 2147483647 - 1)
  })
}

/** A sine of given amplitude. */
export function sine(samples: number, hz: number, sampleRateHz: number, amplitude = 0.5): Float32Array {
  return Float32Array.from({ length: samples }, (_, n) => amplitude * Math.sin((2 * Math.PI * hz * n) / sampleRateHz))
}

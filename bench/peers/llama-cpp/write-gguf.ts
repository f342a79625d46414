/**
 * @file Writes a synthetic Qwen2 model in GGUF for llama.cpp to run: random weights of the right types, sizes and
 * scale, because speed does not depend on their values as long as activations stay finite.
 * Run: `npx node bench/peers/llama-cpp/write-gguf.ts <folder> [--layers 28 --hidden 3584 …]`
 */
import { mkdir, open, rename, rm, stat } from "node:fs/promises"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { FULL_DIMS, GGUF_TYPES, type GgufTensor, ggufLayout, type Qwen2Dims } from "./gguf-layout.ts"

/** Bytes of random blocks made per weight type and scale; tensors take them in turn from changing places. */
const POOL_BYTES = 8 << 20

/**
 * Makes the model's file in `folder`, or finds it there from before: about 4.4 GB with the default dims. It appears
 * under its name only when complete.
 * @returns the file's path and size in bytes, and whether it was there already.
 * @throws InputError when the dims do not fit the format.
 */
export async function writeGguf(
  folder: string,
  dims: Qwen2Dims = FULL_DIMS,
): Promise<{ path: string; bytes: number; reused: boolean }> {
  const { tensors, header, totalBytes } = ggufLayout(dims)
  const path = join(folder, fileName(dims))
  const present = await stat(path).catch(() => undefined)
  if (present?.size === totalBytes) return { path, bytes: totalBytes, reused: true }

  await mkdir(folder, { recursive: true })
  const partial = `${path}.${process.pid}.partial`
  const file = await open(partial, "w")
  try {
    await file.write(header, 0, header.byteLength, 0)
    const fill = createFill()
    for (const tensor of tensors) {
      let at = header.byteLength + tensor.offset
      for (const bytes of fill(tensor)) {
        await file.write(bytes, 0, bytes.byteLength, at)
        at += bytes.byteLength
      }
    }
    // The last tensor's padding: the size is how a complete file is known.
    await file.truncate(totalBytes)
    await file.close()
    await rename(partial, path)
  } catch (error) {
    await file.close().catch(() => undefined)
    await rm(partial, { force: true })
    throw error
  }
  return { path, bytes: totalBytes, reused: false }
}

function fileName({ layers, hidden, ffn, heads, kvHeads, vocab }: Qwen2Dims): string {
  return `qwen2-q4_0-l${layers}-h${hidden}-f${ffn}-a${heads}-k${kvHeads}-v${vocab}.gguf`
}

/** A function from a tensor to its data in pieces; the pieces are views of shared pools. */
function createFill(): (tensor: GgufTensor) => Generator<Uint8Array> {
  const random = createRandom(0x5eed)
  const pools = new Map<string, Uint8Array>()
  return function* (tensor) {
    if (tensor.type === "F32") {
      const isNorm = tensor.name.endsWith("norm.weight")
      const values = Float32Array.from({ length: tensor.dims[0]! }, () => (isNorm ? 1 : 0) + 0.1 * random.signed())
      yield new Uint8Array(values.buffer)
      return
    }
    const { type } = tensor
    const inputs = tensor.dims[0]!
    const key = `${type} ${inputs}`
    const pool = pools.get(key) ?? randomBlocks(type, inputs, random)
    pools.set(key, pool)
    const blocks = pool.byteLength / GGUF_TYPES[type].bytes
    let start = Math.floor((0.5 + 0.5 * random.signed()) * blocks) * GGUF_TYPES[type].bytes
    for (let left = tensor.bytes; left > 0; ) {
      const piece = pool.subarray(start, Math.min(pool.byteLength, start + left))
      yield piece
      left -= piece.byteLength
      start = 0
    }
  }
}

/**
 * Blocks whose weights have a standard deviation near `1 / sqrt(inputs)`, so that a layer keeps the scale of what it
 * gets. Every bit pattern of the quantized values is valid; only the scales are chosen.
 */
function randomBlocks(type: "Q4_0" | "Q6_K", inputs: number, random: ReturnType<typeof createRandom>): Uint8Array {
  const { bytes: size } = GGUF_TYPES[type]
  const pool = new Uint8Array(Math.floor(POOL_BYTES / size) * size)
  random.fill(pool)
  const view = new DataView(pool.buffer)
  const target = 1 / Math.sqrt(inputs)
  for (let at = 0; at < pool.byteLength; at += size) {
    const sign = random.signed() < 0 ? -1 : 1
    const deviation = sign * target * (1 + 0.25 * random.signed())
    if (type === "Q4_0") {
      // weight = scale · (0…15 − 8): the scale comes first, then 16 bytes of two values each.
      view.setFloat16(at, deviation / UNIFORM_16, true)
    } else {
      // weight = scale · groupScale · (0…63 − 32): 192 bytes of values, 16 int8 group scales, the scale.
      for (let group = 0; group < 16; group++) view.setInt8(at + 192 + group, 8 + (pool[at + 192 + group]! & 7))
      view.setFloat16(at + 208, deviation / (UNIFORM_64 * 11.5), true)
    }
  }
  return pool
}

/** Standard deviations of uniform 4-bit and 6-bit integers. */
const UNIFORM_16 = Math.sqrt((16 ** 2 - 1) / 12)
const UNIFORM_64 = Math.sqrt((64 ** 2 - 1) / 12)

/** Seeded xorshift: the same file every time. */
function createRandom(seed: number) {
  let state = seed
  const next = (): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state
  }
  return {
    /** Uniform in [−1, 1). */
    signed: (): number => next() / 2 ** 31,
    fill: (bytes: Uint8Array<ArrayBuffer>): void => {
      const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2)
      for (let i = 0; i < words.length; i++) words[i] = next()
    },
  }
}

if (import.meta.main) {
  const names = Object.keys(FULL_DIMS) as (keyof Qwen2Dims)[]
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: Object.fromEntries(names.map((name) => [name, { type: "string" } as const])),
  })
  const dims = { ...FULL_DIMS }
  for (const name of names) if (values[name] !== undefined) dims[name] = Number(values[name])
  const started = performance.now()
  const written = await writeGguf(positionals[0] ?? ".", dims)
  console.log(JSON.stringify({ ...written, seconds: (performance.now() - started) / 1000 }))
}

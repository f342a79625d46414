/**
 * @file What a synthetic Qwen2 model consists of in GGUF version 3: tensor list, metadata, and the header's bytes.
 * Quantization types are those `llama-quantize … Q4_0` chooses without an importance matrix: the token embedding and
 * all linear layers Q4_0, `output.weight` Q6_K, norms and biases F32.
 */
import { InputError } from "../../../src/util/index.ts"

/** Sizes of a Qwen2 language model; the defaults are those of MiniCPM-o 2.6. */
export type Qwen2Dims = {
  layers: number
  hidden: number
  ffn: number
  heads: number
  kvHeads: number
  vocab: number
}

export const FULL_DIMS: Qwen2Dims = {
  layers: 28,
  hidden: 3584,
  ffn: 18944,
  heads: 28,
  kvHeads: 4,
  vocab: 151700,
}

/** `code` is the type's number in the file; a block of `values` weights takes `bytes` bytes. */
export const GGUF_TYPES = {
  F32: { code: 0, values: 1, bytes: 4 },
  Q4_0: { code: 2, values: 32, bytes: 18 },
  Q6_K: { code: 14, values: 256, bytes: 210 },
} as const

export type GgufTensor = {
  name: string
  type: keyof typeof GGUF_TYPES
  /** Innermost first, as GGUF lists them: `[inputs, outputs]` of a linear layer. */
  dims: number[]
  /** From the start of the data section, in bytes. */
  offset: number
  bytes: number
}

export type GgufLayout = {
  tensors: GgufTensor[]
  /** Everything before the tensor data, padded to the alignment. */
  header: Uint8Array
  totalBytes: number
}

const ALIGNMENT = 32
const FILE_TYPE_MOSTLY_Q4_0 = 2
const NORMAL_TOKEN = 1
const CONTROL_TOKEN = 3
/** Of the metadata values used here. */
const VALUE_TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const

const align = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT

/** @throws InputError when a size cannot be split into quantization blocks or heads. */
export function ggufLayout(dims: Qwen2Dims): GgufLayout {
  checkDims(dims)
  const tensors = listTensors(dims)
  const header = headerBytes(dims, tensors)
  const last = tensors.at(-1)!
  return { tensors, header, totalBytes: header.byteLength + last.offset + align(last.bytes) }
}

function checkDims(dims: Qwen2Dims): void {
  const multiples = [
    ["layers", dims.layers, 1],
    ["hidden", dims.hidden, GGUF_TYPES.Q6_K.values],
    ["ffn", dims.ffn, GGUF_TYPES.Q4_0.values],
    ["heads", dims.heads, dims.kvHeads],
    ["hidden", dims.hidden, dims.heads],
  ] as const
  for (const [name, value, of] of multiples) {
    if (!(value > 0) || value % of !== 0) {
      throw new InputError(`gguf layout: expected ${name} to be a multiple of ${of}, got ${value}`)
    }
  }
  if (!(dims.vocab >= 512)) throw new InputError(`gguf layout: expected a vocab of 512 or more, got ${dims.vocab}`)
}

function listTensors({ layers, hidden, ffn, heads, kvHeads, vocab }: Qwen2Dims): GgufTensor[] {
  const kv = (hidden / heads) * kvHeads
  const tensors: GgufTensor[] = []
  let offset = 0
  const add = (name: string, type: keyof typeof GGUF_TYPES, ...dims: number[]) => {
    const { values, bytes } = GGUF_TYPES[type]
    const size = (dims.reduce((product, dim) => product * dim, 1) / values) * bytes
    tensors.push({ name, type, dims, offset, bytes: size })
    offset += align(size)
  }
  add("token_embd.weight", "Q4_0", hidden, vocab)
  for (let i = 0; i < layers; i++) {
    const layer = `blk.${i}`
    add(`${layer}.attn_norm.weight`, "F32", hidden)
    for (const [projection, outputs] of Object.entries({ q: hidden, k: kv, v: kv })) {
      add(`${layer}.attn_${projection}.weight`, "Q4_0", hidden, outputs)
      add(`${layer}.attn_${projection}.bias`, "F32", outputs)
    }
    add(`${layer}.attn_output.weight`, "Q4_0", hidden, hidden)
    add(`${layer}.ffn_norm.weight`, "F32", hidden)
    add(`${layer}.ffn_gate.weight`, "Q4_0", hidden, ffn)
    add(`${layer}.ffn_up.weight`, "Q4_0", hidden, ffn)
    add(`${layer}.ffn_down.weight`, "Q4_0", ffn, hidden)
  }
  add("output_norm.weight", "F32", hidden)
  add("output.weight", "Q6_K", hidden, vocab)
  return tensors
}

function headerBytes(dims: Qwen2Dims, tensors: readonly GgufTensor[]): Uint8Array {
  const metadata = metadataEntries(dims)
  const out = createByteWriter()
  out.bytes(new TextEncoder().encode("GGUF"))
  out.u32(3)
  out.u64(tensors.length)
  out.u64(metadata.length)
  for (const [key, writeValue] of metadata) {
    out.string(key)
    writeValue(out)
  }
  for (const tensor of tensors) {
    out.string(tensor.name)
    out.u32(tensor.dims.length)
    for (const dim of tensor.dims) out.u64(dim)
    out.u32(GGUF_TYPES[tensor.type].code)
    out.u64(tensor.offset)
  }
  return out.finish()
}

function metadataEntries(dims: Qwen2Dims): [string, (out: ByteWriter) => void][] {
  const tokens = dummyTokens(dims.vocab)
  const tokenTypes = tokens.map((_, id) => (id === tokens.length - 1 ? CONTROL_TOKEN : NORMAL_TOKEN))
  return [
    ["general.architecture", text("qwen2")],
    ["general.name", text("synthetic")],
    ["general.file_type", u32(FILE_TYPE_MOSTLY_Q4_0)],
    ["general.quantization_version", u32(2)],
    ["general.alignment", u32(ALIGNMENT)],
    ["qwen2.context_length", u32(32768)],
    ["qwen2.embedding_length", u32(dims.hidden)],
    ["qwen2.block_count", u32(dims.layers)],
    ["qwen2.feed_forward_length", u32(dims.ffn)],
    ["qwen2.attention.head_count", u32(dims.heads)],
    ["qwen2.attention.head_count_kv", u32(dims.kvHeads)],
    ["qwen2.attention.layer_norm_rms_epsilon", f32(1e-6)],
    ["qwen2.rope.freq_base", f32(1e6)],
    ["tokenizer.ggml.model", text("gpt2")],
    ["tokenizer.ggml.pre", text("qwen2")],
    ["tokenizer.ggml.tokens", array("string", tokens, (out, token) => out.string(token))],
    ["tokenizer.ggml.token_type", array("i32", tokenTypes, (out, type) => out.u32(type))],
    ["tokenizer.ggml.merges", array("string", ["\u0120 t"], (out, merge) => out.string(merge))],
    ["tokenizer.ggml.eos_token_id", u32(tokens.length - 1)],
    ["tokenizer.ggml.add_bos_token", value("bool", (out) => out.bytes(Uint8Array.of(0)))],
  ]
}

/** The 256 byte characters (the loader looks some up), one merge, and names without meaning to fill the vocabulary. */
function dummyTokens(vocab: number): string[] {
  const isVisible = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
  let hidden = 0x100
  const bytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isVisible(byte) ? byte : hidden++))
  const fill = Array.from({ length: vocab - 257 }, (_, i) => `<dummy_${i}>`)
  return [...bytes, "\u0120t", ...fill]
}

/** A metadata value: its type's number, then what `write` appends. */
const value =
  (type: keyof typeof VALUE_TYPES, write: (out: ByteWriter) => void) =>
  (out: ByteWriter): void => {
    out.u32(VALUE_TYPES[type])
    write(out)
  }
const u32 = (number: number) => value("u32", (out) => out.u32(number))
const f32 = (number: number) => value("f32", (out) => out.f32(number))
const text = (string: string) => value("string", (out) => out.string(string))
const array = <T>(type: keyof typeof VALUE_TYPES, items: readonly T[], writeItem: (out: ByteWriter, item: T) => void) =>
  value("array", (out) => {
    out.u32(VALUE_TYPES[type])
    out.u64(items.length)
    for (const item of items) writeItem(out, item)
  })

type ByteWriter = ReturnType<typeof createByteWriter>

/** A growing little-endian buffer. */
function createByteWriter() {
  let buffer = new Uint8Array(1 << 16)
  let view = new DataView(buffer.buffer)
  let length = 0
  const encoder = new TextEncoder()
  const reserve = (bytes: number): number => {
    if (length + bytes > buffer.byteLength) {
      const grown = new Uint8Array(2 * (length + bytes))
      grown.set(buffer.subarray(0, length))
      buffer = grown
      view = new DataView(grown.buffer)
    }
    const at = length
    length += bytes
    return at
  }
  const writer = {
    bytes: (bytes: Uint8Array) => {
      const at = reserve(bytes.byteLength)
      buffer.set(bytes, at)
    },
    u32: (value: number) => {
      const at = reserve(4)
      view.setUint32(at, value, true)
    },
    u64: (value: number) => {
      const at = reserve(8)
      view.setBigUint64(at, BigInt(value), true)
    },
    f32: (value: number) => {
      const at = reserve(4)
      view.setFloat32(at, value, true)
    },
    string: (value: string) => {
      const bytes = encoder.encode(value)
      writer.u64(bytes.byteLength)
      writer.bytes(bytes)
    },
    /** The bytes so far, padded to the alignment. */
    finish: (): Uint8Array => buffer.slice(0, align(length)),
  }
  return writer
}

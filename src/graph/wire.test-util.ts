/** @file A reader of protobuf's wire format that knows nothing of ONNX: what the writer's bytes mean to others. */

/** Field number to its values, in order: varints as bigint, the rest as bytes. */
export type Message = ReadonlyMap<number, readonly (bigint | Uint8Array)[]>

export function readMessage(bytes: Uint8Array): Message {
  const fields = new Map<number, (bigint | Uint8Array)[]>()
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]
      if (byte === undefined || shift > 63n) throw new Error(`a varint runs past byte ${at}`)
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  const take = (count: number): Uint8Array => {
    if (at + count > bytes.length) throw new Error(`a field of ${count} bytes runs past the end`)
    at += count
    return bytes.subarray(at - count, at)
  }
  while (at < bytes.length) {
    const tag = Number(varint())
    const kind = tag & 7
    if (![0, 1, 2, 5].includes(kind)) throw new Error(`wire type ${kind} at byte ${at}`)
    const value = kind === 0 ? varint() : take(kind === 1 ? 8 : kind === 5 ? 4 : Number(varint()))
    fields.set(tag >> 3, [...(fields.get(tag >> 3) ?? []), value])
  }
  return fields
}

export const messagesOf = (message: Message, field: number): Message[] =>
  (message.get(field) ?? []).map((value) => readMessage(value as Uint8Array))

export const messageOf = (message: Message, field: number): Message => messagesOf(message, field)[0]!

export const textsOf = (message: Message, field: number): string[] =>
  (message.get(field) ?? []).map((value) => new TextDecoder().decode(value as Uint8Array))

export const textOf = (message: Message, field: number): string | undefined => textsOf(message, field)[0]

/** Signed 64-bit values. */
export const intsOf = (message: Message, field: number): number[] =>
  (message.get(field) ?? []).map((value) => Number(BigInt.asIntN(64, value as bigint)))

export const intOf = (message: Message, field: number): number | undefined => intsOf(message, field)[0]

export const floatsOf = (message: Message, field: number): number[] =>
  (message.get(field) ?? []).map((value) => {
    const { buffer, byteOffset } = value as Uint8Array
    return new DataView(buffer, byteOffset).getFloat32(0, true)
  })

/** @file Files told by their first bytes. */

/** Text that stands at an offset of a file; latin-1. */
export type Signature<Name> = { readonly name: Name; readonly offset: number; readonly text: string }

export const textAt = (bytes: Uint8Array, offset: number, length: number): string =>
  String.fromCharCode(...bytes.subarray(offset, offset + length))

/** Name of the first signature that fits. */
export const findSignature = <Name>(bytes: Uint8Array, signatures: readonly Signature<Name>[]): Name | undefined =>
  signatures.find(({ offset, text }) => textAt(bytes, offset, text.length) === text)?.name

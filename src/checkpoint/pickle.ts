/**
 * @file An interpreter for the part of Python's pickle that describes dictionaries of tensors. It builds plain values and
 * never runs anything: a named Python object becomes what the caller's `resolve` makes of its name, and a call becomes
 * what `call` makes of the callee and the arguments; both refuse what they do not know.
 * Source: Python's pickletools.py (opcodes of protocols 2 to 5).
 */
import { failure, quote } from "./fail.ts"

/** A value of the caller's making: a named object, a storage, a tensor. */
export type PickleOpaque<T> = { readonly kind: "opaque"; readonly value: T }
export type PickleTuple<T> = { readonly kind: "tuple"; readonly items: readonly PickleValue<T>[] }
export type PickleList<T> = { readonly kind: "list"; readonly items: PickleValue<T>[] }
/** Keys and values in parallel; keys may repeat. */
export type PickleDict<T> = {
  readonly kind: "dict"
  readonly keys: PickleValue<T>[]
  readonly values: PickleValue<T>[]
}
export type PickleValue<T> =
  | null
  | boolean
  | number
  | string
  | PickleTuple<T>
  | PickleList<T>
  | PickleDict<T>
  | PickleOpaque<T>

/** What names, calls and persistent ids mean; each throws for what it does not know. */
export type PickleHooks<T> = {
  resolve(module: string, name: string): T
  call(callee: T, args: readonly PickleValue<T>[]): PickleValue<T>
  persistent(id: PickleValue<T>): T
}

// Far above any state dict (about 45 steps per tensor), and small enough to bound the time and memory of a bomb.
const MAX_STEPS = 1_000_000
const MAX_HELD = 200_000

/** Interprets a pickle. @throws CheckpointError when it is damaged, too large, or uses what a state dict does not */
export function parsePickle<T>(where: string, bytes: Uint8Array, hooks: PickleHooks<T>): PickleValue<T> {
  const machine = new Machine(where, bytes, hooks)
  for (let step = 0; step < MAX_STEPS; step++) {
    const opcode = machine.u8()
    if (opcode === STOP) return machine.pop()
    const run = OPCODES[opcode]
    if (run === undefined) throw machine.fault("an opcode of a state dict", `0x${opcode.toString(16)}`)
    run(machine as Machine<unknown>)
    machine.checkSize()
  }
  throw machine.fault(`at most ${MAX_STEPS} steps`, "more")
}

/** Input position, stack and memo of one run. */
class Machine<T> {
  readonly hooks: PickleHooks<T>
  readonly #where: string
  readonly #view: DataView
  readonly #stack: PickleValue<T>[] = []
  readonly #marks: number[] = []
  readonly #memo = new Map<number, PickleValue<T>>()
  #at = 0

  constructor(where: string, bytes: Uint8Array, hooks: PickleHooks<T>) {
    this.#where = where
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.hooks = hooks
  }

  fault(expected: string, got: string): Error {
    return failure(`${this.#where}, byte ${this.#at}`, expected, got, "not a state dict of tensors, or damaged")
  }

  /** Start of the next `count` bytes of input. */
  take(count: number): number {
    const start = this.#at
    if (count > this.#view.byteLength - start) throw this.fault(`${count} more bytes`, "the end")
    this.#at += count
    return start
  }
  u8 = (): number => this.#view.getUint8(this.take(1))
  u16 = (): number => this.#view.getUint16(this.take(2), true)
  u32 = (): number => this.#view.getUint32(this.take(4), true)
  i32 = (): number => this.#view.getInt32(this.take(4), true)
  f64 = (): number => this.#view.getFloat64(this.take(8), false)
  u64(): number {
    const value = this.#view.getBigUint64(this.take(8), true)
    if (value > Number.MAX_SAFE_INTEGER) throw this.fault("a length below 2^53", `${value}`)
    return Number(value)
  }

  /** Little-endian two's complement of any length. */
  long(byteCount: number): number {
    if (byteCount > 8) throw this.fault("an integer of at most 8 bytes", `${byteCount}`)
    const start = this.take(byteCount)
    let value = 0n
    for (let i = byteCount - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#view.getUint8(start + i))
    const signed = Number(BigInt.asIntN(8 * byteCount, value))
    if (!Number.isSafeInteger(signed)) throw this.fault("an integer below 2^53", `${signed}`)
    return signed
  }

  text(byteCount: number): string {
    const start = this.take(byteCount)
    const bytes = new Uint8Array(this.#view.buffer, this.#view.byteOffset + start, byteCount)
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch {
      throw this.fault("UTF-8 text", "other bytes")
    }
  }

  line(): string {
    let end = this.#at
    while (end < this.#view.byteLength && this.#view.getUint8(end) !== 0x0a) end++
    const line = this.text(end - this.#at)
    this.take(1)
    return line
  }

  push(value: PickleValue<T>): void {
    this.#stack.push(value)
  }

  pop(): PickleValue<T> {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) throw this.fault("a value on the stack", "none")
    return this.#stack.pop()!
  }

  top(): PickleValue<T> {
    const value = this.pop()
    this.push(value)
    return value
  }

  mark(): void {
    this.#marks.push(this.#stack.length)
  }

  popToMark(): PickleValue<T>[] {
    const mark = this.#marks.pop()
    if (mark === undefined) throw this.fault("a mark on the stack", "none")
    return this.#stack.splice(mark)
  }

  popTuple(count: number): void {
    const items: PickleValue<T>[] = []
    for (let i = 0; i < count; i++) items.unshift(this.pop())
    this.push({ kind: "tuple", items })
  }

  popText(): string {
    const value = this.pop()
    if (typeof value !== "string") throw this.fault("a string on the stack", kindOf(value))
    return value
  }

  popOpaque(): T {
    const value = this.pop()
    if (!isKind(value, "opaque")) throw this.fault("a named object on the stack", kindOf(value))
    return value.value
  }

  pushOpaque(value: T): void {
    this.push({ kind: "opaque", value })
  }

  append(items: readonly PickleValue<T>[]): void {
    const list = this.top()
    if (!isKind(list, "list")) throw this.fault("a list on the stack", kindOf(list))
    for (const item of items) list.items.push(item)
  }

  setItems(pairs: readonly PickleValue<T>[]): void {
    const dict = this.top()
    if (!isKind(dict, "dict")) throw this.fault("a dictionary on the stack", kindOf(dict))
    if (pairs.length % 2 !== 0) throw this.fault("keys with values", "a key alone")
    for (let i = 0; i < pairs.length; i += 2) {
      dict.keys.push(pairs[i]!)
      dict.values.push(pairs[i + 1]!)
    }
  }

  call(): void {
    const args = this.pop()
    if (!isKind(args, "tuple")) throw this.fault("a tuple of arguments", kindOf(args))
    this.push(this.hooks.call(this.popOpaque(), args.items))
  }

  /** Attributes of an ordered dictionary (`_metadata` of a state dict) carry no tensors; other state is refused. */
  build(): void {
    this.pop()
    const target = this.top()
    if (!isKind(target, "dict")) throw this.fault("attributes of a dictionary only", kindOf(target))
  }

  put(index: number): void {
    this.#memo.set(index, this.top())
  }
  memoize(): void {
    this.put(this.#memo.size)
  }
  get(index: number): void {
    const value = this.#memo.get(index)
    if (value === undefined) throw this.fault(`memo ${index} to be set`, "nothing")
    this.push(value)
  }

  checkSize(): void {
    if (this.#stack.length + this.#marks.length > MAX_HELD || this.#memo.size > MAX_HELD) {
      throw this.fault(`at most ${MAX_HELD} values at a time`, "more")
    }
  }
}

const STOP = 0x2e

const OPCODES: { readonly [opcode: number]: (m: Machine<unknown>) => void } = {
  128: (m) => {
    const protocol = m.u8()
    if (protocol > 5) throw m.fault("a protocol up to 5", `${protocol}`)
  },
  149: (m) => void m.u64(), // FRAME: a hint for reading ahead
  40: (m) => m.mark(), // MARK
  48: (m) => void m.pop(), // POP
  49: (m) => void m.popToMark(), // POP_MARK
  78: (m) => m.push(null), // NONE
  136: (m) => m.push(true), // NEWTRUE
  137: (m) => m.push(false), // NEWFALSE
  74: (m) => m.push(m.i32()), // BININT
  75: (m) => m.push(m.u8()), // BININT1
  77: (m) => m.push(m.u16()), // BININT2
  138: (m) => m.push(m.long(m.u8())), // LONG1
  71: (m) => m.push(m.f64()), // BINFLOAT
  140: (m) => m.push(m.text(m.u8())), // SHORT_BINUNICODE
  88: (m) => m.push(m.text(m.u32())), // BINUNICODE
  141: (m) => m.push(m.text(m.u64())), // BINUNICODE8
  41: (m) => m.push({ kind: "tuple", items: [] }), // EMPTY_TUPLE
  133: (m) => m.popTuple(1), // TUPLE1
  134: (m) => m.popTuple(2), // TUPLE2
  135: (m) => m.popTuple(3), // TUPLE3
  116: (m) => m.push({ kind: "tuple", items: m.popToMark() }), // TUPLE
  93: (m) => m.push({ kind: "list", items: [] }), // EMPTY_LIST
  97: (m) => m.append([m.pop()]), // APPEND
  101: (m) => m.append(m.popToMark()), // APPENDS
  125: (m) => m.push({ kind: "dict", keys: [], values: [] }), // EMPTY_DICT
  115: (m) => {
    const value = m.pop() // SETITEM
    m.setItems([m.pop(), value])
  },
  117: (m) => m.setItems(m.popToMark()), // SETITEMS
  99: (m) => m.pushOpaque(m.hooks.resolve(m.line(), m.line())), // GLOBAL
  147: (m) => {
    const name = m.popText() // STACK_GLOBAL
    m.pushOpaque(m.hooks.resolve(m.popText(), name))
  },
  81: (m) => m.pushOpaque(m.hooks.persistent(m.pop())), // BINPERSID
  82: (m) => m.call(), // REDUCE
  98: (m) => m.build(), // BUILD
  113: (m) => m.put(m.u8()), // BINPUT
  114: (m) => m.put(m.u32()), // LONG_BINPUT
  148: (m) => m.memoize(), // MEMOIZE
  104: (m) => m.get(m.u8()), // BINGET
  106: (m) => m.get(m.u32()), // LONG_BINGET
}

/** Whether a value is of one of the structured kinds. */
export function isKind<T, K extends "tuple" | "list" | "dict" | "opaque">(
  value: PickleValue<T> | undefined,
  kind: K,
): value is Extract<PickleValue<T>, { readonly kind: K }> {
  return typeof value === "object" && value !== null && value.kind === kind
}

/** A value in a few words, for messages. */
export function kindOf(value: PickleValue<unknown> | undefined): string {
  if (typeof value === "string") return quote(value)
  if (typeof value !== "object" || value === null) return String(value)
  return value.kind === "opaque" ? "a named object" : `a ${value.kind}`
}

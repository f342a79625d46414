/**
 * @file Reads the tensors of a PyTorch `.pt` file (the ZIP container of torch.save since 1.6): a dictionary of tensors,
 * possibly nested. Only an allow-list of names is understood, nothing is executed, and tensor data is read by ranges.
 * Source: torch/serialization.py and torch/_utils.py.
 */
import { type DType, dtypeBytes, sizeOf, stridesOf } from "../tensor/index.ts"
import { CheckpointError } from "../util/index.ts"
import { failure, quote } from "./fail.ts"
import { isKind, kindOf, type PickleHooks, type PickleValue, parsePickle } from "./pickle.ts"
import type { FileSource } from "./source.ts"
import { type Checkpoint, createCheckpoint, type StoredTensor } from "./tensor-reader.ts"
import { readZip, type ZipEntry } from "./zip.ts"

/** Python's storage class of each dtype. */
export const STORAGE_CLASSES: { readonly [D in DType]: string } = {
  f32: "FloatStorage",
  f16: "HalfStorage",
  bf16: "BFloat16Storage",
  f64: "DoubleStorage",
  i64: "LongStorage",
  i32: "IntStorage",
  i16: "ShortStorage",
  i8: "CharStorage",
  u8: "ByteStorage",
  bool: "BoolStorage",
}

type Storage = { readonly type: "storage"; readonly dtype: DType; readonly start: number; readonly count: number }
type Meaning =
  | { readonly type: "dictionary" | "tensorFunction" | "parameterFunction" }
  | { readonly type: "storageClass"; readonly dtype: DType }
  | Storage
  | { readonly type: "tensor"; readonly stored: StoredTensor }
type Value = PickleValue<Meaning>

const GLOBALS = new Map<string, Meaning>([
  ["collections.OrderedDict", { type: "dictionary" }],
  ["torch._utils._rebuild_tensor_v2", { type: "tensorFunction" }],
  ["torch._utils._rebuild_parameter", { type: "parameterFunction" }],
  ...Object.entries(STORAGE_CLASSES).map(([dtype, name]): [string, Meaning] => [
    `torch.${name}`,
    { type: "storageClass", dtype: dtype as DType },
  ]),
])

const MAX_PICKLE_BYTES = 16 * 2 ** 20
// A pickle can name one dictionary many times, so that walking it takes far longer than reading it.
const MAX_MEMBERS = 100_000
const MAX_DEPTH = 16
const MAX_RANK = 64
const MAX_NAME = 1024

/**
 * Opens a `.pt` file. Tensors of nested dictionaries and lists get dotted names; members that hold no tensor are left out.
 * @throws CheckpointError when it is damaged, names Python objects outside the allow-list, or is no state dict
 */
export async function openPt(source: FileSource, path: string): Promise<Checkpoint> {
  const entries = await readZip(source, path)
  const root = findRoot(path, entries)
  const text = (name: string): Promise<string | undefined> => readShortText(source, path, entries.get(root + name))
  const byteOrder = (await text("byteorder")) ?? "little"
  if (byteOrder !== "little") {
    throw failure(path, "little-endian data", quote(byteOrder), "save the file again on a little-endian machine")
  }
  const pickle = entries.get(`${root}data.pkl`)!
  const where = `${path}: data.pkl`
  if (pickle.sizeBytes > MAX_PICKLE_BYTES) {
    throw failure(where, `at most ${MAX_PICKLE_BYTES} bytes`, `${pickle.sizeBytes}`, "is it a state dict?")
  }
  const bytes = await source.read(path, pickle.start, pickle.sizeBytes)
  const value = parsePickle(
    where,
    bytes,
    hooksFor(path, (key) => entries.get(`${root}data/${key}`)),
  )
  return createCheckpoint(source, path, flatten(path, value), new Map())
}

/** The folder inside the archive, with its slash. */
function findRoot(path: string, entries: ReadonlyMap<string, ZipEntry>): string {
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name))
  if (pickles.length !== 1) throw failure(path, "one data.pkl in its folder", `${pickles.length}`, "is it a .pt file?")
  const root = pickles[0]!.slice(0, -"data.pkl".length)
  if (entries.has(`${root}constants.pkl`)) {
    throw failure(path, "a state dict", "a TorchScript program", "save the state dict alone with torch.save")
  }
  return root
}

async function readShortText(source: FileSource, path: string, entry: ZipEntry | undefined) {
  if (entry === undefined) return undefined
  return new TextDecoder().decode(await source.read(path, entry.start, Math.min(entry.sizeBytes, 64))).trim()
}

function hooksFor(path: string, findStorage: (key: string) => ZipEntry | undefined): PickleHooks<Meaning> {
  return {
    resolve: (module, name) => {
      const meaning = GLOBALS.get(`${module}.${name}`)
      if (meaning !== undefined) return meaning
      const advice = "other Python objects are refused and never executed; save the state dict alone"
      throw failure(path, "tensors and dictionaries", `the Python object ${quote(`${module}.${name}`)}`, advice)
    },
    call: (callee, args) => {
      if (callee.type === "dictionary" && args.length === 0) return { kind: "dict", keys: [], values: [] }
      if (callee.type === "tensorFunction") return makeTensor(path, args)
      if (callee.type === "parameterFunction" && isKind(args[0], "opaque") && args[0].value.type === "tensor") {
        return args[0]
      }
      throw failure(path, "calls that make tensors and dictionaries", `a call of a ${callee.type}`)
    },
    persistent: (id) => makeStorage(path, id, findStorage),
  }
}

/** `("storage", class, key, device, count)`; the device is where the tensor once lived and does not matter. */
function makeStorage(path: string, id: Value, findStorage: (key: string) => ZipEntry | undefined): Storage {
  const [tag, storageClass, key, , count] = isKind(id, "tuple") ? id.items : []
  const dtype = isKind(storageClass, "opaque") && storageClass.value.type === "storageClass" && storageClass.value.dtype
  if (tag !== "storage" || !dtype || typeof key !== "string" || !isCount(count)) {
    throw failure(path, "a persistent id of a storage", kindOf(id))
  }
  const entry = findStorage(key)
  if (entry === undefined) throw failure(path, `the storage data/${key.slice(0, 40)}`, "none")
  const sizeBytes = count * dtypeBytes(dtype)
  if (entry.sizeBytes !== sizeBytes) {
    throw failure(`${path}: data/${key.slice(0, 40)}`, `${sizeBytes} bytes for ${count} ${dtype}`, `${entry.sizeBytes}`)
  }
  return { type: "storage", dtype, start: entry.start, count }
}

/** `(storage, offset, shape, strides, requiresGrad, hooks)`, in elements. */
function makeTensor(path: string, args: readonly Value[]): Value {
  const [storage, offset, shapeValue, stridesValue] = args
  const shape = counts(shapeValue)
  const strides = counts(stridesValue)
  const known = isKind(storage, "opaque") && storage.value.type === "storage" ? storage.value : undefined
  if (!known || !isCount(offset) || !shape || strides?.length !== shape.length || args.length !== 6) {
    throw failure(path, "a tensor as _rebuild_tensor_v2(storage, offset, shape, strides, …)", "other arguments")
  }
  const { dtype, start, count } = known
  const size = sizeOf(shape)
  const last = shape.reduce((sum, dim, axis) => sum + (dim - 1) * strides[axis]!, offset)
  const got = `[${shape.join(", ")}] with strides [${strides.join(", ")}] from ${offset}`
  // The first bound also refuses tensors that repeat elements (stride 0), of which a small file could claim terabytes;
  // it is written so that a size that overflowed to NaN fails too.
  if (!(size <= count) || (size > 0 && last >= count)) throw failure(path, `a tensor inside its ${count} elements`, got)
  const rowMajor = stridesOf(shape)
  const contiguous = size === 0 || shape.every((dim, axis) => dim === 1 || strides[axis] === rowMajor[axis])
  const bytes = dtypeBytes(dtype)
  const stored: StoredTensor = {
    dtype,
    shape,
    file: path,
    sizeBytes: size * bytes,
    start: start + (size === 0 ? 0 : offset * bytes),
    ...(contiguous ? {} : { strides }),
  }
  return { kind: "opaque", value: { type: "tensor", stored } }
}

function counts(value: Value | undefined): number[] | undefined {
  if (!isKind(value, "tuple") || value.items.length > MAX_RANK) return undefined
  return value.items.every(isCount) ? [...value.items] : undefined
}

function isCount(value: Value | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0
}

/** All tensors of nested dictionaries and lists under dotted names, in order. */
function flatten(path: string, top: Value): Map<string, StoredTensor> {
  if (!isKind(top, "dict")) throw failure(path, "a dictionary of tensors", kindOf(top), "save a state dict")
  const tensors = new Map<string, StoredTensor>()
  let members = 0
  const visit = (value: Value, name: string, depth: number): void => {
    if (++members > MAX_MEMBERS) throw failure(path, `at most ${MAX_MEMBERS} members`, "more")
    if (name.length > MAX_NAME) throw failure(path, `names of at most ${MAX_NAME} characters`, quote(name))
    if (isKind(value, "opaque") && value.value.type === "tensor") {
      if (tensors.has(name)) throw failure(path, "unique names", `${quote(name)} twice`)
      tensors.set(name, value.value.stored)
      return
    }
    if (!isKind(value, "dict") && !isKind(value, "list") && !isKind(value, "tuple")) return
    if (depth > MAX_DEPTH) throw failure(path, `dictionaries at most ${MAX_DEPTH} deep`, "deeper ones")
    const children = value.kind === "dict" ? value.values : value.items
    for (const [index, child] of children.entries()) {
      const key = value.kind === "dict" ? value.keys[index] : index
      if (typeof key !== "string" && typeof key !== "number") continue // such a member has no name to be asked for
      visit(child, name === "" ? String(key) : `${name}.${key}`, depth + 1)
    }
  }
  visit(top, "", 0)
  if (tensors.size === 0)
    throw new CheckpointError(`${path}: expected a dictionary of tensors, got one without tensors`)
  return tensors
}

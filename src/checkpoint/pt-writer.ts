/**
 * @file Writes a state dict as a `.pt` file, in the container and pickle that torch.save makes, so that PyTorch loads it
 * with `weights_only=True`. For small models: everything is in memory.
 */
import { type HostTensor, stridesOf } from "../tensor/index.ts"
import { concatenate } from "../util/index.ts"
import { failure } from "./fail.ts"
import { STORAGE_CLASSES } from "./pt.ts"
import { type FileSink, writeFile } from "./sink.ts"
import { writeZip, type ZipItem } from "./zip-writer.ts"

/** Writes `tensors` in order under their names. @throws CheckpointError when there is none, or more than 4 GiB */
export async function writePt(sink: FileSink, path: string, tensors: ReadonlyMap<string, HostTensor>): Promise<void> {
  if (tensors.size === 0) throw failure(path, "at least one tensor", "none", "an empty state dict cannot be read back")
  const root = path.slice(path.lastIndexOf("/") + 1).replace(/\.[^.]*$/, "")
  const ascii = (name: string, text: string): ZipItem => ({
    name: `${root}/${name}`,
    bytes: new TextEncoder().encode(text),
  })
  const storages = [...tensors.values()].map(({ data }, index) => ({
    name: `${root}/data/${index}`,
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }))
  const items: ZipItem[] = [
    { name: `${root}/data.pkl`, bytes: encodePickle([...tensors]) },
    ascii(".format_version", "1"),
    ascii(".storage_alignment", "64"),
    ascii("byteorder", "little"),
    ...storages,
    ascii("version", "3\n"),
  ]
  await writeFile(sink, path, (writer) => writeZip(writer, path, items))
}

/** `OrderedDict([(name, _rebuild_tensor_v2(…)), …])` in protocol 2. */
function encodePickle(tensors: readonly (readonly [string, HostTensor])[]): Uint8Array {
  return concatenate([
    opcode(0x80, 2),
    emptyDictionary(),
    opcode(MARK),
    ...tensors.flatMap(([name, tensor], index) => [text(name), rebuildTensor(tensor, String(index))]),
    opcode(SETITEMS, STOP),
  ])
}

function rebuildTensor({ dtype, shape, data }: HostTensor, key: string): Uint8Array {
  const storage = [text("storage"), global("torch", STORAGE_CLASSES[dtype]), text(key), text("cpu"), int(data.length)]
  return concatenate([
    global("torch._utils", "_rebuild_tensor_v2"),
    tuple([
      concatenate([tuple(storage), opcode(BINPERSID)]),
      int(0),
      tuple(shape.map(int)),
      tuple(stridesOf(shape).map(int)),
      opcode(NEWFALSE),
      emptyDictionary(),
    ]),
    opcode(REDUCE),
  ])
}

const MARK = 0x28
const STOP = 0x2e
const BINPERSID = 0x51
const REDUCE = 0x52
const TUPLE = 0x74
const EMPTY_TUPLE = 0x29
const SETITEMS = 0x75
const NEWFALSE = 0x89

function opcode(...bytes: number[]): Uint8Array {
  return Uint8Array.from(bytes)
}

function tuple(items: readonly Uint8Array[]): Uint8Array {
  return concatenate([opcode(MARK), ...items, opcode(TUPLE)])
}

function emptyDictionary(): Uint8Array {
  return concatenate([global("collections", "OrderedDict"), opcode(EMPTY_TUPLE, REDUCE)])
}

function global(module: string, name: string): Uint8Array {
  return new TextEncoder().encode(`c${module}\n${name}\n`)
}

function text(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value)
  const head = new Uint8Array(5)
  head[0] = 0x58 // BINUNICODE
  new DataView(head.buffer).setUint32(1, bytes.length, true)
  return concatenate([head, bytes])
}

/** BININT, or LONG1 beyond 31 bits. */
function int(value: number): Uint8Array {
  const bytes = new Uint8Array(value < 2 ** 31 ? 5 : 10)
  const view = new DataView(bytes.buffer)
  if (value < 2 ** 31) {
    bytes[0] = 0x4a
    view.setInt32(1, value, true)
  } else {
    bytes.set([0x8a, 8])
    view.setBigInt64(2, BigInt(value), true)
  }
  return bytes
}

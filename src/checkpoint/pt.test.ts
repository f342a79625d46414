import { expect, test } from "vitest"
import { f32, tensor } from "../tensor/index.ts"
import { CheckpointError, concatenate } from "../util/index.ts"
import { openFolder } from "./folder.node.ts"
import { openPt } from "./pt.ts"
import {
  oneFile,
  op,
  pCall,
  pDict,
  pGlobal,
  pInt,
  pickled,
  pTensor,
  pText,
  rawPt,
  utf8,
  zipBytes,
} from "./test-support.ts"

const FIXTURE = new URL("../../test/fixtures/tiny-a/checkpoint", import.meta.url).pathname
const open = (bytes: Uint8Array) => openPt(oneFile("v.pt", bytes), "v.pt")
const storage = new Uint8Array(Float32Array.from({ length: 24 }, (_, index) => index).buffer)
const dict = async (...items: Uint8Array[]) => open(await rawPt(pickled(pDict(...items)), { "0": storage }))

test("reads the vocoder of the test checkpoint", async () => {
  await using source = openFolder(FIXTURE)
  const vocos = await openPt(source, "assets/Vocos.pt")
  expect(vocos.names().length).toBe(29)
  expect(vocos.info("backbone.embed.weight")).toEqual({
    dtype: "f32",
    shape: [32, 100, 7],
    file: "assets/Vocos.pt",
    sizeBytes: 89600,
  })
  expect(vocos.info("head.out.weight").shape).toEqual([1026, 32])
  expect(vocos.names().slice(0, 2)).toEqual([
    "feature_extractor.mel_spec.spectrogram.window",
    "feature_extractor.mel_spec.mel_scale.fb",
  ])
  // Values and sums as PyTorch gives them.
  const { data } = await vocos.readF32("backbone.embed.weight")
  expect([...data.slice(0, 3)]).toEqual([-0.10672221332788467, -0.07052836567163467, 0.0618581548333168])
  expect(data.reduce((sum, value) => sum + value, 0)).toBeCloseTo(-4.471946154951084, 9)
  const window = await vocos.readF32("feature_extractor.mel_spec.spectrogram.window")
  expect(window.data.reduce((sum, value) => sum + value, 0)).toBeCloseTo(511.99998638033867, 9)
})

test("copies strided tensors into order, whole and by rows", async () => {
  const checkpoint = await dict(
    ...[pText("plain"), pTensor({ count: 24, offset: 12, shape: [2, 3], strides: [3, 1] })],
    ...[pText("transposed"), pTensor({ count: 24, offset: 1, shape: [3, 2], strides: [1, 4] })],
    ...[pText("cut"), pTensor({ count: 24, shape: [2, 1, 3], strides: [12, 99, 2] })],
    ...[pText("empty"), pTensor({ count: 24, shape: [0, 9], strides: [9, 1] })],
    ...[pText("scalar"), pTensor({ count: 24, offset: 23, shape: [], strides: [] })],
  )
  expect(await checkpoint.read("plain")).toEqual(f32([2, 3], [12, 13, 14, 15, 16, 17]))
  expect(await checkpoint.read("transposed")).toEqual(f32([3, 2], [1, 5, 2, 6, 3, 7]))
  expect(await checkpoint.readRows("transposed", 1, 2)).toEqual(f32([2, 2], [2, 6, 3, 7]))
  expect(await checkpoint.read("cut")).toEqual(f32([2, 1, 3], [0, 2, 4, 12, 14, 16]))
  expect(await checkpoint.readRows("cut", 1, 1)).toEqual(f32([1, 1, 3], [12, 14, 16]))
  expect(await checkpoint.read("empty")).toEqual(f32([0, 9], []))
  expect(await checkpoint.read("scalar")).toEqual(f32([], [23]))
})

test("flattens nested dictionaries, unwraps parameters and leaves other members out", async () => {
  const parameter = pCall(
    pGlobal("torch._utils", "_rebuild_parameter"),
    pTensor({ count: 24, shape: [1], strides: [1] }),
    op(0x88),
    pCall(pGlobal("collections", "OrderedDict")),
  )
  const list = concatenate([op(0x5d), pTensor({ count: 24, shape: [2], strides: [1] }), op(0x61)])
  const attributes = concatenate([pDict(pText("_metadata"), op(0x4e)), op(0x62)])
  const checkpoint = await dict(
    ...[pText("epoch"), pInt(3)],
    ...[pText("state_dict"), concatenate([pDict(pText("w"), parameter, pText("list"), list), attributes])],
  )
  expect(checkpoint.names()).toEqual(["state_dict.w", "state_dict.list.0"])
})

test("reads every storage class in its dtype", async () => {
  const bytes = Uint8Array.of(0x80, 0x3f, 1, 0, 0, 0, 0, 0)
  const read = async (name: string, count: number) => {
    const item = pTensor({ storage: name, count, shape: [count], strides: [1] })
    return (await open(await rawPt(pickled(pDict(pText("x"), item)), { "0": bytes }))).read("x")
  }
  expect(await read("BFloat16Storage", 4)).toEqual(tensor("bf16", [4], Uint16Array.of(0x3f80, 1, 0, 0)))
  expect(await read("LongStorage", 1)).toEqual(tensor("i64", [1], BigInt64Array.of(0x13f80n)))
  expect((await read("ByteStorage", 8)).dtype).toBe("u8")
  expect((await read("DoubleStorage", 1)).dtype).toBe("f64")
  expect((await read("ShortStorage", 4)).data).toEqual(Int16Array.of(0x3f80, 1, 0, 0))
})

const good = { count: 24, shape: [2], strides: [1] }
const withPickle = (...parts: Uint8Array[]) => rawPt(pickled(...parts), { "0": storage })
const withTensor = (options: Partial<Parameters<typeof pTensor>[0]>) =>
  withPickle(pDict(pText("x"), pTensor({ ...good, ...options })))

test.each<[string, () => Promise<Uint8Array>, string]>([
  [
    "a call of a system function",
    () => withPickle(pCall(pGlobal("os", "system"), pText("true"))),
    'v.pt: expected tensors and dictionaries, got the Python object "os.system" (other Python objects are refused and ' +
      "never executed; save the state dict alone)",
  ],
  [
    "a global by stack",
    () => withPickle(pText("builtins"), pText("eval"), op(0x93)),
    'the Python object "builtins.eval"',
  ],
  [
    "a storage class that is called",
    () => withPickle(pCall(pGlobal("torch", "FloatStorage"))),
    "got a call of a storageClass",
  ],
  [
    "a parameter of no tensor",
    () => withPickle(pCall(pGlobal("torch._utils", "_rebuild_parameter"), op(0x4e))),
    "got a call of a parameterFunction",
  ],
  [
    "a stride that leaves the storage",
    () => withTensor({ shape: [3], strides: [12] }),
    "v.pt: expected a tensor inside its 24 elements, got [3] with strides [12] from 0",
  ],
  ["an offset that leaves the storage", () => withTensor({ offset: 23 }), "got [2] with strides [1] from 23"],
  ["repeated elements", () => withTensor({ shape: [60000, 60000], strides: [0, 0] }), "inside its 24 elements"],
  ["too few strides", () => withTensor({ strides: [] }), "as _rebuild_tensor_v2(storage, offset, shape, strides, …)"],
  [
    "a size that is no number",
    () => withTensor({ shape: [...Array(63).fill(65535), 0].concat(0), strides: Array(65).fill(0) }),
    "as _rebuild_tensor_v2",
  ],
  ["a missing storage", () => withTensor({ key: "7" }), "v.pt: expected the storage data/7, got none"],
  ["a storage of another size", () => withTensor({ count: 23 }), "data/0: expected 92 bytes for 23 f32, got 96"],
  ["an unknown storage class", () => withTensor({ storage: "QUInt8Storage" }), '"torch.QUInt8Storage"'],
  ["a list", () => withPickle(op(0x5d)), "v.pt: expected a dictionary of tensors, got a list (save a state dict)"],
  ["no tensors", () => withPickle(op(0x7d)), "v.pt: expected a dictionary of tensors, got one without tensors"],
  [
    "a name twice",
    () => withPickle(pDict(pText("x"), pTensor(good), pText("x"), pTensor(good))),
    'names, got "x" twice',
  ],
  [
    "big-endian data",
    () => rawPt(pickled(op(0x7d)), {}, [{ name: "m/byteorder", bytes: utf8("big") }]),
    'v.pt: expected little-endian data, got "big"',
  ],
  ["TorchScript", () => rawPt(pickled(op(0x7d)), {}, [{ name: "m/constants.pkl", bytes: utf8("") }]), "a TorchScript"],
  [
    "an archive of something else",
    () => zipBytes([{ name: "x/y", bytes: utf8("") }]),
    "expected one data.pkl in its folder",
  ],
  [
    "the format before 1.6",
    async () => pickled(op(0x4e)),
    "v.pt: expected a ZIP archive, got no end record (incomplete",
  ],
])("refuses %s", async (_, make, message) => {
  const bytes = await make()
  await expect(open(bytes)).rejects.toThrow(CheckpointError)
  await expect(open(bytes)).rejects.toThrow(message)
})

/** `x = {}`, then many times `x = {"a": x, "b": x}`: a page of bytes that stands for 2^60 members. */
const doubling = () => {
  const level = [op(0x71, 0, 0x30, 0x7d, 0x28), pText("a"), op(0x68, 0), pText("b"), op(0x68, 0), op(0x75)]
  return withPickle(op(0x7d), ...Array.from({ length: 60 }, () => concatenate(level)))
}
/** A dictionary that contains itself. */
const circular = () => withPickle(op(0x7d, 0x71, 0, 0x28), pText("a"), op(0x68, 0, 0x75))

test.each<[string, () => Promise<Uint8Array>, string]>([
  ["shared dictionaries", doubling, "v.pt: expected dictionaries at most 16 deep, got deeper ones"],
  ["a circular dictionary", circular, "v.pt: expected dictionaries at most 16 deep, got deeper ones"],
  [
    "a wide one",
    () => {
      const wide = concatenate([op(0x28), ...Array.from({ length: 400 }, () => op(0x68, 0)), op(0x74)])
      return withPickle(
        op(0x29, 0x71, 0, 0x30),
        wide,
        op(0x71, 0, 0x30),
        wide,
        op(0x71, 0, 0x30),
        pDict(pText("a"), wide),
      )
    },
    "v.pt: expected at most 100000 members, got more",
  ],
  [
    "endless steps",
    () => withPickle(new Uint8Array(3e6).fill(0x4e).map((byte, i) => (i % 2 ? 0x30 : byte))),
    "expected at most 1000000 steps, got more",
  ],
  ["an endless stack", () => withPickle(new Uint8Array(3e6).fill(0x4e)), "expected at most 200000 values at a time"],
  [
    "an endless name",
    () => withPickle(pDict(concatenate([op(0x58, 0, 0, 1, 0), new Uint8Array(65536).fill(97)]), pTensor(good))),
    "v.pt: expected names of at most 1024 characters",
  ],
])("a bomb of %s is refused in time", async (_, make, message) => {
  const bytes = await make()
  const started = performance.now()
  await expect(open(bytes)).rejects.toThrow(message)
  expect(performance.now() - started).toBeLessThan(3000)
})

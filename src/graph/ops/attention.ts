/** @file Rotary embedding and attention over a cache: composite ops that each target may lower its own way. */
import { f32Data, sizeOf } from "../../tensor/index.ts"
import { type Dim, dimAdd, dimMul, dimsEqual, shapesEqual, showShape } from "../dim.ts"
import type { Graph } from "../graph.ts"
import type { OpDef, Value } from "../node.ts"
import type { AttentionAttrs, OpAttrs } from "./attrs.ts"
import { requireOneDtype } from "./elementwise.ts"

export const rotary: OpDef<OpAttrs["rotary"]> = {
  arity: 3,
  infer: ([x, cos, sin], { heads }, fail) => {
    const [batch, steps, width] = x!.shape
    const half = typeof width === "number" ? width / heads / 2 : Number.NaN
    requireOneDtype([x!, cos!, sin!], fail)
    if (x!.shape.length !== 3 || !Number.isInteger(half))
      fail(`expected [B, T, ${heads}·K] with an even K, got ${showShape(x!.shape)}`)
    for (const table of [cos!, sin!]) {
      const [tableBatch, tableSteps, tableHalf] = table.shape
      const ok =
        table.shape.length === 3 &&
        (tableBatch === 1 || dimsEqual(tableBatch!, batch!)) &&
        dimsEqual(tableSteps!, steps!) &&
        tableHalf === half
      if (!ok) fail(`expected a table [1 or ${batch}, ${steps}, ${half}], got ${showShape(table.shape)}`)
    }
    return [x!]
  },
  evaluate: ([x, cos, sin], { heads }, [out]) => {
    const [batch, steps, width] = x!.shape as [number, number, number]
    const size = width / heads
    const half = size / 2
    const data = new Float32Array(x!.data.length)
    const source = f32Data(x!)
    for (let b = 0; b < batch; b++) {
      for (let t = 0; t < steps; t++) {
        const table = ((cos!.shape[0] === 1 ? 0 : b) * steps + t) * half
        for (let h = 0; h < heads; h++) {
          for (let d = 0; d < half; d++) {
            const at = (b * steps + t) * width + h * size + d
            const c = f32Data(cos!)[table + d]!
            const s = f32Data(sin!)[table + d]!
            data[at] = source[at]! * c - source[at + half]! * s
            data[at + half] = source[at + half]! * c + source[at]! * s
          }
        }
      }
    }
    return [{ dtype: "f32", shape: out!.shape, data }]
  },
  onnx: "expand",
  expand: (g, [x, cos, sin], { heads }) => {
    const [batch, steps, width] = x!.shape
    const half = (width as number) / heads / 2
    const split = g.reshape(x!, [batch!, steps!, heads, 2, half])
    const first = g.slice(split, 3, 0, 1) // [B, T, H, 1, K/2]
    const second = g.slice(split, 3, 1, 2)
    const table = (t: Value) => g.reshape(t, [t.shape[0]!, steps!, 1, 1, half])
    const c = table(cos!)
    const s = table(sin!)
    const rotated = [g.sub(g.mul(first, c), g.mul(second, s)), g.add(g.mul(second, c), g.mul(first, s))]
    return [g.reshape(g.concat(rotated, 3), x!.shape)]
  },
  gradient: "expand",
}

/** The inputs of an attention node by name. */
export function attentionInputs(inputs: readonly Value[], { cached, masked }: AttentionAttrs) {
  const [q, k, v, ...rest] = inputs
  return {
    q: q!,
    k: k!,
    v: v!,
    past: cached ? { keys: rest[0]!, values: rest[1]! } : undefined,
    mask: masked ? rest.at(-1)! : undefined,
  }
}

/**
 * Scores of the past and of the new part are separate products, joined only for the softmax, so that a cache that the
 * runtime owns is read where it lies. Heads that share keys are rows of one matrix: [B, G, (H/G)·T, K]; then values are
 * the left operand, read along their long axis: at 4,096 positions that streams twice as fast as the other way round.
 * Where each head has keys of its own, one new position is one row, and ONNX Runtime has a kernel for a row that is the
 * left operand and not scaled: a fifth of the time of packing the cache. So queries are scaled beforehand.
 */
function expandAttention(g: Graph, inputs: readonly Value[], attrs: AttentionAttrs): Value[] {
  const { heads, kvHeads, scale } = attrs
  const { q, k, v, past, mask } = attentionInputs(inputs, attrs)
  const [batch, steps, width] = q.shape
  const size = (width as number) / heads
  const shared = heads / kvHeads
  const split = (x: Value, count: number) => g.transpose(g.reshape(x, [batch!, x.shape[1]!, count, size]), [0, 2, 1, 3])
  const rows = dimMul(shared, steps!)
  const queries = g.reshape(split(g.scale(q, scale), heads), [batch!, kvHeads, rows, size]) // [B, G, (H/G)·T, K]
  const keys = split(k, kvHeads) // [B, G, T, K]
  const values = split(v, kvHeads)
  const score = (against: Value) => g.matmul(queries, against, { transB: true })
  const scores = past ? g.concat([score(past.keys), score(keys)], 3) : score(keys) // [B, G, (H/G)·T, S + T]
  const weights = softmaxScores(g, scores, steps!, shared, mask)
  const length = past ? past.keys.shape[2]! : 0
  const fresh = past ? g.slice(weights, 3, length, scores.shape[3]!) : weights
  const spent = past && g.slice(weights, 3, 0, length) // [B, G, (H/G)·T, S]
  if (!past || shared === 1) {
    const mixed = g.matmul(fresh, values) // [B, G, (H/G)·T, K]
    const all = past ? g.add(g.matmul(spent!, past.values, { transB: true }), mixed) : mixed
    const perHead = g.reshape(all, [batch!, heads, steps!, size])
    return [g.reshape(g.transpose(perHead, [0, 2, 1, 3]), q.shape)]
  }
  const fromPast = g.matmul(past.values, spent!, { transB: true }) // [B, G, K, (H/G)·T]
  const mixed = g.add(fromPast, g.matmul(values, fresh, { transA: true, transB: true }))
  const perHead = g.reshape(mixed, [batch!, kvHeads, size, shared, steps!])
  return [g.reshape(g.transpose(perHead, [0, 4, 1, 3, 2]), q.shape)]
}

/** Softmax over the columns of [B, G, (H/G)·T, columns]; the mask is the same for all heads. */
function softmaxScores(g: Graph, scores: Value, steps: Dim, shared: number, mask: Value | undefined): Value {
  if (!mask) return g.softmax(scores, 3)
  if (shared === 1) return g.softmax(g.add(scores, mask), 3)
  const [batch, kvHeads, , columns] = scores.shape
  const perHead = g.reshape(scores, [batch!, kvHeads!, shared, steps, columns!])
  const wide = g.reshape(mask, [mask.shape[0]!, 1, 1, mask.shape[2]!, mask.shape[3]!])
  return g.reshape(g.softmax(g.add(perHead, wide), 4), scores.shape)
}

export const attention: OpDef<AttentionAttrs> = {
  arity: [3, 6],
  infer: (inputs, attrs, fail) => {
    const expected = 3 + (attrs.cached ? 2 : 0) + (attrs.masked ? 1 : 0)
    if (inputs.length !== expected) fail(`expected ${expected} inputs, got ${inputs.length}`)
    requireOneDtype(inputs, fail)
    const { q, k, v, past, mask } = attentionInputs(inputs as Value[], attrs)
    const size = (q.shape[2] as number) / attrs.heads
    const kvWidth = size * attrs.kvHeads
    if (q.shape.length !== 3 || !Number.isInteger(size) || attrs.heads % attrs.kvHeads !== 0) {
      fail(
        `expected queries [B, T, ${attrs.heads}·K] and heads in groups of ${attrs.kvHeads}, got ${showShape(q.shape)}`,
      )
    }
    for (const [name, x] of [
      ["keys", k],
      ["values", v],
    ] as const) {
      const ok =
        x.shape.length === 3 &&
        dimsEqual(x.shape[0]!, q.shape[0]!) &&
        x.shape[2] === kvWidth &&
        dimsEqual(x.shape[1]!, k.shape[1]!)
      if (!ok) fail(`expected ${name} [${q.shape[0]}, ${k.shape[1]}, ${kvWidth}], got ${showShape(x.shape)}`)
    }
    if (past) {
      const length = past.keys.shape[2]!
      const wanted = {
        keys: [q.shape[0]!, attrs.kvHeads, length, size],
        values: [q.shape[0]!, attrs.kvHeads, size, length],
      }
      for (const part of ["keys", "values"] as const) {
        if (!shapesEqual(past[part].shape, wanted[part])) {
          const names = part === "keys" ? `S, ${size}` : `${size}, S`
          fail(
            `expected cached ${part} [${q.shape[0]}, ${attrs.kvHeads}, ${names}], got ${showShape(past[part].shape)}`,
          )
        }
      }
    }
    if (mask) {
      const columns = past ? dimAdd(past.keys.shape[2]!, k.shape[1]!) : k.shape[1]!
      const [b, one, rows, width] = mask.shape
      const ok =
        mask.shape.length === 4 &&
        (b === 1 || dimsEqual(b!, q.shape[0]!)) &&
        one === 1 &&
        (rows === 1 || dimsEqual(rows!, q.shape[1]!)) &&
        dimsEqual(width!, columns)
      if (!ok)
        fail(`expected a mask [1 or ${q.shape[0]}, 1, 1 or ${q.shape[1]}, ${columns}], got ${showShape(mask.shape)}`)
    }
    return [q]
  },
  evaluate: (inputs, attrs, [out]) => {
    const past = attrs.cached ? [inputs[3]!, inputs[4]!] : undefined
    const mask = attrs.masked ? inputs.at(-1)! : undefined
    const [q, k, v] = inputs
    const [batch, steps, width] = q!.shape as [number, number, number]
    const { heads, kvHeads, scale } = attrs
    const size = width / heads
    const pastLength = past?.[0]?.shape[2] ?? 0
    const fresh = k!.shape[1]!
    const columns = pastLength + fresh
    const data = new Float32Array(sizeOf(out!.shape))
    const line = new Float64Array(columns)
    /** Row of new position j of group g. */
    const newRow = (b: number, g: number, j: number) => ((b * fresh + j - pastLength) * kvHeads + g) * size
    const keyAt = (b: number, g: number, j: number, d: number) =>
      j < pastLength ? pastKeys![((b * kvHeads + g) * pastLength + j) * size + d]! : f32Data(k!)[newRow(b, g, j) + d]!
    const valueAt = (b: number, g: number, j: number, d: number) =>
      j < pastLength ? pastValues![((b * kvHeads + g) * size + d) * pastLength + j]! : f32Data(v!)[newRow(b, g, j) + d]!
    const pastKeys = past && f32Data(past[0]!)
    const pastValues = past && f32Data(past[1]!)
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) {
        const g = Math.floor(h / (heads / kvHeads))
        for (let t = 0; t < steps; t++) {
          const row = (b * steps + t) * width + h * size
          let max = Number.NEGATIVE_INFINITY
          for (let j = 0; j < columns; j++) {
            let sum = 0
            for (let d = 0; d < size; d++) sum += f32Data(q!)[row + d]! * keyAt(b, g, j, d)
            sum *= scale
            if (mask) {
              const [maskBatch, , maskRows] = mask.shape as [number, number, number, number]
              sum += f32Data(mask)[((maskBatch === 1 ? 0 : b) * maskRows + (maskRows === 1 ? 0 : t)) * columns + j]!
            }
            line[j] = sum
            max = Math.max(max, sum)
          }
          let total = 0
          for (let j = 0; j < columns; j++) total += line[j] = Math.exp(line[j]! - max)
          for (let d = 0; d < size; d++) {
            let sum = 0
            for (let j = 0; j < columns; j++) sum += line[j]! * valueAt(b, g, j, d)
            data[row + d] = sum / total
          }
        }
      }
    }
    return [{ dtype: "f32", shape: out!.shape, data }]
  },
  onnx: "expand",
  expand: expandAttention,
  gradient: "expand",
}

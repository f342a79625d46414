/** @file The executor that runs graphs in the reference interpreter: no native code, exact cache lengths. */
import { type ActivationBits, type Graph, lowerFor, type Node, rewrite, verify } from "../graph/index.ts"
import type { HostTensor } from "../tensor/index.ts"
import { BackendError } from "../util/index.ts"
import type { Executor, Feeds, Program, WeightStore } from "./executor.ts"
import { interpret } from "./interpreter.ts"
import { KvCache } from "./kv-cache.ts"
import { hasStorage, takeNewRows, withCache } from "./prepare.ts"

type ReferenceOptions = { readonly activationBits?: ActivationBits }

type ReferenceProgram = Program & { weights: ((name: string) => HostTensor) | undefined }

/**
 * Graphs run unlowered, except that quantized linear layers compute with their codes.
 * @param options what inputs of int8 products are rounded to; 8 bits unless another executor is to be followed
 */
export function createReferenceExecutor({ activationBits = 8 }: ReferenceOptions = {}): Executor {
  const programs = new Set<ReferenceProgram>()
  return {
    device: "reference",
    activationBits: async () => activationBits,
    async compile(graph: Graph, weights: WeightStore) {
      // Quantized linear weights must be lowered to be run as stored.
      const runnable = hasStorage(graph, weights, ["int8", "int8-blocks", "int4"])
        ? lowerFor(graph, { target: "cpu", storage: weights.storage, activationBits })
        : rewrite(graph, [])
      verify(runnable)
      const types = new Map<string, Node<"weight">["attrs"]>()
      for (const node of runnable.nodes) {
        if (node.op !== "weight") continue
        const attrs = node.attrs as Node<"weight">["attrs"]
        types.set(attrs.name, attrs)
      }
      const loaded = new Map<string, HostTensor>()
      const lookUp = (name: string): HostTensor => {
        const { dtype, shape } = types.get(name)!
        const known = loaded.get(name) ?? weights.read(name, dtype, shape)
        loaded.set(name, known)
        return known
      }
      const program: ReferenceProgram = {
        graph: runnable,
        weights: lookUp,
        async release() {
          programs.delete(program)
          program.weights = undefined
          loaded.clear()
        },
      }
      programs.add(program)
      return program
    },
    createCache: (spec, rows) => new KvCache(spec, rows, 1),
    async run(program, feeds, options = {}): Promise<Feeds> {
      const { weights } = program as ReferenceProgram
      if (!weights) throw new BackendError(`${program.graph.name}: expected a live program, got a released one`)
      const outputs = interpret(program.graph, withCache(program.graph, feeds, options), weights)
      return takeNewRows(program.graph, outputs, options)
    },
    async [Symbol.asyncDispose]() {
      for (const program of [...programs]) await program.release()
    },
  }
}

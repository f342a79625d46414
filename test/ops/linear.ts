/** @file Cases of matrix products, convolutions, rotary embedding and attention. */
import fc from "fast-check"
import { type Dim, dimAdd, dimFloorDiv, type Shape } from "../../src/graph/index.ts"
import { anySize, floats, narrowed, normal, sizesOf, someSize } from "./arbitraries.ts"
import type { OpCase, OpInput, Sample, Sizes } from "./harness.ts"

const product = fc.record({
  batch: fc.constantFrom<Dim[]>([], ["a"], ["a", "b"]),
  transA: fc.boolean(),
  transB: fc.boolean(),
  alpha: fc.constantFrom(1, 0.5),
  sizes: sizesOf({ a: anySize, b: anySize, m: anySize, n: anySize, k: anySize }),
})

function hasEmpty(sizes: readonly Sizes[]): boolean {
  return sizes.some((one) => Object.values(one).includes(0))
}

/** A fault of its product of transposed or scaled operands. */
function productTrouble(sizes: readonly Sizes[], left: readonly Dim[], right: readonly Dim[]): string | undefined {
  const broadcasts = left.some((dim, axis) => dim !== right[axis])
  return broadcasts && hasEmpty(sizes) ? "it does not broadcast batches of empty matrices, or empty batches" : undefined
}

function productCase(op: "matmul" | "fusedMatMul", gradient: OpCase["gradient"]): OpCase {
  const sample = product
    .chain((all) => fc.tuple(fc.constant(all), narrowed(all.batch), narrowed(all.batch)))
    .map(([{ sizes, ...attrs }, left, right]): Sample => {
      const { transA, transB, alpha } = attrs
      return {
        sizes,
        refusedByOrt: productTrouble(sizes, left, right),
        inputs: {
          a: floats([...left, ...(transA ? ["k", "m"] : ["m", "k"])]),
          b: floats([...right, ...(transB ? ["n", "k"] : ["k", "n"])]),
        },
        apply: (g, { a, b }) => g.apply(op, [a!, b!], { transA, transB, alpha }),
      }
    })
  return { sample, gradient, twice: gradient === "finite" }
}

const linear: OpCase = {
  gradient: "finite",
  sample: fc
    .tuple(
      fc.constantFrom<Dim[]>(["a"], ["a", "b"], ["a", 1, "b"]),
      fc.boolean(),
      sizesOf({ a: anySize, b: anySize }),
      someSize,
      someSize,
    )
    .map(([lead, biased, sizes, inner, outer]): Sample => {
      const inputs: { [name: string]: OpInput } = { x: floats([...lead, inner]), weight: floats([outer, inner]) }
      if (biased) inputs.bias = floats([outer])
      const trouble = biased && lead.length > 1 && hasEmpty(sizes)
      return {
        sizes,
        inputs,
        refusedByOrt: trouble ? "its optimizer reshapes empty rows wrongly where it joins product and bias" : undefined,
        apply: (g, { x, weight, bias }) => g.linear(x!, weight!, bias),
      }
    }),
}

const convolution = fc
  .record({
    kernel: fc.constantFrom(1, 2, 3, 5),
    stride: fc.constantFrom(1, 2, 3),
    dilation: fc.constantFrom(1, 2),
    padding: fc.constantFrom(0, 1, 3),
    groups: fc.constantFrom(1, 2, 3),
    perGroup: fc.constantFrom(1, 2),
    outPerGroup: fc.constantFrom(1, 2),
  })
  .chain((attrs) => {
    const shortest = Math.max(1, attrs.dilation * (attrs.kernel - 1) + 1 - 2 * attrs.padding)
    const length = fc.integer({ min: shortest, max: shortest + 6 })
    return fc.tuple(fc.constant(attrs), sizesOf({ b: someSize, l: length }), fc.boolean())
  })
  .map(([{ kernel, perGroup, outPerGroup, ...conv }, sizes, biased]) => ({
    kernel,
    conv,
    sizes,
    biased,
    channels: perGroup * conv.groups,
    outChannels: outPerGroup * conv.groups,
    weight: [outPerGroup * conv.groups, perGroup, kernel] as Shape,
    outLength: dimAdd(dimFloorDiv(dimAdd("l", 2 * conv.padding - conv.dilation * (kernel - 1) - 1), conv.stride), 1),
  }))

const conv1d: OpCase = {
  gradient: "finite",
  runs: 40,
  sample: convolution.map(({ conv, sizes, biased, channels, outChannels, weight }): Sample => {
    const inputs: { [name: string]: OpInput } = { x: floats(["b", channels, "l"]), weight: floats(weight) }
    if (biased) inputs.bias = floats([outChannels])
    return { sizes, inputs, apply: (g, { x, weight: w, bias }) => g.conv1d(x!, w!, bias, conv) }
  }),
}

/** The names of the input's length come from an input of its own. */
const conv1dInputGrad: OpCase = {
  gradient: "none",
  sample: convolution.map(
    ({ conv, sizes, outChannels, weight, outLength }): Sample => ({
      sizes,
      inputs: {
        weight: floats(weight),
        d: floats(["b", outChannels, outLength]),
        like: { ...floats(["l"]), smooth: false },
      },
      apply: (g, { weight: w, d }, dim) => g.apply("conv1dInputGrad", [w!, d!], { ...conv, length: dim("l") }),
    }),
  ),
}

const conv1dWeightGrad: OpCase = {
  gradient: "none",
  sample: convolution.map(
    ({ conv, sizes, channels, outChannels, kernel, outLength }): Sample => ({
      sizes,
      inputs: { x: floats(["b", channels, "l"]), d: floats(["b", outChannels, outLength]) },
      apply: (g, { x, d }) => g.apply("conv1dWeightGrad", [x!, d!], { ...conv, kernel }),
    }),
  ),
}

function rotaryCase(
  op: "rotary" | "rotaryEmbedding",
  gradient: OpCase["gradient"],
  tables: fc.Arbitrary<Dim>,
  steps = anySize,
): OpCase {
  const sample = fc
    .tuple(tables, fc.constantFrom(1, 2, 3), fc.constantFrom(2, 4, 8), sizesOf({ b: someSize, t: steps }))
    .map(
      ([batch, heads, size, sizes]): Sample => ({
        sizes,
        inputs: {
          x: floats(["b", "t", heads * size]),
          cos: floats([batch, "t", size / 2]),
          sin: floats([batch, "t", size / 2]),
        },
        apply: (g, { x, cos, sin }) => g.apply(op, [x!, cos!, sin!], { heads }),
      }),
    )
  return { sample, gradient }
}

const attention: OpCase = {
  gradient: "finite",
  twice: true,
  runs: 30,
  sample: fc
    .record({
      groups: fc.constantFrom(1, 2),
      shared: fc.constantFrom(1, 2, 3),
      size: fc.constantFrom(1, 2, 4),
      cached: fc.boolean(),
      mask: fc.constantFrom<Shape | undefined>(undefined, [1, 1], ["b", 1], ["b", "t"], [1, "t"]),
      // Never an empty cache: ONNX Runtime leaves products over an empty inner dim undefined when an operand is
      // transposed, and its executor keeps spare capacity. The interpreter's empty caches are tested in inference.
      sizes: sizesOf({ b: someSize, t: someSize, l: someSize, s: fc.constantFrom(1, 1, 2, 3) }),
    })
    .map(({ groups, shared, size, cached, mask, sizes }): Sample => {
      const heads = groups * shared
      const fresh = cached ? "t" : "l"
      const inputs: { [name: string]: OpInput } = {
        q: floats(["b", "t", heads * size]),
        k: floats(["b", fresh, groups * size]),
        v: floats(["b", fresh, groups * size]),
      }
      if (cached) {
        inputs.pastKeys = floats(["b", groups, "s", size])
        inputs.pastValues = floats(["b", groups, size, "s"])
      }
      const columns = cached ? dimAdd("s", "t") : "l"
      if (mask) {
        inputs.mask = {
          shape: [mask[0]!, 1, mask[1]!, columns],
          fill: (random) => (random() < 0.3 ? -8 : normal(random, {})),
          smooth: false,
        }
      }
      const attrs = { heads, kvHeads: groups, scale: 0.7, cached, masked: mask !== undefined }
      return { sizes, inputs, apply: (g, values) => g.apply("attention", Object.values(values), attrs) }
    }),
}

export { productCase, rotaryCase }
export const PRODUCTS = { matmul: productCase("matmul", "finite"), linear } satisfies { [name: string]: OpCase }
export const CONVOLUTIONS = { conv1d, conv1dInputGrad, conv1dWeightGrad } satisfies { [name: string]: OpCase }
export const ATTENTION = {
  rotary: rotaryCase("rotary", "finite", fc.constantFrom<Dim>(1, "b")),
  attention,
} satisfies { [name: string]: OpCase }

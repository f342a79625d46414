/** @file Random JSON Schemas that a grammar can keep. */
import fc from "fast-check"

const leaf = fc.oneof(
  fc.record({ type: fc.constantFrom("string", "boolean", "null", "integer", "number") }),
  fc.record({ enum: fc.array(fc.oneof(fc.string(), fc.integer(), fc.constant(null)), { minLength: 1, maxLength: 5 }) }),
  fc.record({ const: fc.oneof(fc.string({ unit: "binary" }), fc.double({ noNaN: true, noDefaultInfinity: true })) }),
  fc
    .tuple(fc.integer({ min: -3000, max: 3000 }), fc.nat(5000))
    .map(([minimum, more]) => ({ type: "integer", minimum, maximum: minimum + more })),
  fc
    .tuple(fc.integer({ min: -3000, max: 3000 }), fc.integer({ min: 1, max: 500 }))
    .map(([low, more]) => ({ type: "number", minimum: low / 100, maximum: (low + more) / 100 })),
  fc.integer({ min: -9, max: 9 }).map((bound) => ({ type: "number", exclusiveMaximum: bound / 2 })),
)
const schemas = fc.letrec<{ any: object; object: object; array: object }>((tie) => ({
  any: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaf,
    tie("object"),
    tie("array"),
    fc.record({ anyOf: fc.array(tie("any"), { minLength: 1, maxLength: 3 }) }),
  ),
  object: fc
    .dictionary(
      fc.string({ minLength: 1, maxLength: 6 }).filter((name) => name !== "__proto__"),
      tie("any"),
      { maxKeys: 4 },
    )
    .chain((properties) =>
      fc.record({
        type: fc.constant("object"),
        properties: fc.constant(properties),
        required: fc.subarray(Object.keys(properties)),
        additionalProperties: fc.constant(false),
      }),
    ),
  array: fc
    .record({ items: tie("any"), minItems: fc.nat(2), more: fc.nat(3) })
    .map(({ items, minItems, more }) => ({ type: "array", items, minItems, maxItems: minItems + more })),
}))

/** Objects, lists and values, a few levels deep. */
export const anySchema = schemas.any

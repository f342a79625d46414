/** @file Random values of a zod schema, for laws over every wire message. Knows the parts of zod that our schemas use. */
import fc from "fast-check"
import { z } from "zod"

const MOST = 1e9

/** Values that `schema` accepts. @throws Error for a kind of schema that is not known here */
export function valuesOf(schema: z.core.$ZodType): fc.Arbitrary<unknown> {
  if (schema instanceof z.ZodObject) {
    const entries = Object.entries(schema.shape as Record<string, z.core.$ZodType>)
    const optional = new Set(entries.filter(([, field]) => z.safeParse(field, undefined).success).map(([key]) => key))
    const fields = Object.fromEntries(
      entries.map(([key, field]) => [key, valuesOf(field).filter((value) => value !== undefined)]),
    )
    const requiredKeys = entries.map(([key]) => key).filter((key) => !optional.has(key))
    return fc.record(fields, { requiredKeys, noNullPrototype: true })
  }
  if (schema instanceof z.ZodUnion) return fc.oneof(...schema.options.map((one: z.core.$ZodType) => valuesOf(one)))
  if (schema instanceof z.ZodOptional) return valuesOf(schema.unwrap())
  if (schema instanceof z.ZodNullable) return fc.option(valuesOf(schema.unwrap()))
  if (schema instanceof z.ZodLiteral) return fc.constantFrom(...schema.values)
  if (schema instanceof z.ZodEnum) return fc.constantFrom(...schema.options)
  if (schema instanceof z.ZodArray) {
    const only = z.safeParse(schema, [schema.element instanceof z.ZodEnum ? schema.element.options[0] : null, null])
    const exact = schema.element instanceof z.ZodEnum && !only.success && !z.safeParse(schema, []).success
    return fc.array(valuesOf(schema.element), exact ? { minLength: 1, maxLength: 1 } : { maxLength: 3 })
  }
  if (schema instanceof z.ZodRecord)
    return fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), valuesOf(schema.valueType), {
      maxKeys: 3,
      noNullPrototype: true,
    })
  if (schema instanceof z.ZodNumber) {
    const min = Math.max(schema.minValue ?? -MOST, -MOST)
    const max = Math.min(schema.maxValue ?? MOST, MOST)
    if (schema.isInt) return fc.integer({ min, max })
    return fc.double({ min, max, noNaN: true }).map((value) => value + 0) // JSON has no -0
  }
  if (schema instanceof z.ZodString) return fc.string({ minLength: schema.minLength ?? 0, maxLength: 20 })
  if (schema instanceof z.ZodBoolean) return fc.boolean()
  if (schema instanceof z.ZodNull) return fc.constant(null)
  if (schema instanceof z.ZodUnknown) return fc.constantFrom("auto", null, 1)
  throw new Error(`valuesOf: expected a known kind of schema, got ${schema.constructor.name}`)
}

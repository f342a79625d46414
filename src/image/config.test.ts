import { expect, test } from "vitest"
import { parseImageConfig } from "./config.ts"
import { imagePlaceholder } from "./placeholders.ts"
import { goldenJson } from "./test-goldens.node.ts"

const file = goldenJson<Record<string, unknown>>("checkpoint/preprocessor_config.json")

test("the settings come from the file", () => {
  const config = parseImageConfig({ ...file, patch_size: 16, im_start: "[I]", norm_mean: [0.1, 0.2, 0.3] })
  expect(config.patchSize).toBe(16)
  expect(config.mean).toEqual([0.1, 0.2, 0.3])
  expect(config.tokens.imageStart).toBe("[I]")
  expect(config.tokens.featureSize).toBe(file.image_feature_size)
})

test("absent keys take the official processor's defaults: images are not numbered then", () => {
  expect(parseImageConfig({})).toEqual({ ...parseImageConfig(file), useImageId: false })
  const { slice_mode, unk, norm_std, ...rest } = file
  expect(parseImageConfig(rest)).toEqual(parseImageConfig(file))
})

test("a placeholder uses the names and counts of the config", () => {
  const { tokens } = parseImageConfig({
    ...file,
    im_start: "[",
    im_end: "]",
    slice_start: "(",
    slice_end: ")",
    im_id_start: "#",
    im_id_end: ":",
    unk: "u",
    image_feature_size: 3,
  })
  expect(imagePlaceholder(tokens)).toBe("[uuu]")
  expect(imagePlaceholder(tokens, undefined, 0)).toBe("#0:[uuu]")
  expect(imagePlaceholder(tokens, { cols: 2, rows: 3 }, 12)).toBe("#12:[uuu](uuu)(uuu)\n(uuu)(uuu)\n(uuu)(uuu)")
})

test.each([
  [{ patch_size: 0 }, "patch_size to be a positive whole number, got 0"],
  [{ slice_mode: "yes" }, 'slice_mode to be true or false, got "yes"'],
  [{ unk: "" }, 'unk to be a non-empty string, got ""'],
  [{ norm_std: [1, 0, 1] }, "norm_std to be 3 positive numbers, got [1,0,1]"],
  [{ norm_mean: [1, 0] }, "norm_mean to be 3 numbers, got [1,0]"],
])("error %j", (change, expected) => {
  expect(() => parseImageConfig({ ...file, ...change }, "dir/preprocessor_config.json")).toThrow(
    `dir/preprocessor_config.json: expected ${expected} (take the model's own file)`,
  )
})

test("something that is no object is refused", () => {
  expect(() => parseImageConfig(null)).toThrow("preprocessor_config.json: expected an object, got null")
  expect(() => parseImageConfig([1])).toThrow("preprocessor_config.json: expected an object, got [1]")
})

/** @file What codes in blocks stand for: one loop for every width of code. */

/**
 * The weights that codes and scales stand for. // [O, I]
 * @param scales a scale for each block, [O, blocks]
 * @param codeAt the signed code at a place of the padded rows, [O, blocks · blockSize]
 */
export function dequantizeBlocks(
  scales: Float32Array,
  { width, blockSize }: { readonly width: number; readonly blockSize: number },
  codeAt: (at: number) => number,
): Float32Array {
  const blocks = Math.ceil(width / blockSize)
  const rows = scales.length / blocks
  const out = new Float32Array(rows * width)
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < width; i++) {
      const scale = scales[row * blocks + Math.floor(i / blockSize)]!
      out[row * width + i] = codeAt(row * blocks * blockSize + i) * scale
    }
  }
  return out
}

/**
 * @file The natural logarithm, correctly rounded. `Math.log` may be one unit off in the last place and differs between
 * engines, which decides ties between slice grids (such as 6x1 against 3x2 for an image three times as wide as high).
 */

const BITS = 128n // of fraction; 75 more than the result keeps
const ONE = 1n << BITS
const LN_2 = 2n * inverseHyperbolicTangent(ONE / 3n)

/** Fixed point to fixed point, |z| <= 1/2, by its power series. */
function inverseHyperbolicTangent(z: bigint): bigint {
  const square = (z * z) >> BITS
  let sum = 0n
  let power = z
  for (let odd = 1n; power !== 0n && power !== -1n; odd += 2n) {
    sum += power / odd
    power = (power * square) >> BITS
  }
  return sum
}

/** ln(x) of a positive, finite, not subnormal number: the f64 nearest to the true value. */
export function exactLog(x: number): number {
  const exponent = Math.floor(Math.log2(x))
  const mantissa = BigInt((x / 2 ** exponent) * 2 ** 60) // exact: powers of two only
  const unit = 1n << 60n
  const fraction = inverseHyperbolicTangent(((mantissa - unit) << BITS) / (mantissa + unit))
  return Number(BigInt(exponent) * LN_2 + 2n * fraction) / 2 ** Number(BITS)
}

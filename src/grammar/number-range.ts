/** @file Grammar of the numbers between two bounds, in plain decimal notation, digit by digit. */

/** Digits that a place may have, first to last. */
type Place = readonly [number, number]

/** Whole numbers of more digits are not exact in JavaScript. */
export const MAX_DIGITS = 15
/** Decimals that a bound may have. */
const MAX_SCALE = 6

/**
 * Alternatives in EBNF for numbers (for the negative ones without their sign) from `lowest` to `highest`, which have at most {@link MAX_DIGITS} digits; undefined when
 * there is none, or when a bound has too many decimals. For `whole` numbers exactly all of them; others keep a notation
 * without exponent, and the bound itself has no further decimals.
 */
export function numberRange(lowest: number | undefined, highest: number | undefined, whole: boolean) {
  const scale = whole ? 0 : Math.max(decimals(lowest ?? 0), decimals(highest ?? 0))
  if (scale > MAX_SCALE) return undefined
  const limit = 10 ** MAX_DIGITS - 1
  const low = Math.max(-limit, Math.ceil(roundOff((lowest ?? -limit) * 10 ** scale)))
  const high = Math.min(limit, Math.floor(roundOff((highest ?? limit) * 10 ** scale)))
  const tail = whole ? "" : scale === 0 ? ' ("." [0-9]{1,6})?' : " [0-9]{0,6}"
  const side = (from: number, to: number): string[] => {
    if (from > to) return []
    const inner = tail === "" ? [] : placesBetween(from, to - 1, scale).map((one) => print(one, scale) + tail)
    const exact = placesBetween(tail === "" ? from : to, to, scale).map((one) => print(one, scale))
    return [...inner, ...exact]
  }
  const positive = side(Math.max(low, 0), high)
  const negative = side(Math.max(1, -high), -low)
  return positive.length + negative.length > 0 ? { positive, negative } : undefined
}

function decimals(value: number): number {
  const text = String(value)
  return text.includes("e") ? (Number.isInteger(value) ? 0 : MAX_SCALE + 1) : (text.split(".")[1]?.length ?? 0)
}

/** Takes back what multiplying decimals by powers of ten added. */
const roundOff = (value: number) => (Math.abs(value - Math.round(value)) < 1e-6 ? Math.round(value) : value)

/** Numbers of up to 15 digits between two whole ones, as lists of places; at least one digit before the scaled ones. */
function placesBetween(from: number, to: number, scale: number): Place[][] {
  if (from > to) return []
  const first = String(from).padStart(scale + 1, "0")
  const last = String(to).padStart(scale + 1, "0")
  const found: Place[][] = []
  for (let length = first.length; length <= last.length; length++) {
    const low = length === first.length ? first : `1${"0".repeat(length - 1)}`
    const high = length === last.length ? last : "9".repeat(length)
    found.push(...sameLength(low, high))
  }
  return found
}

function sameLength(low: string, high: string): Place[][] {
  if (low === "") return [[]]
  const [a, b] = [Number(low[0]), Number(high[0])]
  const rest = low.length - 1
  const before = (digit: number, tails: Place[][]) => tails.map((tail): Place[] => [[digit, digit], ...tail])
  const [zeros, nines] = ["0".repeat(rest), "9".repeat(rest)]
  if (a === b) return before(a, sameLength(low.slice(1), high.slice(1)))
  const from = low.slice(1) === zeros ? a : a + 1
  const to = high.slice(1) === nines ? b : b - 1
  const any = Array.from({ length: rest }, (): Place => [0, 9])
  return [
    ...(from === a ? [] : before(a, sameLength(low.slice(1), nines))),
    ...(from <= to ? [[[from, to] as Place, ...any]] : []),
    ...(to === b ? [] : before(b, sameLength(zeros, high.slice(1)))),
  ]
}

function print(places: readonly Place[], scale: number): string {
  const parts = places.map(([from, to]) => (from === to ? `"${from}"` : `[${from}-${to}]`))
  if (scale > 0) parts.splice(parts.length - scale, 0, '"."')
  return parts.join(" ")
}

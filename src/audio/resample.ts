/**
 * @file Sample-rate conversion of a running signal, in chunks of any size: the chunks' outputs joined are bit for bit
 * the output of one big chunk. Output sample n stands at input time n · fromHz / toHz (the filter's delay is taken
 * out), and N input samples give exactly ceil(N · toHz / fromHz) output samples.
 */
import { InputError, runAtOnce } from "../util/index.ts"
import { concatPcm } from "./pcm.ts"
import { type ResampleFilter, resampleFilter } from "./resample-filter.ts"

/** A running conversion of one mono signal. */
export type Resampler = {
  readonly fromHz: number
  readonly toHz: number
  /** Input samples that must follow a moment before its output can be made: the algorithm's delay. */
  readonly lookAheadSamples: number
  /** @returns the output samples that are complete now; a new array */
  push(pcm: Float32Array): Float32Array
  /** Ends the signal as if silence followed. @returns the rest; afterwards a new signal may begin */
  flush(): Float32Array
  /** Where the signal stands, as plain data: another resampler of these rates goes on from it. */
  readonly state: ResamplerState
}

export type ResamplerState = {
  readonly fromHz: number
  readonly toHz: number
  /** Input from the first tap of the next output on. */
  readonly pending: Float32Array
  /** Samples in and out so far. */
  readonly received: number
  readonly produced: number
  /** The next output lies between input samples `base` and `base + 1`, at the fraction phase · gcd / toHz. */
  readonly base: number
  readonly phase: number
}

export const MIN_RATE_HZ = 8_000
export const MAX_RATE_HZ = 192_000
/** Input of one step: less than a tenth of a second's work. */
const STEP_SECONDS = 10

/**
 * A signal of these rates; with a state of them, one that goes on, bit for bit.
 * @throws InputError when a rate is not a whole number from 8,000 to 192,000
 */
export function createResampler(rates: { fromHz: number; toHz: number } | ResamplerState): Resampler {
  const { fromHz, toHz } = rates
  checkRate("fromHz", fromHz)
  checkRate("toHz", toHz)
  if (fromHz === toHz) {
    const empty = () => new Float32Array(0)
    const state = { fromHz, toHz, pending: empty(), received: 0, produced: 0, base: 0, phase: 0 }
    return { fromHz, toHz, lookAheadSamples: 0, push: (pcm) => pcm.slice(), flush: empty, state }
  }
  const divisor = gcd(fromHz, toHz)
  const up = toHz / divisor
  const down = fromHz / divisor
  const filter = cachedFilter(up, down)
  const { taps } = filter
  const halfTaps = taps / 2

  const silence = () => new Float32Array(halfTaps - 1) // before the start
  const start = { pending: silence(), received: 0, produced: 0, base: 0, phase: 0 }
  let { pending, received, produced, base, phase } = "pending" in rates ? rates : start
  const reset = () => {
    pending = silence()
    received = produced = base = phase = 0
  }

  /** Appends samples and makes all outputs up to number `target`. */
  const advance = (pcm: Float32Array, target: number): Float32Array => {
    const input = new Float32Array(pending.length + pcm.length)
    input.set(pending)
    input.set(pcm, pending.length)
    const out = new Float32Array(Math.max(0, target - produced))
    const first = base
    for (let n = 0; n < out.length; n++) {
      out[n] = filterAt(filter, input, base - first, (phase * filter.phases) / up)
      phase += down
      const whole = Math.floor(phase / up)
      base += whole
      phase -= whole * up
    }
    produced += out.length
    pending = input.slice(base - first)
    return out
  }

  return {
    fromHz,
    toHz,
    lookAheadSamples: halfTaps,
    push(pcm) {
      received += pcm.length
      return advance(pcm, Math.ceil(((received - halfTaps) * up) / down))
    },
    flush() {
      const rest = advance(new Float32Array(halfTaps), Math.ceil((received * up) / down))
      reset()
      return rest
    },
    get state() {
      return { fromHz, toHz, pending, received, produced, base, phase }
    },
  }
}

/** Converts a whole recording. @throws InputError as {@link createResampler} */
export function resample(pcm: Float32Array, fromHz: number, toHz: number): Float32Array {
  return runAtOnce(resampleSteps(pcm, fromHz, toHz))
}

/** {@link resample} in steps of bounded length: ten minutes take seconds. */
export function* resampleSteps(
  pcm: Float32Array,
  fromHz: number,
  toHz: number,
): Generator<undefined, Float32Array, void> {
  const resampler = createResampler({ fromHz, toHz })
  const parts: Float32Array[] = []
  for (let at = 0; at < pcm.length; at += STEP_SECONDS * fromHz) {
    if (at > 0) yield undefined
    parts.push(resampler.push(pcm.subarray(at, at + STEP_SECONDS * fromHz)))
  }
  return concatPcm([...parts, resampler.flush()])
}

/** @param position row of the table, between two rows when the table does not hold every phase */
function filterAt({ table, taps }: ResampleFilter, input: Float32Array, start: number, position: number): number {
  const low = Math.floor(position)
  const a = dot(table, low * taps, input, start, taps)
  if (position === low) return a
  const b = dot(table, (low + 1) * taps, input, start, taps)
  return a + (position - low) * (b - a)
}

/** Four running sums, so that additions need not wait for each other; `taps` is a multiple of 4. */
function dot(table: Float32Array, row: number, input: Float32Array, start: number, taps: number): number {
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  for (let k = 0; k < taps; k += 4) {
    a += table[row + k]! * input[start + k]!
    b += table[row + k + 1]! * input[start + k + 1]!
    c += table[row + k + 2]! * input[start + k + 2]!
    d += table[row + k + 3]! * input[start + k + 3]!
  }
  return a + b + (c + d)
}

// Tables take milliseconds to design and calls come at the same few rates: the last ones are kept.
const FILTERS = new Map<string, ResampleFilter>()
const MAX_FILTERS = 8

function cachedFilter(up: number, down: number): ResampleFilter {
  const key = `${up}/${down}`
  const filter = FILTERS.get(key) ?? resampleFilter(up, down)
  FILTERS.delete(key) // put it at the end of the insertion order: recently used
  FILTERS.set(key, filter)
  for (const oldest of FILTERS.keys()) {
    if (FILTERS.size <= MAX_FILTERS) break
    FILTERS.delete(oldest)
  }
  return filter
}

function checkRate(name: string, rateHz: number): void {
  if (!Number.isInteger(rateHz) || rateHz < MIN_RATE_HZ || rateHz > MAX_RATE_HZ) {
    throw new InputError(`resample: expected ${name} from ${MIN_RATE_HZ} to ${MAX_RATE_HZ} Hz, got ${rateHz}`)
  }
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b)
}

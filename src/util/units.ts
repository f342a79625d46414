/** @file Sizes and times as people read them. */

const SIZES = [
  [1e9, "GB"],
  [1e6, "MB"],
  [1e3, "kB"],
] as const

/** Bytes with three digits or less behind the point gone: `17.4 GB`, `520 MB`, `12 bytes`. */
export function sizeText(bytes: number): string {
  for (const [unit, name] of SIZES) {
    // What would round to a thousand belongs to the next larger unit.
    if (bytes >= unit * 0.9995 || (unit === 1e3 && bytes >= 999.5)) {
      const value = bytes / unit
      return `${value < 99.95 ? value.toFixed(1) : Math.round(value)} ${name}`
    }
  }
  return `${Math.round(bytes)} bytes`
}

/** Milliseconds as `45 s`, `12 min` or `3 h 20 min`. */
export function durationText(ms: number): string {
  const seconds = Math.ceil(ms / 1000)
  if (seconds < 120) return `${seconds} s`
  const minutes = Math.ceil(seconds / 60)
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

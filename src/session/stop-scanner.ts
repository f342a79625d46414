/** @file Stop texts in a stream: text that may turn out to be the start of one waits, and the stop itself is never shown. */

export class StopScanner {
  private readonly stops: readonly string[]
  private waiting = ""
  private found: boolean

  constructor(stops: readonly string[]) {
    this.stops = stops.filter((stop) => stop !== "")
    this.found = false
  }

  /** A stop was found: all later text is dropped. */
  get stopped(): boolean {
    return this.found
  }

  /** @returns text that no stop can begin in */
  push(text: string): string {
    if (this.found) return ""
    if (this.stops.length === 0) return text
    const all = this.waiting + text
    const hits = this.stops.map((stop) => all.indexOf(stop)).filter((at) => at >= 0)
    if (hits.length > 0) {
      this.found = true
      this.waiting = ""
      return all.slice(0, Math.min(...hits))
    }
    const kept = Math.max(0, ...this.stops.map((stop) => overlap(all, stop)))
    this.waiting = kept > 0 ? all.slice(-kept) : ""
    return kept > 0 ? all.slice(0, -kept) : all
  }

  /** The text's end, with what waited. */
  flush(text: string): string {
    const shown = this.push(text)
    const rest = this.waiting // empty once a stop was found
    this.waiting = ""
    return shown + rest
  }
}

/** Length of the longest end of `text` that `stop` starts with. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length
  }
  return 0
}

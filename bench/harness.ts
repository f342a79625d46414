/** @file What every benchmark prints: the machine first, then rows; as a table, or as one JSON object per line. */
import { cpus, loadavg, totalmem } from "node:os"

/** One measurement. Peer fields only where a peer ran in the same run. */
export type Row = {
  readonly bench: string
  readonly value: number
  readonly unit: string
  /** The samples behind `value` (their median, or what the bench says), where there are several. */
  readonly samples?: readonly number[]
  readonly peer?: string
  readonly peerValue?: number
  readonly ratio?: number
  /** Seconds of work for a second of sound, or for one of the frames that come once a second. */
  readonly realTimeFactor?: number
  /** Of the outputs, against the peer's: relative root mean square. */
  readonly error?: number
  /** Most resident memory of the process that was measured. */
  readonly peakMemoryGb?: number
  readonly peerPeakMemoryGb?: number
  /** Least ratio or largest value that the project promises. */
  readonly floor?: string
}

export type Bench = {
  readonly json: boolean
  readonly flags: { readonly [name: string]: string | undefined }
  row(row: Row): void
  note(line: string): void
}

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function createBench(json: boolean, flags: { readonly [name: string]: string | undefined }): Bench {
  const [cpu] = cpus()
  const machine = {
    machine: cpu?.model ?? "unknown",
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1e9),
    node: process.version,
    load: loadavg()[0],
  }
  if (json) console.log(JSON.stringify(machine))
  else
    console.log(
      Object.entries(machine)
        .map(([key, value]) => `${key} ${value}`)
        .join(", "),
    )
  return {
    json,
    flags,
    row: (row) => {
      if (json) {
        console.log(JSON.stringify(row))
        return
      }
      const { bench, value, unit, samples, peer, peerValue, ratio, floor } = row
      const { realTimeFactor, error, peakMemoryGb, peerPeakMemoryGb } = row
      const spread = samples
        ? ` (${Math.min(...samples).toPrecision(3)}–${Math.max(...samples).toPrecision(3)}, n ${samples.length})`
        : ""
      const beside = peer ? `${peer} ${peerValue?.toPrecision(4)}, ratio ${ratio?.toFixed(2)}` : ""
      const more = [
        realTimeFactor === undefined ? "" : ` rtf ${realTimeFactor.toPrecision(2)}`,
        error === undefined ? "" : ` error ${error.toPrecision(2)}`,
        peakMemoryGb === undefined ? "" : ` peak ${peakMemoryGb.toFixed(2)} GB`,
        peerPeakMemoryGb === undefined ? "" : ` (${peer} ${peerPeakMemoryGb.toFixed(2)})`,
      ].join("")
      console.log(
        `${bench.padEnd(30)} ${value.toPrecision(4).padStart(9)} ${unit.padEnd(7)}${spread.padEnd(24)} ${beside.padEnd(34)}${floor ? ` floor ${floor}` : ""}${more}`,
      )
    },
    note: (line) => {
      if (!json) console.log(line)
    },
  }
}

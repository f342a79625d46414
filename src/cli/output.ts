/** @file What commands print: words and progress for people on a terminal, or one JSON object per line. */
import { SingleBar } from "cli-progress"

/** Where a command's output goes. Results go to standard output, everything else to standard error. */
export type Output = {
  readonly json: boolean
  /** Text of a result, as it comes. */
  text(piece: string): void
  /** A line for people; silent with --json and --quiet. */
  note(line: string): void
  /** One object of machine-readable output; silent without --json. */
  record(value: { readonly [key: string]: unknown }): void
  /** Shows how far a stage is, 0 to 1; figures of the stage go to machine-readable output only. */
  progress(stage: string, fraction: number, figures?: { readonly [key: string]: unknown }): void
  /** Clears what progress left on the screen, and ends a line of text that was left unfinished. */
  done(): void
}

export function createOutput({ json, quiet }: { readonly json: boolean; readonly quiet: boolean }): Output {
  const interactive = process.stderr.isTTY && process.env.TERM !== "dumb" && !json && !quiet
  let bar: SingleBar | undefined
  let lineEnded = true
  const text = (piece: string) => {
    if (json || piece === "") return
    process.stdout.write(piece)
    lineEnded = piece.endsWith("\n")
  }
  const done = () => {
    bar?.stop()
    bar = undefined
    if (!lineEnded) text("\n")
  }
  return {
    json,
    text,
    note: (line) => {
      if (!json && !quiet) process.stderr.write(`${line}\n`)
    },
    record: (value) => {
      if (json) process.stdout.write(`${JSON.stringify(value)}\n`)
    },
    progress: (stage, fraction, figures) => {
      if (json) process.stdout.write(`${JSON.stringify({ type: "progress", stage, fraction, ...figures })}\n`)
      if (!interactive) return
      bar ??= startBar()
      bar.update(Math.round(fraction * 1000), { stage })
    },
    done,
  }
}

function startBar(): SingleBar {
  const bar = new SingleBar({
    format: "{bar} {percentage} % {stage}",
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: true,
  })
  bar.start(1000, 0, { stage: "" })
  return bar
}

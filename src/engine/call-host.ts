/**
 * @file One open call inside the engine: its commands are obeyed in order, except that input is taken and answers are
 * stopped at once. Steps go through the queue that all conversations share.
 */
import { type AnswerEvent, type AppendedMessage, type Call, type CallEvent, isUnreadable } from "../session/index.ts"
import { InputError } from "../util/index.ts"
import type { CallAction } from "./messages.ts"
import type { StepQueue, Stop } from "./step-queue.ts"

const ANSWER_TYPES: ReadonlySet<string> = new Set([
  "text-delta",
  "audio-delta",
  "tool-call-delta",
  "tool-call",
  "turn-end",
])

const isAnswer = (event: AnswerEvent | CallEvent): event is AnswerEvent => ANSWER_TYPES.has(event.type)

/**
 * A command that waits for its turn. `reads`: reads what was pushed, as whoever reads now does. `quick`: done at once, so
 * it need not wait for such reading to end.
 */
type Waiting = {
  readonly kind: () => "reads" | "quick" | "slow"
  readonly run: () => Promise<void>
  /** Of what was pushed, only up to here comes before it; no such place when absent. */
  readonly behind?: Place | undefined
}

type Place = ReturnType<Call["placeOfMessage"]>

export class CallHost {
  private readonly call: Call
  private readonly queue: StepQueue
  private readonly onEvent: (event: CallEvent) => void
  private readonly line: Waiting[] = []
  /** Tells who reads that a quick command came. */
  private wake: () => void = () => {}
  private draining: Promise<void> | undefined
  /** The command at work. */
  private current: Waiting | undefined
  /** Stops the answers asked for, those that wait for their turn too. */
  private readonly stops = new Set<AbortController>()
  private readonly hungUp = new AbortController()
  private open: boolean
  private listening: Promise<void> | undefined

  constructor(call: Call, queue: StepQueue, onEvent: (event: CallEvent) => void) {
    this.call = call
    this.queue = queue
    this.onEvent = onEvent
    this.open = true
  }

  /** Answers that are being made, or wait for their turn. */
  get answering(): number {
    return this.stops.size
  }

  /** Obeys one command. @returns its result */
  async act(action: CallAction, onAnswer: (event: AnswerEvent) => void, signal: AbortSignal): Promise<unknown> {
    if (!this.open) throw new InputError(`call: expected an open call for ${action.type}, got one that was hung up`)
    switch (action.type) {
      case "push":
        for (const event of this.call.push(action.input)) this.onEvent(event)
        return await this.takeIn(signal)
      case "append":
        this.call.keep()
        return await this.append(action.message, signal)
      case "respond":
        return await this.respond(action.options, onAnswer, signal)
      case "interrupt": {
        const { isWriting, begunAnswers } = this.call
        const hasBegun = isWriting || this.stops.size === 0
        this.stopAnswers("interrupted")
        // All that was asked for waits behind a read: it never begins, and nothing is there to be cut.
        if (!hasBegun && this.current?.kind() === "reads") return this.call.interrupt(action.heardMs, false)
        const isMeant = () => hasBegun || this.call.begunAnswers > begunAnswers
        return await this.inTurn(async () => this.call.interrupt(action.heardMs, isMeant()), "quick")
      }
      case "keep":
        return this.call.keep()
      case "clear":
        // What waits is forgotten at once, or it would take later input along; what was read, when nothing runs.
        return this.call.clear() ? await this.inTurn(async () => this.call.rewind(), "quick") : undefined
      case "snapshot":
        return await this.inTurn(() => this.queue.run(this.call.save(), () => {}, this.endOf(signal)), "quick")
      case "hang-up":
        return await this.close()
    }
  }

  /** Ends the call; what is at work stops after its step. */
  async close(): Promise<void> {
    this.open = false
    this.stopAnswers("hung up")
    this.hungUp.abort(new DOMException("hung up", "AbortError"))
    await this.inTurn(async () => {})
  }

  private stopAnswers(reason: string): void {
    for (const stop of this.stops) stop.abort(new DOMException(reason, "AbortError"))
  }

  private async respond(
    options: Extract<CallAction, { type: "respond" }>["options"],
    onAnswer: (event: AnswerEvent) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const stop = new AbortController()
    // A request that is refused ends no turn.
    this.call.check(options ?? {})
    // What is found or pushed later belongs to the next answer.
    const asked = this.call.ask()
    this.call.keep()
    this.stops.add(stop)
    try {
      const work = async () => {
        stop.signal.throwIfAborted()
        await this.listen()
        const either = AbortSignal.any([signal, stop.signal])
        const deliver = (event: AnswerEvent | CallEvent | undefined) => {
          if (event && isAnswer(event)) onAnswer(event)
          else if (event) this.onEvent(event)
        }
        await this.queue.run(this.call.respond(options, asked), deliver, either)
      }
      await this.inTurn(work, () => (stop.signal.aborted ? "quick" : "slow"))
    } finally {
      this.stops.delete(stop)
      // What was said meanwhile is read now.
      if (this.open) void this.readOn((never) => this.takeIn(never))
    }
  }

  /** What was pushed before the message is read before it, what is pushed later behind it. */
  private async append(message: AppendedMessage, signal: AbortSignal): Promise<void> {
    const behind = this.call.placeOfMessage()
    void this.readOn((never) => this.perceive(never, behind))
    const work = () => this.queue.run(this.call.append(message), () => {}, this.endOf(signal))
    return await this.inTurn(work, "slow", behind)
  }

  /**
   * Reads what waits while nobody waits for it: what is refused is told as an event, and what follows it is read; what failed
   * otherwise still waits, and fails the next command.
   */
  private async readOn(read: (never: AbortSignal) => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await read(new AbortController().signal)
      } catch (error) {
        if (!isUnreadable(error)) return
        this.onEvent({ type: "input-dropped", droppedMs: 0, reason: error.message })
      }
    }
  }

  /**
   * Listens and reads until nothing waits; takes its place among the commands at once. During an answer input is only
   * listened to; it is read when the answer is over.
   */
  private async takeIn(signal: AbortSignal): Promise<void> {
    do {
      const listening = this.listen()
      if (this.stops.size > 0) return await listening
      await Promise.all([listening, this.perceive(signal)])
    } while (this.open && this.call.isBehind)
  }

  /** Finds turns in what was pushed, while an answer is made as well; all who wait for it wait for one run. */
  private listen(): Promise<void> {
    if (!this.call.listens) return Promise.resolve()
    const run = () => {
      const steps = this.call.listen(() => this.stops.size === 0)
      return this.queue.run(steps, (event) => event && this.onEvent(event), this.hungUp.signal, "urgent")
    }
    this.listening ??= run().finally(() => {
      this.listening = undefined
    })
    return this.listening
  }

  /**
   * Reads what waits, once it was listened to; between two reads, and while it is listened to, quick commands go first, so
   * that nobody waits for a long backlog.
   * @param upTo what is to be read also though answers wait
   */
  private perceive(signal: AbortSignal, upTo?: Place): Promise<void> {
    const read = async () => {
      // Both may change while it reads. What was pushed behind a question is not part of it.
      const end = () => upTo ?? this.line.find(({ kind }) => kind() === "slow")?.behind
      const mayRead = () => end() !== undefined || this.stops.size === 0
      for (;;) {
        const quick = this.nextQuick
        if (quick) {
          this.line.splice(this.line.indexOf(quick), 1)
          await quick.run()
          continue
        }
        if (!mayRead() || !this.open) return
        // Every push reads what waits: those that find nothing must not wait for steps of others.
        if (this.call.isUnheard) {
          const woken = new Promise<void>((resolve) => {
            this.wake = resolve
          })
          await Promise.race([this.listen(), woken])
          if (this.nextQuick || !mayRead()) continue
        }
        // Listening may wait for reading.
        const isLeft = () => upTo?.isReached === false && this.call.isUnheard
        if (!this.call.isUnread(end())) {
          if (isLeft()) continue
          return
        }
        const steps = this.call.perceive(() => mayRead() && !this.nextQuick, end)
        await this.queue.run(steps, (event) => event && this.onEvent(event), this.endOf(signal))
        if (!this.nextQuick && !isLeft()) return
      }
    }
    return this.inTurn(read, "reads")
  }

  /** The next command, if it is quick; others that read what waits as well may be overtaken. */
  private get nextQuick(): Waiting | undefined {
    const next = this.line.find(({ kind }) => kind() !== "reads")
    return next?.kind() === "quick" ? next : undefined
  }

  /** Ends work when it is not wanted any more, or the call was hung up. */
  private endOf(signal: AbortSignal): Stop {
    const hungUp = this.hungUp.signal
    // AbortSignal.any would leave something in the call's signal for every push.
    const first = () => (signal.aborted ? signal : hungUp)
    return {
      get aborted() {
        return first().aborted
      },
      get reason() {
        return first().reason
      },
    }
  }

  /** One after the other, whatever became of the one before. */
  private inTurn<T>(
    work: () => Promise<T>,
    kind: ReturnType<Waiting["kind"]> | Waiting["kind"] = "slow",
    behind?: Place,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.line.push({
        kind: typeof kind === "string" ? () => kind : kind,
        run: () => Promise.resolve().then(work).then(resolve, reject),
        behind,
      })
      if (this.nextQuick) this.wake()
      this.draining ??= this.drain()
    })
  }

  private async drain(): Promise<void> {
    for (this.current = this.line.shift(); this.current; this.current = this.line.shift()) await this.current.run()
    this.draining = undefined
  }
}

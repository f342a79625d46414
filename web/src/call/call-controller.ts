/** @file Executes what the call asks for: devices, socket, loudspeaker, timers. Decides nothing itself. */
import { pcmToBase64 } from "../audio/base64.ts"
import { type Levels, meterLevel } from "../audio/levels.ts"
import { mediaFailure, openMicrophone, stopStream } from "../audio/microphone.ts"
import { Recording } from "../audio/recording.ts"
import { Sound } from "../audio/sound.ts"
import { createStore, type Store } from "../store.ts"
import { VideoSource, type VideoState } from "../video/frames.ts"
import { callStep } from "./call-machine.ts"
import { type CallEffect, type CallEvent, type CallMode, type CallState, IDLE } from "./call-state.ts"
import { keepAwake } from "./keep-awake.ts"
import type { CallSettings } from "./settings.ts"
import { type CallSocket, openSocket } from "./socket.ts"

export class CallController {
  readonly state: Store<CallState>
  readonly video: VideoSource
  readonly videoState: Store<VideoState>
  readonly levels: Levels = { mic: 0, out: 0 }
  readonly recording = new Recording()
  #socket: CallSocket | undefined
  #microphone: MediaStream | undefined
  #sound: Sound | undefined
  /** Lets the device sleep again. */
  #sleep: (() => void) | undefined
  #retry: ReturnType<typeof setTimeout> | undefined
  /** Counts calls, so that devices which open late know that theirs is over. */
  #calls = 0

  constructor(settings: CallSettings) {
    this.state = createStore({ ...IDLE, settings })
    this.video = new VideoSource({
      onChange: (state) => this.videoState.set(state),
      onFrame: (image) => this.dispatch({ type: "frame", image }),
      onFailure: (reason) => this.dispatch({ type: "camera-failed", reason }),
    })
    this.videoState = createStore(this.video.state)
  }

  dispatch(event: CallEvent): void {
    const [state, effects] = callStep(this.state.get(), event)
    this.state.set(state)
    for (const effect of effects) this.#execute(effect)
  }

  dial(mode: CallMode): void {
    if (mode === "video" && !this.video.state.stream) void this.video.start()
    this.dispatch({ type: "dial", mode })
  }

  hangUp(): void {
    this.dispatch({ type: "hang-up" })
    this.video.stop()
  }

  #execute(effect: CallEffect): void {
    switch (effect.do) {
      case "open-mic":
        void this.#openMicrophone()
        return
      case "close-mic":
        this.#closeMicrophone()
        return
      case "open-socket":
        this.#socket = openSocket({
          onEvent: (event) => this.dispatch({ type: "server", event, atMs: performance.now() }),
          onClose: (cause) => this.dispatch({ type: "socket-closed", cause }),
        })
        return
      case "close-socket":
        this.#socket?.close()
        this.#socket = undefined
        return
      case "retry-after":
        // Up to a fifth more, so that not all pages return at once.
        this.#retry = setTimeout(() => this.dispatch({ type: "retry" }), effect.delayMs * (1 + Math.random() / 5))
        return
      case "cancel-retry":
        clearTimeout(this.#retry)
        return
      case "send":
        this.#socket?.send(effect.event)
        return
      case "play":
        this.#sound?.play(effect.itemId, effect.audio)
        return
      case "end-sound":
        this.#sound?.end(effect.itemId)
        return
      case "flush":
        void this.#flush(effect.itemId)
        return
      case "clear-recording":
        this.recording.clear()
        return
    }
  }

  async #flush(itemId: string): Promise<void> {
    const playedMs = (await this.#sound?.flush(itemId)) ?? 0
    this.dispatch({ type: "flushed", itemId, playedMs })
  }

  async #openMicrophone(): Promise<void> {
    const call = ++this.#calls
    let microphone: MediaStream | undefined
    try {
      microphone = await openMicrophone()
      const sound = await Sound.open(microphone, {
        onChunk: (mic, out) => this.#hear(mic, out),
        onStarted: (itemId, atMs) => this.dispatch({ type: "sound-started", itemId, atMs }),
        onPlayed: (itemId, playedMs) => this.dispatch({ type: "played", itemId, playedMs }),
      })
      if (call !== this.#calls) {
        stopStream(microphone)
        await sound.close()
        return
      }
      this.#microphone = microphone
      this.#sound = sound
      this.#sleep = keepAwake(() => sound.resume())
      const lost = () => this.#microphone === microphone && this.dispatch({ type: "mic-failed", reason: "missing" })
      microphone.getAudioTracks()[0]?.addEventListener("ended", lost)
      this.dispatch({ type: "mic-ready" })
    } catch (error) {
      stopStream(microphone)
      if (call === this.#calls) this.dispatch({ type: "mic-failed", reason: mediaFailure(error) })
    }
  }

  #closeMicrophone(): void {
    this.#calls++
    this.#sleep?.()
    this.#sleep = undefined
    stopStream(this.#microphone)
    void this.#sound?.close()
    this.#microphone = undefined
    this.#sound = undefined
    this.levels.mic = 0
    this.levels.out = 0
    this.video.stop()
  }

  #hear(mic: Float32Array, out: Float32Array): void {
    const { muted, talking, settings, phase } = this.state.get()
    const open = settings.turns === "push" ? talking : !muted
    this.levels.mic = open ? meterLevel(mic) : 0
    this.levels.out = meterLevel(out)
    if (phase === "live" || phase === "retrying") this.recording.push(open ? mic : new Float32Array(mic.length), out)
    if (phase !== "live") return
    const sent = open ? mic : new Float32Array(mic.length)
    this.dispatch({ type: "mic-sound", audio: pcmToBase64(sent), ms: sent.length / 24, atMs: performance.now() })
  }
}

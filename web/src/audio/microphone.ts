/** @file Opening microphones and cameras, and why that failed. */

/**
 * `refused`: the person or the browser's settings said no. `missing`: there is none, or another program holds it.
 * `insecure`: browsers hide devices from pages that came over plain HTTP from another machine.
 */
export type MediaFailure = "refused" | "missing" | "insecure"

/** The microphone, with the browser's echo cancellation. */
export function openMicrophone(): Promise<MediaStream> {
  return media().getUserMedia({
    audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
  })
}

export function media(): MediaDevices {
  const devices = (navigator as { mediaDevices?: MediaDevices }).mediaDevices
  if (!devices) throw new DOMException("no devices on insecure pages", "SecurityError")
  return devices
}

/** Phones have none. */
export const canShareScreen = (): boolean =>
  "getDisplayMedia" in ((navigator as { mediaDevices?: MediaDevices }).mediaDevices ?? {})

export function mediaFailure(error: unknown): MediaFailure {
  if (!isSecureContext) return "insecure"
  const name = error instanceof DOMException ? error.name : ""
  return name === "NotAllowedError" || name === "SecurityError" ? "refused" : "missing"
}

export function stopStream(stream: MediaStream | undefined): void {
  for (const track of stream?.getTracks() ?? []) track.stop()
}

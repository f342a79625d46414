/** @file Opening microphones and cameras, and why that failed. */

/** `refused`: the person or the browser's settings said no. `missing`: there is none, or another program holds it. */
export type MediaFailure = "refused" | "missing"

/** The microphone, with the browser's echo cancellation. */
export function openMicrophone(): Promise<MediaStream> {
  return media().getUserMedia({
    audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
  })
}

/** Browsers hide devices from pages that came over plain HTTP from another machine. */
export function media(): MediaDevices {
  const devices = (navigator as { mediaDevices?: MediaDevices }).mediaDevices
  if (!devices) throw new DOMException("no devices on insecure pages", "NotAllowedError")
  return devices
}

export function mediaFailure(error: unknown): MediaFailure {
  const name = error instanceof DOMException ? error.name : ""
  return name === "NotAllowedError" || name === "SecurityError" ? "refused" : "missing"
}

export function stopStream(stream: MediaStream | undefined): void {
  for (const track of stream?.getTracks() ?? []) track.stop()
}

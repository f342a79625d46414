/** @file Keeps a call going on devices that would rather sleep: the screen stays on, and sound resumes when the page is back. */

/** @param onBack the page is in sight again @returns ends it */
export function keepAwake(onBack: () => void): () => void {
  let lock: WakeLockSentinel | undefined
  let over = false
  const hold = async () => {
    // Browsers let go of it whenever the page is out of sight, and refuse it when the battery is low.
    const next = await (navigator as { wakeLock?: WakeLock }).wakeLock?.request("screen").catch(() => undefined)
    if (over) void next?.release()
    else lock = next
  }
  const seen = () => {
    if (document.visibilityState !== "visible") return
    void hold()
    onBack()
  }
  void hold()
  document.addEventListener("visibilitychange", seen)
  return () => {
    over = true
    document.removeEventListener("visibilitychange", seen)
    void lock?.release()
  }
}

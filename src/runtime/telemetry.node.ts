/** @file Keeps ONNX Runtime from telling others what is computed here. */

/**
 * ONNX Runtime 1.30 on Linux and macOS has telemetry that is sent over the network, and keeps an identifier of the machine in the
 * user's cache folder, unless this variable is set before the process's first session. Who has set it to something else has
 * chosen.
 */
export function refuseTelemetry(environment: { [name: string]: string | undefined }): void {
  environment.ORT_DISABLE_TELEMETRY ??= "1"
}

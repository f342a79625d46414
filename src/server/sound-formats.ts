/** @file Formats of answers' sound as requests name them: their content types, and whether this machine can write them. */
import { VOCODER_SAMPLE_RATE_HZ } from "../inference/index.ts"
import type { StreamFormat } from "../media/index.ts"
import { ConfigError } from "../util/index.ts"
import type { RequestInfo, ServerContext } from "./context.ts"
import { HttpError } from "./errors.ts"

export const SOUND_TYPES: Readonly<Record<StreamFormat, string>> = {
  wav: "audio/wav",
  pcm: "audio/pcm",
  mp3: "audio/mpeg",
  opus: "audio/ogg; codecs=opus",
  aac: "audio/aac",
  flac: "audio/flac",
}

/** @throws HttpError 400 that says what to install */
export async function checkSoundFormat(format: StreamFormat, param: string, { sounds }: ServerContext): Promise<void> {
  try {
    await sounds.check(format, param)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    throw new HttpError(400, error.message, { param, code: "unsupported_format" })
  }
}

export const encodeOptions = ({ signal }: RequestInfo) => ({ sampleRateHz: VOCODER_SAMPLE_RATE_HZ, signal })

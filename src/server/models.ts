/** @file `/v1/models`: the one model that is loaded. */
import type { ServerContext } from "./context.ts"
import { HttpError } from "./errors.ts"

/** Name that always means the loaded model. */
const ANY = "default"

/** @throws HttpError 404 for another model than the loaded one */
export function checkModel(name: string, { model }: Pick<ServerContext, "model">): void {
  if (name === model || name === ANY) return
  throw new HttpError(404, `model: expected ${model} or ${ANY}, got another (see /v1/models)`, {
    param: "model",
    code: "model_not_found",
  })
}

/** The model as OpenAI describes one, and what it can do. */
export function modelObject({ model, createdAt, source }: ServerContext) {
  const info = source.ready ? source.engine.info : undefined
  return {
    id: model,
    object: "model",
    created: createdAt,
    owned_by: "omni",
    shutdown_date: null,
    loaded: source.ready,
    ...(info
      ? {
          quantization: info.quantize,
          untrained: info.untrained,
          capabilities: { vision: info.sees, audio_input: info.hears, audio_output: info.speaks, tools: true },
        }
      : {}),
  }
}

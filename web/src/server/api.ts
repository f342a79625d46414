/** @file What the page asks the server over HTTP beside calls and chats. */

/** Why a request failed, in kinds that people can act on. */
export type ServerFailure = "away" | "full" | "locked" | "refused"

export class ServerError extends Error {
  readonly kind: ServerFailure
  /** Of HTTP; none when the server did not answer. */
  readonly status: number | undefined
  constructor(kind: ServerFailure, message: string, status?: number) {
    super(message)
    this.kind = kind
    this.status = status
  }
}

export type Voice = { readonly id: string; readonly name: string }

/** An access key for servers that want one; kept for this tab. */
export const accessKey = {
  get: (): string => sessionStorage.getItem("omni.key") ?? "",
  set: (key: string): void =>
    key === "" ? sessionStorage.removeItem("omni.key") : sessionStorage.setItem("omni.key", key),
}

/** A request to the server of the page. @throws ServerError, or the signal's reason */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers)
  if (accessKey.get() !== "") headers.set("authorization", `Bearer ${accessKey.get()}`)
  let response: Response
  try {
    response = await fetch(path, { ...init, headers })
  } catch (error) {
    if (init.signal?.aborted === true) throw error
    throw new ServerError("away", "the server does not answer")
  }
  if (response.ok) return response
  const message = await response
    .json()
    .then((body: { error?: { message?: unknown } }) => String(body.error?.message ?? ""))
    .catch(() => "")
  throw new ServerError(failureOf(response.status), message, response.status)
}

export function failureOf(status: number): ServerFailure {
  if (status === 401 || status === 403) return "locked"
  if (status === 429 || status === 503) return "full"
  return status === 502 || status === 504 ? "away" : "refused"
}

/** Whether the server can be reached, and takes more work. Undefined when all is well. */
export async function checkServer(): Promise<ServerFailure | undefined> {
  try {
    await ask("/health", { signal: AbortSignal.timeout(4000) })
    await ask("/v1/models", { signal: AbortSignal.timeout(4000) })
    return undefined
  } catch (error) {
    return error instanceof ServerError ? error.kind : "away"
  }
}

let latestModel = ""
/** Name of the model as last seen; empty before {@link fetchModel}. */
export const knownModel = (): string => latestModel

export type Model = {
  readonly name: string
  /** Random weights: its answers make no sense. */
  readonly untrained: boolean
}

/** The model that answers. */
export async function fetchModel(): Promise<Model> {
  const body = (await (await ask("/v1/models")).json()) as { data?: { id?: unknown; untrained?: unknown }[] }
  const { id, untrained } = body.data?.[0] ?? {}
  latestModel = String(id ?? "")
  return { name: latestModel, untrained: untrained === true }
}

/** Voices of the server; the model's own comes first. Names that are ids as well are other names for it. */
export async function fetchVoices(): Promise<Voice[]> {
  const body = (await (await ask("/v1/audio/voices")).json()) as { data?: { id?: unknown; name?: unknown }[] }
  const stored = (body.data ?? []).flatMap(({ id, name }): Voice[] =>
    typeof id === "string" && typeof name === "string" && id !== name ? [{ id, name }] : [],
  )
  return [{ id: "default", name: "default" }, ...stored]
}

/** Stores a recording as a voice. @param wav a WAV file of 1 to 30 seconds */
export async function addVoice(name: string, wav: Blob): Promise<Voice> {
  const form = new FormData()
  form.set("name", name)
  form.set("audio_sample", wav, "voice.wav")
  const body = (await (await ask("/v1/audio/voices", { method: "POST", body: form })).json()) as Partial<Voice>
  if (typeof body.id !== "string") throw new ServerError("refused", "the server stored no voice")
  return { id: body.id, name: body.name ?? name }
}

/** The server forgets a stored voice; one that it does not know any more is forgotten already. */
export async function deleteVoice(id: string): Promise<void> {
  await ask(`/v1/audio/voices/${encodeURIComponent(id)}`, { method: "DELETE" }).catch((error: unknown) => {
    if (!(error instanceof ServerError) || error.status !== 404) throw error
  })
}

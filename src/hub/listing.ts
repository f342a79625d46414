/** @file What a repository holds: the commit that a revision means, and its files with sizes and checksums, all pages. */
import { z } from "zod"
import { errorText, OmniError } from "../util/index.ts"
import type { ModelName } from "./names.ts"
import { isCommit } from "./names.ts"
import { ask, type HubAccess, networkError, PassingError, stallSignal, waitForRetry } from "./requests.ts"

/** SHA-256 of the bytes, or SHA-1 as git names a blob. */
export type Checksum = { readonly kind: "sha256" | "git-sha1"; readonly hex: string }

/** A file of a repository. */
export type HubFile = { readonly path: string; readonly sizeBytes: number; readonly checksum: Checksum }

export type Listing = ModelName & { readonly commit: string; readonly files: readonly HubFile[] }

const REVISION_ANSWER = z.object({ sha: z.string().refine(isCommit, "expected a commit of 40 hexadecimal digits") })
const SIZE = z
  .number()
  .int()
  .min(0)
  .max(2 ** 50)
const TREE_ANSWER = z.array(
  z.object({
    type: z.string(),
    path: z.string(),
    oid: z.string().optional(),
    size: SIZE.optional(),
    lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: SIZE }).nullish(),
  }),
)

/** Bounds on what a server may make us hold. */
const MOST_ANSWER_BYTES = 32 * 2 ** 20
const MOST_FILES = 100_000
const MOST_PAGES = 1000

/** Questions are short: a network that is not there is told after seconds, not minutes. */
const QUESTION_ATTEMPTS = 4

/**
 * @throws ConfigError for a model that is not there or closed, a network error when the hub cannot be reached or answers
 *   nonsense, the signal's reason
 */
export async function listRepo(hub: HubAccess, { repo, revision }: ModelName, signal?: AbortSignal): Promise<Listing> {
  const what = `${repo}@${revision}`
  const patient = { ...hub, attempts: Math.min(hub.attempts, QUESTION_ATTEMPTS) }
  const { json } = await askJson(
    patient,
    what,
    `/api/models/${repo}/revision/${encodeURIComponent(revision)}`,
    REVISION_ANSWER,
    signal,
  )
  const files: HubFile[] = []
  const tree = `/api/models/${repo}/tree/${json.sha}`
  const asked = new Set<string>()
  for (let query = "?recursive=true"; ; ) {
    asked.add(query)
    const page = await askJson(patient, what, tree + query, TREE_ANSWER, signal)
    for (const entry of page.json) if (entry.type === "file") files.push(hubFile(what, entry))
    const next = nextQuery(page.link)
    if (next === undefined) return { repo, revision, commit: json.sha, files }
    query = next
    if (asked.has(query) || asked.size >= MOST_PAGES || files.length > MOST_FILES)
      throw networkError(`${what}: expected a list of at most ${MOST_FILES} files that ends, got one that goes on`)
  }
}

function hubFile(what: string, { path, oid, size, lfs }: z.infer<typeof TREE_ANSWER>[number]): HubFile {
  if (lfs) return { path, sizeBytes: lfs.size, checksum: { kind: "sha256", hex: lfs.oid } }
  if (size !== undefined && oid !== undefined && isCommit(oid))
    return { path, sizeBytes: size, checksum: { kind: "git-sha1", hex: oid } }
  throw networkError(`${what}: expected size and checksum of ${JSON.stringify(path.slice(0, 200))}, got none`)
}

/** The question part of the next page's address; the address itself is ours, whatever a mirror writes there. */
function nextQuery(link: string | null): string | undefined {
  const found = /<([^<>]*)>\s*;[^,]*\brel="?next"?/.exec(link ?? "")?.[1]
  const search = found !== undefined && URL.canParse(found, "http://x") ? new URL(found, "http://x").search : ""
  return search || undefined
}

async function askJson<T>(
  hub: HubAccess,
  what: string,
  path: string,
  schema: z.ZodType<T>,
  signal: AbortSignal | undefined,
): Promise<{ readonly json: T; readonly link: string | null }> {
  for (let failures = 1; ; failures++) {
    using stall = stallSignal(hub.stallMs, signal)
    try {
      const { response } = await ask(hub, what, path, { accept: "application/json" }, stall.signal)
      const text = await readText(what, response, stall)
      const parsed = schema.safeParse(parseJson(text))
      if (parsed.success) return { json: parsed.data, link: response.headers.get("link") }
      const problem = z.prettifyError(parsed.error).split("\n", 1)[0]
      throw networkError(`${what}: expected a hub at ${hub.endpoint}, got another answer (${problem})`)
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof PassingError)) throw error
      await waitForRetry(hub, what, error, failures, signal)
    }
  }
}

async function readText(what: string, response: Response, stall: ReturnType<typeof stallSignal>): Promise<string> {
  const decoder = new TextDecoder()
  let [text, sizeBytes] = ["", 0]
  try {
    for await (const chunk of response.body ?? []) {
      stall.touch()
      sizeBytes += chunk.length
      if (sizeBytes > MOST_ANSWER_BYTES)
        throw networkError(`${what}: expected an answer of at most ${MOST_ANSWER_BYTES} bytes, got more`)
      text += decoder.decode(chunk, { stream: true })
    }
  } catch (error) {
    throw error instanceof OmniError ? error : new PassingError(`a connection that was cut (${errorText(error)})`)
  }
  return text + decoder.decode()
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

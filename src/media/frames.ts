/**
 * @file Pictures without ffmpeg: one image file, which may move, or a folder of them, one a second in the order of their
 * numbers.
 */
import { constants, type Stats } from "node:fs"
import { type FileHandle, open, readdir } from "node:fs/promises"
import { join } from "node:path"
import { decodeImage, decodePages, readAnimation } from "../image/index.node.ts"
import type { ImageBehaviour, RgbImage } from "../image/index.ts"
import { errorText, InputError } from "../util/index.ts"

const IMAGE_NAME = /^[^.].*\.(png|jpe?g|webp)$/i
const MAX_FILES = 100_000
const MAX_IMAGE_BYTES = 256 * 2 ** 20

/** `frame2.png` before `frame10.png`; the same in every locale. */
const NATURAL = new Intl.Collator("en", { numeric: true, sensitivity: "variant" })

/** @throws InputError when the folder has no image files, or too many */
export async function frameFiles(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => IMAGE_NAME.test(name))
  if (names.length === 0 || names.length > MAX_FILES) {
    const advice = "name them in order, as in frame-1.png"
    throw new InputError(
      `${folder}: expected 1 to ${MAX_FILES} PNG, JPEG or WebP files, got ${names.length} (${advice})`,
    )
  }
  return names.sort((a, b) => NATURAL.compare(a, b) || (a < b ? -1 : 1)).map((name) => join(folder, name))
}

/** The images in order, each decoded when it is asked for. Throws as `decodeImage`, naming the file. */
export async function* decodeFrames(files: readonly string[], behaviour: ImageBehaviour): AsyncGenerator<RgbImage> {
  for (const file of files) yield await readImageFile(file, behaviour)
}

/** A moving picture as a video is: its length, and what is shown at 1 s, 2 s, … of one loop, the last frame at its end. */
export type MovingPicture = { readonly seconds: number; readonly frames: () => AsyncGenerator<RgbImage> }

/**
 * @returns undefined for a picture that does not move
 * @throws InputError when it is no readable file, too large, or no picture; reading frames throws the same
 */
export async function movingPicture(file: string, behaviour: ImageBehaviour): Promise<MovingPicture | undefined> {
  const read = () => readBounded(file, MAX_IMAGE_BYTES)
  const animation = await readAnimation(await read(), file)
  if (!animation) return undefined
  return {
    seconds: animation.endsMs.at(-1)! / 1000,
    // Which pages they are, is found out when they are asked for: a small file may claim years.
    async *frames() {
      yield* decodePages(await read(), animation, shownPages(animation.endsMs), { behaviour, source: file })
    },
  }
}

/** The page that is shown at the end of each second. */
function shownPages(endsMs: readonly number[]): number[] {
  let page = 0
  return Array.from({ length: Math.max(1, Math.ceil(endsMs.at(-1)! / 1000)) }, (_, second) => {
    while (page < endsMs.length - 1 && endsMs[page]! <= (second + 1) * 1000) page++
    return page
  })
}

/** @throws InputError when it is no readable file, too large, or no picture */
export async function readImageFile(file: string, behaviour: ImageBehaviour): Promise<RgbImage> {
  return await decodeImage(await readBounded(file, MAX_IMAGE_BYTES), { behaviour, source: file })
}

/** @throws InputError when the file is missing, no plain file, or larger than `maxBytes` */
export async function readBounded(file: string, maxBytes: number): Promise<Uint8Array> {
  await using handle = await openFile(file)
  const info = checkFile(file, await handle.stat())
  if (info.size > maxBytes) {
    throw new InputError(`${file}: expected at most ${maxBytes} bytes, got ${info.size} (cut it first)`)
  }
  return handle.readFile()
}

/** The first bytes of a file, enough to tell its format. */
export async function firstBytes(file: string, count: number): Promise<Uint8Array> {
  await using handle = await openFile(file)
  checkFile(file, await handle.stat())
  const { buffer, bytesRead } = await handle.read(new Uint8Array(count), 0, count, 0)
  return buffer.subarray(0, bytesRead)
}

function checkFile(file: string, info: Stats): Stats {
  if (info.isFile()) return info
  const [got, advice] = info.isDirectory()
    ? ["a folder", "name a file in it"]
    : info.isFIFO() || info.isSocket()
      ? ["a pipe", "write it to a file first"]
      : ["a device", "check the path"]
  throw new InputError(`${file}: expected a file, got ${got} (${advice})`)
}

/** A pipe that nobody writes to would hold a plain open, and the whole process, for ever. */
const READ_AT_ONCE = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)

async function openFile(file: string): Promise<FileHandle> {
  try {
    return await open(file, READ_AT_ONCE)
  } catch (cause) {
    throw new InputError(`${file}: expected a readable file, got: ${errorText(cause)} (check the path)`, { cause })
  }
}

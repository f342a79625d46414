/** @file What is piped into a command. */

export async function readStandardInput(): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** A text argument, where `-` means standard input. */
export async function textArgument(value: string): Promise<string> {
  return value === "-" ? new TextDecoder().decode(await readStandardInput()).trim() : value
}

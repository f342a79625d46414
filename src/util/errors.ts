/**
 * @file The error family. Every message follows one grammar: *where: expected X, got Y (what to do)*.
 * Cancellation is the signal's own AbortError and has no class here.
 */

/** Base of all errors that a caller may want to handle; `code` is stable, the text is for people. */
export class OmniError extends Error {
  readonly code: string
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = `${code[0]?.toUpperCase()}${code.slice(1)}Error` // class names are lost where code is minified
    this.code = code
  }
}

/** A tensor, graph value or feed has the wrong shape or dtype. */
export class ShapeError extends OmniError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("shape", message, options)
  }
}

/** A configuration file, option or flag is wrong. */
export class ConfigError extends OmniError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("config", message, options)
  }
}

/** A weights file is missing, damaged, or does not fit the model. */
export class CheckpointError extends OmniError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("checkpoint", message, options)
  }
}

/** A wire message or media input from outside is malformed. */
export class InputError extends OmniError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("input", message, options)
  }
}

/** The execution backend failed or is not available. */
export class BackendError extends OmniError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("backend", message, options)
  }
}

/** The text of anything that was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

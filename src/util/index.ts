export { BackendError, CheckpointError, ConfigError, errorText, InputError, OmniError, ShapeError } from "./errors.ts"
export { invariant } from "./invariant.ts"

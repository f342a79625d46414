export { BackendError, CheckpointError, ConfigError, errorText, InputError, OmniError, ShapeError } from "./errors.ts"
export { invariant } from "./invariant.ts"
export { createRandom } from "./random.ts"
export { inSteps, runAtOnce, runSteps, type Steps } from "./steps.ts"

export {
  answerGrammar,
  type ConstraintFormat,
  Constraints,
  type ConstraintTool,
  checkSchema,
  type TokenConstraint,
  type Xgrammar,
} from "./constraint.ts"
export type { SchemaMode } from "./json-grammar.ts"
export {
  type ParsedToolCall,
  TOOL_CALL_CLOSE,
  TOOL_CALL_OPEN,
  ToolCallParser,
  type ToolCallPiece,
} from "./tool-calls.ts"

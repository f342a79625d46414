/**
 * @file The default chat template for models we create, in Jinja: a system block (a default sentence where no message
 * gives one), tools if any, then turn after turn. It prints what the template of the Qwen2.5 family prints.
 */

export const DEFAULT_SYSTEM_TEXT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

const TOOLS_INTRO = String.raw`\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>`
const TOOLS_USE = String.raw`\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>`

export const STOCK_CHAT_TEMPLATE = `{%- set has_system = messages[0].role == 'system' -%}
{{- '<|im_start|>system\\n' + (messages[0].content if has_system else '${DEFAULT_SYSTEM_TEXT}') -}}
{%- if tools -%}
  {{- '${TOOLS_INTRO}' -}}
  {%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}
  {{- '${TOOLS_USE}' -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- for message in messages -%}
  {%- if message.role == 'tool' -%}
    {%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
    {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' -}}
    {%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
  {%- elif message.role == 'assistant' and message.tool_calls -%}
    {{- '<|im_start|>assistant' -}}
    {%- if message.content -%}{{- '\\n' + message.content -}}{%- endif -%}
    {%- for call in message.tool_calls -%}
      {%- set function = call.function if call.function is defined else call -%}
      {{- '\\n<tool_call>\\n{"name": "' + function.name + '", "arguments": ' -}}
      {{- function.arguments | tojson -}}
      {{- '}\\n</tool_call>' -}}
    {%- endfor -%}
    {{- '<|im_end|>\\n' -}}
  {%- elif not (loop.first and has_system) -%}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
`

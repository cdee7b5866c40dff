"""A tokenizer with chat templates of the shapes that well-known models have."""

import json
from pathlib import Path

from launcher.config.workload import TinyConfig
from launcher.workload.models.tiny import make_tiny
from launcher.workload.models.tokenizer import Tokenizer, load_tokenizer

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
SPECIAL += ["<bos>", "<start_of_turn>", "<end_of_turn>", "<think>", "</think>"]

QWEN = """{%- set ns = namespace(last=0) -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' and loop.last and loop.index0 > ns.last -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
{{- message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""

LLAMA = """{{- '<|begin_of_text|>' -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}"""

GEMMA = """{{- '<bos>' -}}
{%- for message in messages -%}
{%- set role = 'model' if message.role == 'assistant' else message.role -%}
{{- '<start_of_turn>' + role + '\\n' + message.content | trim + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"""

MARKED = """{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' -%}{%- generation -%}{{- message.content + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}{{- message.content + '<|im_end|>' -}}{%- endif -%}{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"""


def tokenizer_with(directory: Path, template: str | None) -> Tokenizer:
    """One token a byte, one a special token of these models; `directory` is made."""
    make_tiny(directory, TinyConfig(dim=8), seed=0)
    path = directory / "tokenizer_config.json"
    about = json.loads(path.read_text())
    about.pop("chat_template")
    path.write_text(json.dumps(about | ({"chat_template": template} if template else {})))
    tokenizer = load_tokenizer(str(directory))
    tokenizer.add_tokens(SPECIAL, special_tokens=True)
    return tokenizer

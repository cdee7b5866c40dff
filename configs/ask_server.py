"""Asks an OpenAI-compatible server again and again, where your own orchestrator would. See transformers_serve.toml."""

import argparse

from openai import OpenAI


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    client = OpenAI(base_url=f"{arguments.url}/v1", api_key="none")
    for step in range(1, arguments.steps + 1):
        messages = [{"role": "user", "content": "reverse apple"}]
        answer = client.chat.completions.create(model=arguments.model, messages=messages, max_tokens=8)  # type: ignore[arg-type]
        text = answer.choices[0].message.content or ""
        print(f"step {step} length {len(text)}", flush=True)


if __name__ == "__main__":
    main()

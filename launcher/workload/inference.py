"""Serve the policy over the OpenAI completions protocol, and load new weights when told to.

Started by `launch rl`; by hand:

    python -m launcher.workload.inference --port 8000
    curl localhost:8000/v1/completions -H "content-type: application/json" \\
        -d '{"model": "policy", "prompt": "hello>", "max_tokens": 8}'

POST /update_weights {"path": DIRECTORY, "step": N} replaces the weights; GET /health answers once the model is loaded.
"""

import sys

from launcher.config.serving import InferenceConfig
from launcher.options.entry import load_component
from launcher.workload.entry import quick_imports, run_component


def main() -> None:
    config = load_component(InferenceConfig, sys.argv[1:])
    with quick_imports():
        from launcher.workload.serving.server import serve  # torch is loaded here, so that --help is quick
    run_component("inference", config, serve)


if __name__ == "__main__":
    main()

"""What the reference workload takes to learn, beside trainers of other projects.

    python benchmarks/training.py default [STARTS]      `launch rl` from the command to the prompt
    python benchmarks/training.py vllm PYTHON           the same with vLLM, from the environment of PYTHON
    python benchmarks/training.py handover PYTHON       600M parameters in bf16: from the update until vLLM has them
    python benchmarks/training.py grpo [STARTS]         time to a held-out reward of 0.95: launch rl, TRL's GRPOTrainer
    python benchmarks/training.py sft [STARTS]          tokens/s and memory: launch sft, TRL's SFTTrainer, HF's Trainer

`grpo` and `sft` need the recipes' packages: pip install -c constraints.txt -e ".[test,recipes]". Each figure is the
median of its starts, and the programs take turns, so that other work on the machine affects all of them.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from string import ascii_lowercase
from typing import Any

PEERS = Path(__file__).parent / "peers"
LAUNCH = Path(sys.executable).with_name("launch")
GOAL = 0.95  # mean held-out reward
BATCH, BLOCK = 16, 256  # blocks of a step, tokens of the longest text


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    seconds: float
    peak: int  # bytes of resident memory, of the process itself
    output: str


def run(argv: Sequence[object], directory: Path, **variables: str) -> Ended:
    """Run a program to its end. Raises RuntimeError, with its last lines, when it fails."""
    started, log = time.perf_counter(), directory / "output.log"
    with log.open("w+") as file:
        process = subprocess.Popen(
            list(map(str, argv)),
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(PEERS.parent.parent)} | variables,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError("\n".join(log.read_text().splitlines()[-20:]))
    return Ended(time.perf_counter() - started, used.ru_maxrss * 1024, log.read_text())


def result(ended: Ended) -> dict[str, Any]:
    """What a program of another project says in its last line."""
    line = next(line for line in reversed(ended.output.splitlines()) if line.startswith("RESULT "))
    return dict(json.loads(line.removeprefix("RESULT ")))


def metrics(run_directory: Path, component: str) -> list[dict[str, Any]]:
    lines = (run_directory / "metrics" / f"{component}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def evaluations(run_directory: Path) -> list[tuple[float, float]]:
    """(seconds since 1970, mean held-out reward)."""
    rows = metrics(run_directory, "orchestrator")
    return [(row["time"], row["evaluation/reward"]) for row in rows if "evaluation/reward" in row]


# --- RL ---------------------------------------------------------------------------------------------------------------


def default(starts: int = 5) -> None:
    for seed in range(starts):
        with tempfile.TemporaryDirectory() as directory:
            ended = run([LAUNCH, "rl", "--output-dir", "run", "--seed", seed], Path(directory))
            reward = evaluations(Path(directory, "run"))[-1][1]
            waited = [row["perf/wait_for_batch_s"] for row in metrics(Path(directory, "run"), "trainer")]
            took = [row["perf/step_s"] for row in metrics(Path(directory, "run"), "trainer")]
        share = sum(waited) / sum(took)
        print(
            f"seed {seed}: {ended.seconds:.1f} s, evaluation {reward:.3f}, the trainer waited {share:.0%} of its time"
        )


def vllm(python: str, starts: int = 1) -> None:
    for seed in range(starts):
        with tempfile.TemporaryDirectory() as directory:
            argv = [LAUNCH, "rl", "@", PEERS.parent.parent / "configs" / "rl_tiny_vllm_cpu.toml"]
            argv += ["--output-dir", "run", "--seed", seed, "--inference.python", python]
            ended = run([*argv, "--orchestrator.evaluation.interval", 10], Path(directory))
            found = evaluations(Path(directory, "run"))
        learned = next((moment for moment, reward in found if reward >= GOAL), None)
        since = "never" if learned is None else f"{learned - found[0][0]:.1f} s after the first evaluation"
        print(f"seed {seed}: {ended.seconds:.1f} s in all, evaluation {found[-1][1]:.3f}, {GOAL} {since}")


def handover(python: str) -> None:
    """The weights of a step through a file on the disk, and through one in memory; a copy of that file beside it."""
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        model = model_of(Path(made, "model"), 32, 1024, 151_936, "bfloat16")
        size = sum(path.stat().st_size for path in model.glob("*.safetensors"))
        argv = [LAUNCH, "rl", "--model", model, "--trainer.model.dtype", "bfloat16", "--output-dir", "run", "--no-tmux"]
        argv += ["--inference.engine", "vllm", "--inference.python", python, "--inference.max-model-len", 64]
        argv += ["--inference.args=--enforce-eager", "--max-steps", 5, "--trainer.checkpoint.interval", 0]
        argv += ["--orchestrator.prompts-per-step", 1, "--orchestrator.samples-per-prompt", 2]
        # bfloat16 is slow here
        argv += ["--orchestrator.sampling.max-tokens", 1, "--orchestrator.evaluation.prompts", 2]
        for title, directory, more in (("disk", made, []), ("memory", memory, ["--weights-dir", memory])):
            run([*argv, *more, "--clean"], Path(made))
            written = median(row["perf/publish_s"] for row in metrics(Path(made, "run"), "trainer"))
            steps = metrics(Path(made, "run"), "orchestrator")[1:]  # the first has loaded nothing new
            loaded = median(row["time/load_weights_s"] for row in steps if "time/load_weights_s" in row)
            copied = median(_copying(model, Path(directory)) for _ in range(5))
            share = copied / (written + loaded)
            print(
                f"{title}: {size / 1e9:.2f} GB written in {written:.2f} s, loaded in {loaded:.2f} s; "
                f"a copy of the file takes {copied:.2f} s, {share:.0%} of both"
            )


def _copying(model: Path, directory: Path) -> float:
    started = time.perf_counter()
    for path in model.glob("*.safetensors"):
        shutil.copyfile(path, directory / "copy")
    (directory / "copy").unlink()
    return time.perf_counter() - started


def grpo(starts: int = 3) -> None:
    """The step's seconds and the time to GOAL; evaluations, every 10 steps, are not counted."""
    ours, theirs = [], []
    for seed in range(starts):
        with tempfile.TemporaryDirectory() as directory:
            ours.append(_our_curve(Path(directory), seed))
        with tempfile.TemporaryDirectory() as directory:
            model = tiny(Path(directory, "model"), seed)
            said = result(run([sys.executable, PEERS / "trl_grpo.py", model, 300, 10], Path(directory)))
            reached = next((seconds for seconds, reward in said["curve"] if reward >= GOAL), float("inf"))
            theirs.append((reached, said["seconds"] / said["steps"]))
        print(f"seed {seed}: launch rl {ours[-1]}, TRL {theirs[-1]}  (s to {GOAL}, s a step)")
    for index, title in enumerate((f"s to {GOAL}", "s a step")):
        mine, other = median(one[index] for one in ours), median(one[index] for one in theirs)
        print(f"{title}: launch rl {mine:.2f}, TRL {other:.2f}, ratio {mine / other:.2f}")


def _our_curve(directory: Path, seed: int) -> tuple[float, float]:
    run([LAUNCH, "rl", "--output-dir", "run", "--seed", seed, "--orchestrator.evaluation.interval", 10], directory)
    rows = metrics(directory / "run", "trainer")
    first = rows[0]["time"] - rows[0]["perf/step_s"]
    reached = next(moment for moment, reward in evaluations(directory / "run") if reward >= GOAL)
    return reached - first, median(row["perf/step_s"] for row in rows)


def tiny(directory: Path, seed: int) -> Path:
    from launcher.config.workload import TinyConfig
    from launcher.workload.models.tiny import make_tiny

    make_tiny(directory, TinyConfig(), seed)
    return directory


# --- SFT --------------------------------------------------------------------------------------------------------------

SIZES = {"10M": (6, 384, 4096), "100M": (12, 768, 16384)}  # layers, width, vocabulary
OURS = ("launch sft", "  in halves")  # the second in two micro-batches a step
STEPS = {"10M": 6, "100M": 3}  # of full blocks


def model_of(directory: Path, layers: int, width: int, vocabulary: int, dtype: str = "float32") -> Path:
    """A model of Qwen3's shape with random weights, and the tokenizer over bytes."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    made = tiny(directory.with_name("bytes"), 0)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        head_dim=64,
        max_position_embeddings=BLOCK * 2,
        tie_word_embeddings=True,
        bos_token_id=256,
        eos_token_id=256,
        pad_token_id=None,  # its embedding is zero, and as first token, norm after norm, makes gradients overflow
    )
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(directory)
    AutoTokenizer.from_pretrained(made).save_pretrained(directory)
    return directory


def texts(mixed: bool, tokens: int) -> Iterator[dict[str, str]]:
    """Pairs whose tokens fill a block, or whose lengths lie anywhere between 16 tokens and a block."""
    draw = random.Random(0)
    while tokens > 0:
        length = int(16 * (BLOCK / 16) ** draw.random()) if mixed else BLOCK
        letters = "".join(draw.choices(ascii_lowercase, k=length - 2))  # one END in front, one behind
        yield {"prompt": letters[:8], "completion": letters[8:]}
        tokens -= length


def sft(starts: int = 3) -> None:
    for name, shape in SIZES.items():
        for mixed in (False, True):
            with tempfile.TemporaryDirectory() as made:
                model, data = model_of(Path(made, "model"), *shape), Path(made, "data.jsonl")
                rows = list(texts(mixed, STEPS[name] * BATCH * BLOCK))
                data.write_text("".join(json.dumps(row) + "\n" for row in rows))
                tokens = sum(len(row["prompt"]) + len(row["completion"]) + 2 for row in rows)
                title = f"{name}, {'mixed lengths' if mixed else 'full blocks'}"
                _compare_sft(title, model, data, tokens, round(len(rows) / (tokens / BATCH / BLOCK)), starts)


def _compare_sft(title: str, model: Path, data: Path, tokens: int, texts: int, starts: int) -> None:
    """A step learns from as many tokens everywhere: from so many texts, or where TRL packs from so many blocks."""
    trl = [sys.executable, PEERS / "trl_sft.py", model, data]
    hf = [sys.executable, PEERS / "hf_trainer.py", model, data, texts, BLOCK]
    programs: dict[str, Callable[[Path], tuple[float, int]]] = {
        OURS[0]: lambda directory: _our_sft(directory, model, data, texts, 2 * BATCH * BLOCK),
        OURS[1]: lambda directory: _our_sft(directory, model, data, texts, BATCH * BLOCK * 5 // 8),
        "TRL, wrapped": lambda directory: _their_sft([*trl, BATCH, BLOCK, "wrapped"], directory),
        "TRL, bfd": lambda directory: _their_sft([*trl, BATCH, BLOCK, "bfd"], directory),
        "TRL, padded": lambda directory: _their_sft([*trl, texts, BLOCK, "none"], directory),
        "HF Trainer": lambda directory: _their_sft(hf, directory),
    }
    measured: dict[str, list[tuple[float, int]]] = {program: [] for program in programs}
    for _ in range(starts):
        for program, start in programs.items():
            with tempfile.TemporaryDirectory() as directory:
                measured[program].append(start(Path(directory)))
    print(title)
    rates = {program: tokens / median(one[0] for one in found) for program, found in measured.items()}
    best = max(rate for program, rate in rates.items() if program not in OURS)
    for program, found in measured.items():
        peak = median(one[1] for one in found) / 1e6
        print(f"  {program:<13} {rates[program]:7.0f} tokens/s  {peak:6.0f} MB", flush=True)
    print(f"  launch sft: {rates[OURS[0]] / best:.2f} of the fastest other one", flush=True)


def _our_sft(directory: Path, model: Path, data: Path, texts: int, at_once: int) -> tuple[float, int]:
    argv = [sys.executable, "-m", "launcher.workload.sft", "--output-dir", "run", "--model.name", model]
    argv += ["--data.path", data, "--batch-size", texts, "--epochs", 1, "--data.validation-share", 0.003]
    argv += ["--max-tokens", at_once, "--optimizer.lr", 1e-3, "--validation-interval", 100_000]
    # as many threads as `launch sft` gives its one trainer, and as the others take by themselves
    ended = run([*argv, "--checkpoint.interval", 0], directory, OMP_NUM_THREADS=str(os.cpu_count()))
    return sum(row["perf/step_s"] for row in metrics(directory / "run", "trainer") if row["step"]), ended.peak


def _their_sft(argv: Sequence[object], directory: Path) -> tuple[float, int]:
    ended = run(argv, directory)
    return float(result(ended)["seconds"]), ended.peak


COMMANDS: dict[str, Callable[..., None]] = {
    "default": default,
    "vllm": vllm,
    "handover": handover,
    "grpo": grpo,
    "sft": sft,
}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or ["help"]
    if name not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[name](*(int(word) if word.isdecimal() else word for word in arguments))

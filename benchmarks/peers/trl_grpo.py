"""TRL's GRPOTrainer on the task `reverse`: `trl_grpo.py MODEL STEPS EVERY`; the held-out reward each EVERY steps.

The same model, prompts, samples a step and loss as `launch rl`, but without the entropy bonus and the exploration term,
which TRL does not have.
"""

import json
import sys
import time
from typing import Any

import torch
from datasets import Dataset
from quiet import QUIET
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from launcher.config.workload import TaskConfig
from launcher.workload.tasks import load_task

PROMPTS, SAMPLES, LONGEST, HELD_OUT = 32, 16, 8, 128


def main(model: str, steps: str, every: str) -> None:
    task = load_task(TaskConfig())
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.padding_side = "left"
    rows = [{"prompt": prompt} for prompt in task.prompts(0, 0, PROMPTS * int(steps))]
    held_out = task.held_out(HELD_OUT)
    curve: list[tuple[float, float]] = []

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        return [task.reward(*pair) for pair in zip(prompts, completions, strict=True)]

    class Evaluation(TrainerCallback):  # type: ignore[misc]
        spent = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if state.global_step % int(every):
                return
            before = time.perf_counter()
            inputs = tokenizer(held_out, return_tensors="pt", padding=True)
            with torch.inference_mode():
                made = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
            texts = tokenizer.batch_decode(made[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
            score = sum(task.reward(*pair) for pair in zip(held_out, texts, strict=True)) / HELD_OUT
            Evaluation.spent += time.perf_counter() - before
            curve.append((time.perf_counter() - started - Evaluation.spent, score))
            control.should_training_stop = score >= 0.95

    config = GRPOConfig(
        output_dir="trl-grpo",
        per_device_train_batch_size=PROMPTS * SAMPLES,
        num_generations=SAMPLES,
        max_completion_length=LONGEST,
        max_steps=int(steps),
        learning_rate=3e-3,
        warmup_steps=10,
        lr_scheduler_type="constant_with_warmup",
        adam_beta2=0.99,
        max_grad_norm=1.0,
        beta=0.0,
        epsilon=0.2,
        epsilon_high=0.28,
        loss_type="dapo",
        temperature=1.0,
        shuffle_dataset=False,
        **QUIET,
    )
    trainer = GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(model),
        reward,
        config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Evaluation()],
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started - Evaluation.spent
    print("RESULT", json.dumps({"seconds": seconds, "steps": trainer.state.global_step, "curve": curve}))


if __name__ == "__main__":
    main(*sys.argv[1:])

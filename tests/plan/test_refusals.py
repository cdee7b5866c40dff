"""What is refused before anything starts."""

from dataclasses import replace

import pytest

from launcher.errors import UserError
from tests.plan.test_memory import QWEN3_8B
from tests.plans import machine, plan_of, rl, sft


def test_a_batch_that_is_too_small_for_the_ranks_is_refused() -> None:
    plan_of(sft("--nproc", "4", "--trainer.batch-size", "4"))
    with pytest.raises(UserError, match=r"--trainer.batch-size 3 is too small for 4 ranks"):
        plan_of(sft("--nproc", "4", "--trainer.batch-size", "3"))
    step = ("--orchestrator.prompts-per-step", "1", "--orchestrator.samples-per-prompt")
    plan_of(rl("--nproc", "4", *step, "4"))
    with pytest.raises(UserError, match=r"a step has 3 samples .* too few for 4 ranks"):
        plan_of(rl("--nproc", "4", *step, "3"))


def test_a_completion_that_leaves_no_room_for_a_prompt_is_refused() -> None:
    here = machine(model_path="/here/mine", vllm="/vllm/bin/vllm", model=replace(QWEN3_8B, context=512))
    plan_of(rl("--model", "mine", "--orchestrator.sampling.max-tokens", "511"), here)
    with pytest.raises(UserError, match=r"max_tokens = 512 leaves no room for a prompt in the context of mine: 512"):
        plan_of(rl("--model", "mine", "--orchestrator.sampling.max-tokens", "512"), here)

"""What a run as a whole may be called, and which programs a component may name."""

import pytest
from pydantic import ValidationError

from launcher.config.rollout import EvaluationConfig
from launcher.config.run import RLConfig, SFTConfig
from launcher.config.sections import SFTTrainer
from launcher.config.workload import TaskConfig
from tests.plans import rl, sft


@pytest.mark.parametrize("name", ["a", "calm-otter", "7b", "x.y_z-1", "a" * 63])
def test_a_name_can_be_a_directory_a_host_and_a_tmux_session(name: str) -> None:
    assert SFTConfig(name=name).name == name


@pytest.mark.parametrize("name", ["", "-x", ".x", "a b", "a/b", "..", "a\n", "ü", "$(x)", "a" * 64, "latest"])
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        SFTConfig(name=name)


@pytest.mark.parametrize("named", [{"module": "a"}, {"script": "a.py"}, {"command": ["a"]}])
def test_a_component_of_the_users_is_not_the_reference_one(named: dict[str, object]) -> None:
    assert not SFTTrainer.model_validate(named).is_reference
    assert SFTTrainer().is_reference


@pytest.mark.parametrize(
    "named",
    [{"module": "a", "script": "b"}, {"module": "a", "command": ["b"]}, {"script": "a", "command": ["b"]}],
)
def test_a_component_names_one_program(named: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="are both set; name one program"):
        SFTTrainer.model_validate(named)


def test_a_service_needs_a_command() -> None:
    with pytest.raises(ValidationError, match="command"):
        SFTConfig.model_validate({"services": {"reward": {"gpus": 1}}})


def test_a_further_set_that_is_an_environment_is_read_by_the_same_renderer() -> None:
    own = TaskConfig(name="verifiers:a", args={"renderer": {"name": "qwen3"}, "more": 1}, reward="exact")
    sets = EvaluationConfig(sets={"b": "verifiers:b", "c": "sums.jsonl"}).tasks(own)
    assert sets["b"].args == {"renderer": {"name": "qwen3"}} and sets["c"].args == {}


@pytest.mark.parametrize(
    "short", [{"trainer": {"model": {"tiny": {"context": 32}}}}, {"inference": {"max_model_len": 32, "engine": "vllm"}}]
)
def test_a_completion_leaves_room_for_its_prompt(short: dict[str, object]) -> None:
    RLConfig.model_validate(short | {"orchestrator": {"sampling": {"max_tokens": 31}}})
    with pytest.raises(ValidationError, match="max_tokens = 32 leaves no room for a prompt"):
        RLConfig.model_validate(short | {"orchestrator": {"sampling": {"max_tokens": 32}}})


def test_what_a_model_has_learned_is_not_destroyed_by_the_rates_that_tiny_needs() -> None:
    def rates(*options: str) -> tuple[float, float, float | None, float | None]:
        of_rl, of_sft = rl(*options).trainer, sft(*options).trainer
        return of_rl.highest_rate, of_sft.highest_rate, of_rl.whole_loss.entropy, of_rl.whole_loss.exploration

    assert rates() == (3e-3, 3e-3, 0.02, 0.02)
    assert rates("--model", "acme/model") == (1e-6, 1e-5, 0.0, 0.0)
    assert rates("--model", "acme/model", "--trainer.lora.rank", "8") == pytest.approx((1e-5, 1e-4, 0.0, 0.0))
    assert rates("--model", "acme/model", "--trainer.optimizer.lr", "2e-4")[:2] == (2e-4, 2e-4)
    given = rl("--model", "acme/model", "--trainer.loss.entropy", "0.01").trainer.whole_loss
    assert (given.entropy, given.exploration) == (0.01, 0.0)

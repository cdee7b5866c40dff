"""Real environments of `verifiers`, over the builtin server: what is sampled, what is learned from, what goes wrong."""

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from launcher.config.workload import TaskConfig, TinyConfig
from launcher.errors import UserError
from launcher.rundir import RunDir
from launcher.workload.environments.client import Episode
from launcher.workload.models.tiny import END_TOKEN, make_tiny
from launcher.workload.rollout.client import Completed
from launcher.workload.rollout.groups import Rollout, RolloutGroup, group_metrics
from launcher.workload.rollout.handover import Sample
from launcher.workload.rollout.players import load_player
from launcher.workload.rollout.playing import Draw
from launcher.workload.rollout.policy import Policy
from launcher.workload.rollout.servers import InferenceServers
from launcher.workload.rollout.texts import Texts
from launcher.workload.serving.engine import Engine
from tests.workload.running import serving

pytestmark = pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated:DeprecationWarning")  # verifiers'

SHAPE = TinyConfig(layers=1, dim=64, heads=4, context=128)
HERE = Path(__file__).parents[2] / "environments"
CALL = '<tool_call>{"name": "t_tell", "arguments": {"of": "a"}}</tool_call>'


@pytest.fixture(autouse=True)
def environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environments of these tests are packages that can be imported, by programs that they start as well."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def server() -> Iterator[tuple[str, Engine]]:
    with serving(SHAPE) as served:
        yield served


def play(url: str, directory: Path, name: str, n: int = 4, max_tokens: int = 8, **arguments: Any) -> RolloutGroup:
    """The rollouts of one task of an environment."""
    make_tiny(directory / "model", SHAPE, seed=0)

    async def playing() -> RolloutGroup:
        async with InferenceServers(url, "policy") as servers:
            policy = Policy(RunDir(directory), servers, 10, 10)
            player = load_player(TaskConfig(name=f"verifiers:{name}", args=arguments), policy)
            try:
                await player.open(Texts(str(directory / "model")))
                return await player.play(0, player.prompt(0, 0), Draw(n, 1.0, max_tokens, seed=7))
            finally:
                await player.close()

    return asyncio.run(asyncio.wait_for(playing(), 60))


def the_logprobs(model: PreTrainedModel, sample: Sample) -> Tensor:
    """Of every token but the first, by the model that has sampled them."""
    tokens = torch.tensor([sample.tokens])
    with torch.no_grad():
        logprobs = model(tokens).logits[0, :-1].log_softmax(-1)
    return logprobs.gather(1, tokens[0, 1:, None]).squeeze(1)


def check_exact(engine: Engine, rollout: Rollout) -> None:
    """The log-probabilities that are learned with are those of the very tokens that were sampled, and of no others."""
    for sample in rollout.sequences:
        mask, given = torch.tensor(sample.loss_mask[1:]), torch.tensor(sample.logprobs[1:])
        assert torch.allclose(given[mask], the_logprobs(engine.model, sample)[mask], atol=1e-4)
        assert not given[~mask].any() and mask.any()


def test_a_turn_is_learned_from_as_it_was_sampled(server: tuple[str, Engine], tmp_path: Path) -> None:
    url, engine = server
    group = play(url, tmp_path, "reverse-chat")
    assert len(group.rollouts) == 4
    (message,) = group.prompt
    for rollout in group.rollouts:
        (sample,) = rollout.sequences
        assert sample.tokens[: sample.loss_mask.index(True)] == [END_TOKEN, *message["content"].encode()]
        assert rollout.metrics["turns"] == 1.0 and 0 < rollout.metrics["letters"] <= len(rollout.text)
        check_exact(engine, rollout)
    assert group_metrics([group])["task/turns"] == 1.0


def test_the_same_seed_draws_the_same(server: tuple[str, Engine], tmp_path: Path) -> None:
    first, again = (play(server[0], tmp_path, "reverse-chat") for _ in range(2))
    assert first.rollouts == again.rollouts
    assert len({rollout.text for rollout in first.rollouts}) > 1


def test_its_settings_reach_an_environment(server: tuple[str, Engine], tmp_path: Path) -> None:
    group = play(server[0], tmp_path, "reverse-chat", taskset={"length": 7}, agent={"sampling": {"max_tokens": 2}})
    assert len(group.prompt[0]["content"]) == 8
    assert all(rollout.length <= 2 for rollout in group.rollouts)


def taught(model: PreTrainedModel, sequence: list[int]) -> None:
    """The model says the sequence by heart."""
    tokens, optimizer = torch.tensor([sequence]), torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()


def test_a_tool_is_called_and_its_answer_is_read_but_not_learned(server: tuple[str, Engine], tmp_path: Path) -> None:
    url, engine = server
    end = [END_TOKEN]
    prompt, call, answer, said = end + list(b"a?"), [*CALL.encode(), *end], list(b"xy"), [*b"xy", *end]
    taught(engine.model, prompt + call + answer + said)
    group = play(url, tmp_path, "secret-tool", max_tokens=80)
    rollout = max(group.rollouts, key=lambda rollout: rollout.reward)
    (sample,) = rollout.sequences
    assert sample.tokens == prompt + call + answer + said
    assert sample.loss_mask == [False] * 3 + [True] * len(call) + [False] * 2 + [True] * 3
    assert (rollout.reward, rollout.metrics) == (1.0, {"turns": 2.0, "asked": 1.0, "said": 1.0})
    check_exact(engine, rollout)


def test_each_turn_extends_the_tokens_of_the_turns_before_it(server: tuple[str, Engine], tmp_path: Path) -> None:
    url, engine = server
    for rollout in play(url, tmp_path, "count-talk", max_tokens=6).rollouts:
        (sample,) = rollout.sequences
        starts = [at for at in range(1, len(sample.tokens)) if sample.loss_mask[at] and not sample.loss_mask[at - 1]]
        assert len(starts) == 3 == rollout.reward == rollout.metrics["turns"]
        check_exact(engine, rollout)


def test_a_full_context_ends_the_talk_and_what_was_said_counts(server: tuple[str, Engine], tmp_path: Path) -> None:
    for rollout in play(server[0], tmp_path, "count-talk", max_tokens=40, turns=50).rollouts:
        assert rollout.is_cut and 1 < rollout.metrics["turns"] < 50
        assert all(len(sample.tokens) <= SHAPE.context for sample in rollout.sequences)


def test_a_conversation_that_the_template_rewrites_becomes_several_sequences(
    server: tuple[str, Engine], tmp_path: Path
) -> None:
    """The renderer `default` of the package `renderers` renders every turn anew, and loses the token that ends one."""
    url, engine = server
    rollouts = play(url, tmp_path, "count-talk", renderer={"name": "default"}).rollouts
    assert any(len(rollout.sequences) > 1 for rollout in rollouts)
    for rollout in rollouts:
        check_exact(engine, rollout)


def test_a_prompt_that_does_not_fit_ends_the_run(server: tuple[str, Engine], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the prompt has 203 tokens, the model's maximum context length is 128"):
        play(server[0], tmp_path, "reverse-chat", taskset={"length": 201})


def test_an_environment_that_always_fails_ends_the_run_with_its_own_error(
    server: tuple[str, Engine], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="ValueError: there is no such word"):
        play(server[0], tmp_path, "reverse-chat", n=64, taskset={"broken": 1.0})


def test_rollouts_in_which_the_environment_fails_are_left_out(server: tuple[str, Engine], tmp_path: Path) -> None:
    group = play(server[0], tmp_path, "reverse-chat", n=16, taskset={"broken": 0.5})
    assert 0 < len(group.rollouts) < 16
    assert all(math.isfinite(rollout.reward) for rollout in group.rollouts)


@pytest.mark.parametrize(
    ("name", "arguments", "trouble"),
    [
        ("nowhere", {}, "the environment nowhere cannot be imported"),
        ("reverse-chat", {"taskset": {"size": 3}}, "does not take task.args"),
        ("reverse-chat", {"taskset": "train"}, "does not take task.args"),
        ("reverse-chat", {"agent": {"sampling": {"temperature": 0.5}}}, "task.args.agent.sampling has temperature"),
        ("reverse-chat", {"taskset": {"tasks": 1}}, "1 different prompts are too few"),
    ],
)
def test_what_cannot_be_played_is_refused(tmp_path: Path, name: str, arguments: dict[str, Any], trouble: str) -> None:
    with pytest.raises(UserError, match=trouble):
        play("http://127.0.0.1:9", tmp_path, name, **arguments)


def test_two_agents_that_both_learn_are_one_too_many(server: tuple[str, Engine], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trains 2 agents \(counter, second\)"):
        play(server[0], tmp_path, "count-talk", rivals=True)


def test_an_episode_counts_to_the_oldest_policy_that_had_a_part_in_it_and_0_is_one() -> None:
    episode = Episode(1.0, 8, "seed")
    for step in (1, 0, 2):
        episode.count(Completed([1], [0.0], False, step))
    assert episode.policy_step == 0

"""Every metric of the reference workload, with its unit and what it means."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    unit: str  # "1" for a plain number or a share
    meaning: str


LEARNING = {
    "loss": Metric("1", "what the update goes down; the mean over the tokens of all ranks"),
    "optimizer/grad_norm": Metric("1", "norm of the gradient over all ranks, before it is clipped"),
    "optimizer/lr": Metric("1", "learning rate of this update"),
    "perf/step_s": Metric("s", "the whole step, waiting included"),
    "perf/tokens_per_s": Metric("tokens/s", "tokens learned from, over all ranks and the whole step"),
}

RL_TRAINER = LEARNING | {
    "policy/ratio": Metric("1", "mean importance ratio of the policy against the one that sampled"),
    "policy/clip_fraction": Metric("1", "share of the tokens whose ratio was clipped or truncated"),
    "policy/entropy": Metric("nats", "mean entropy of the next token"),
    "policy/kl": Metric("nats", "KL divergence from the policy that sampled"),
    "policy/kl_reference": Metric("nats", "KL divergence from the model that the run started from; with loss.kl alone"),
    "policy/logprob_difference": Metric(
        "nats", "mean difference between trainer's and server's log-probabilities of a token; at lag 0 it is arithmetic"
    ),
    "policy/lag": Metric("updates", "how far behind the policy that sampled was"),
    "perf/wait_for_batch_s": Metric("s", "waited for the orchestrator's batch"),
    "perf/publish_s": Metric("s", "wrote the new weights for the inference servers"),
}

SFT_TRAINER = LEARNING | {
    "data/tokens": Metric("tokens", "tokens learned from in this step, over all ranks"),
    "validation/loss": Metric("nats", "mean loss of a token of the held-out completions"),
    "evaluation/exact_match": Metric("1", "share of the held-out prompts that are completed exactly right"),
}

# beside these, an environment of verifiers has task/turns, and task/NAME for each metric of its own
ORCHESTRATOR = {
    "reward/mean": Metric("1", "mean reward of the step's samples"),
    "reward/std": Metric("1", "standard deviation of the rewards"),
    "reward/min": Metric("1", "lowest reward"),
    "reward/max": Metric("1", "highest reward"),
    "groups/solved": Metric("1", "share of the groups in which every sample has a reward of 1 or more"),
    "groups/without_signal": Metric("1", "share of the groups in which all rewards are equal: nothing to learn from"),
    "groups/stale": Metric("1", "groups that were dropped because their policy had become too old"),
    "groups/resampled": Metric("1", "groups without signal in whose place others were drawn"),
    "reward/failed": Metric("1", "rewards that raised or took too long, which count as 0"),
    "completion/length": Metric("tokens", "mean length of a completion"),
    "completion/cut": Metric("1", "share of the completions that had no room for their end"),
    "policy/lag": Metric("updates", "how far behind the policy that sampled was, on average"),
    "time/rollout_s": Metric("s", "sampling and scoring"),
    "time/wait_for_weights_s": Metric("s", "waited for the trainer's weights, loading them included"),
    "time/load_weights_s": Metric("s", "the inference servers took to load their newest weights"),
    "time/step_s": Metric("s", "the whole step"),
    "evaluation/reward": Metric("1", "mean reward of the held-out prompts' completions (average@k)"),
    "evaluation/solved": Metric("1", "share of the held-out prompts with a completion of reward 1 or more (pass@k)"),
    "evaluation/cut": Metric("1", "share of these completions that had no room for their end"),
    "evaluation/policy_step": Metric("updates", "of the policy that was evaluated"),
}

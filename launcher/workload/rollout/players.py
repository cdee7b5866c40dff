"""The player of the task that a configuration names."""

from launcher.config.workload import VERIFIERS, TaskConfig
from launcher.errors import UserError
from launcher.workload.rollout.playing import OneTurn, Player
from launcher.workload.rollout.policy import Policy
from launcher.workload.tasks import load_task


def load_player(config: TaskConfig, policy: Policy, for_evaluation: bool = False) -> Player:
    """Raises UserError as `load_task` does. `for_evaluation` holds out every prompt of a file or an environment."""
    if config.environment is not None:
        return _environment(config, policy, for_evaluation)
    return OneTurn(load_task(config, for_evaluation), config.reward_timeout, policy)


def _environment(config: TaskConfig, policy: Policy, for_evaluation: bool) -> Player:
    try:
        from launcher.workload.environments.environment import Environment  # imports verifiers, an extra
    except ImportError as error:
        if "verifiers" not in str(error):
            raise
        raise UserError(f"the task {config.name} needs the package verifiers", VERIFIERS) from error
    return Environment(config, policy, for_evaluation)

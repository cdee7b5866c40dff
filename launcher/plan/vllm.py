"""Which engine generates, and the command that starts vLLM as one whose weights can be replaced."""

from launcher.config.run import Inference, RLConfig
from launcher.config.serving import EngineName
from launcher.config.workload import TINY
from launcher.errors import UserError
from launcher.plan.addresses import Addresses
from launcher.plan.spec import Machine

MODEL_NAME = "policy"
ACCESS = "launch_vllm_access.Access"  # the middleware in launcher/vllm_access
FOR_VLLM = ("python", "tensor_parallel", "data_parallel", "max_model_len", "gpu_memory")
INSTALL = "name its environment with --inference.python, or use --inference.engine builtin; see docs/workload.md"


def choose_engine(config: RLConfig, machine: Machine) -> tuple[EngineName, tuple[str, ...]]:
    """The engine, and what to tell the user about the choice. Raises UserError when it cannot be had."""
    inference, model = config.inference, config.trainer.model.name
    if not (inference.enabled and inference.is_reference):
        return inference.engine or "builtin", ()
    if inference.engine == "vllm" and machine.vllm is None:
        raise UserError("inference.engine = 'vllm': the vllm command is not there", INSTALL)
    engine = inference.engine or ("vllm" if model != TINY and machine.vllm else "builtin")
    unused = [name for name in FOR_VLLM if getattr(inference, name) != Inference.model_fields[name].default]
    if engine == "builtin" and unused:
        missing = "" if machine.vllm else ", and no vllm command is there"
        raise UserError(
            f"inference.{unused[0]} is for vLLM, but the engine is builtin{missing}", "add --inference.engine vllm"
        )
    return engine, tuple(_said(inference, machine, model, engine))


def _said(inference: Inference, machine: Machine, model: str, engine: EngineName) -> list[str]:
    """The choice, where the user has left it to us."""
    if inference.engine is not None or model == TINY:
        return []
    if engine == "vllm":
        return [f"inference runs {machine.vllm}; --inference.engine builtin takes the small server instead"]
    return ["inference is the small builtin server, since there is no vllm command: install vLLM to generate faster"]


def gpus_of(inference: Inference, engine: EngineName) -> int:
    """How many GPUs the server asks for."""
    if inference.gpus is not None:
        return inference.gpus
    return inference.tensor_parallel * inference.data_parallel if engine == "vllm" and inference.is_reference else 1


def vllm_argv(servers: Addresses, model: str) -> tuple[str, ...]:
    """The command line, but for the user's `args`."""
    config, vllm, settings = servers.config, servers.machine.vllm, servers.config.inference
    assert vllm is not None
    argv: tuple[str, ...] = (vllm, "serve", model, "--served-model-name", MODEL_NAME)
    argv += ("--host", servers.host, "--port", str(servers.port))
    argv += ("--dtype", config.trainer.model.dtype)
    argv += ("--logprobs-mode", "processed_logprobs")  # those of the distribution that is sampled from
    argv += ("--generation-config", "vllm")  # not the model's own top_p and top_k
    argv += ("--middleware", ACCESS)
    if settings.tensor_parallel > 1:
        argv += ("--tensor-parallel-size", str(settings.tensor_parallel))
    if settings.data_parallel > 1:
        argv += ("--data-parallel-size", str(settings.data_parallel))
    if settings.max_model_len is not None:
        argv += ("--max-model-len", str(settings.max_model_len))
    if settings.gpu_memory is not None:
        argv += ("--gpu-memory-utilization", str(settings.gpu_memory))
    return argv


def vllm_environment(machine: Machine) -> dict[str, str]:
    """Variables that open vLLM's endpoints for weights, and bring our check of who may use them."""
    path = machine.search_paths.get("PYTHONPATH")
    env = {
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "PYTHONPATH": f"{machine.vllm_access}:{path}" if path else str(machine.vllm_access),
    }
    if not machine.gpus:
        env |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return {name: value for name, value in env.items() if name not in machine.variables or name == "PYTHONPATH"}

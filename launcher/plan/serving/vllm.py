"""Which engine generates, and the command that starts vLLM as one whose weights can be replaced."""

from collections.abc import Mapping

from launcher.config.run import RLConfig
from launcher.config.sections import Inference
from launcher.config.serving import EngineName
from launcher.config.workload import TINY
from launcher.errors import UserError
from launcher.plan.environment import joined
from launcher.plan.placement import Placement, Server
from launcher.plan.serving.addresses import Addresses
from launcher.plan.spec import Machine

MODEL_NAME = "policy"
ACCESS = "launch_vllm_access.Access"  # the middleware in launcher/vllm_access
WORKER = "launch_vllm_worker.Worker"  # in the same folder
VLLM = "vllm"  # the command
VLLM_SHARE = 0.9  # of a GPU's memory, which vLLM takes unless it is told otherwise
FOR_VLLM = ("tensor_parallel", "data_parallel", "max_model_len", "gpu_memory")
INSTALL = "name its environment with --inference.python, or use --inference.engine builtin; see docs/workload.md"


def choose_engine(config: RLConfig, machine: Machine) -> tuple[EngineName, tuple[str, ...]]:
    """The engine, and what to tell the user about the choice. Raises UserError for settings of another engine."""
    inference, model = config.inference, config.trainer.model.name
    if not inference.enabled:
        return inference.engine or "builtin", ()
    if not inference.is_reference:
        if wrong := _changed(inference, FOR_VLLM):
            hint = "give it to your own server, in its command or args"
            raise UserError(f"inference.{wrong[0]} is for a vLLM that launch starts", hint)
        return inference.engine or "builtin", ()
    if machine.nodes and inference.engine is None and model != TINY:
        what = "the nodes of a run must agree on the engine, and each sees only what is installed there"
        raise UserError(what, "add --inference.engine vllm, or builtin, on every node")
    engine = inference.engine or ("vllm" if model != TINY and machine.vllm else "builtin")
    if engine == "builtin" and (wrong := _changed(inference, ("python", *FOR_VLLM))):
        missing = "" if machine.vllm else ", and there is no vllm command here"
        what = f"inference.{wrong[0]} is for vLLM, but the engine is builtin{missing}"
        raise UserError(what, "add --inference.engine vllm")
    if engine == "vllm" and _changed(inference, ("max_batch",)):
        raise UserError("inference.max_batch is for the builtin engine", "vLLM's is --inference.args=--max-num-seqs=N")
    return engine, tuple(_said(inference, machine, model, engine))


def _changed(inference: Inference, names: tuple[str, ...]) -> list[str]:
    """Which of these settings have another value than their default."""
    return [name for name in names if getattr(inference, name) != Inference.model_fields[name].default]


def _said(inference: Inference, machine: Machine, model: str, engine: EngineName) -> list[str]:
    """The choice, where the user has left it to us."""
    if inference.engine is not None or model == TINY:
        return []
    if engine == "vllm":
        return [f"inference runs {machine.vllm}; --inference.engine builtin takes the small server instead"]
    return ["inference is the small builtin server, since there is no vllm command: install vLLM to generate faster"]


def server_of(config: RLConfig, engine: EngineName) -> Server:
    """What the inference servers of a node ask for."""
    inference = config.inference
    is_own = inference.is_reference and engine == "builtin"
    return Server(_gpus_of(inference, engine), inference.share_gpus, is_own, inference.replicas, inference.gpus_first)


def _gpus_of(inference: Inference, engine: EngineName) -> int:
    """How many GPUs the servers of a node ask for together."""
    if inference.gpus is not None:
        return inference.gpus
    is_vllm = engine == "vllm" and inference.is_reference
    return (inference.tensor_parallel * inference.data_parallel if is_vllm else 1) * inference.replicas


def share_served(config: RLConfig, engine: EngineName, placement: Placement) -> float:
    """The share of the trainer's GPUs that vLLM takes, if it has some of them as well."""
    shares = set(placement.trainer) & set(placement.inference)
    if not (shares and engine == "vllm" and config.inference.is_reference):
        return 0.0
    return config.inference.gpu_memory or VLLM_SHARE


def vllm_argv(servers: Addresses, model: str) -> tuple[str, ...]:
    """The command line, but for the user's `args`."""
    config, settings = servers.config, servers.config.inference
    argv: tuple[str, ...] = (servers.machine.vllm or VLLM, "serve", model, "--served-model-name", MODEL_NAME)
    argv += ("--host", servers.host, "--port", str(servers.port))
    argv += ("--dtype", config.trainer.model.dtype)
    argv += ("--logprobs-mode", "processed_logprobs")  # those of the distribution that is sampled from
    argv += ("--generation-config", "vllm")  # not the model's own top_p and top_k
    argv += ("--middleware", ACCESS)
    if _may_mix_up_experts(servers):
        argv += ("--worker-cls", WORKER)
    if settings.tensor_parallel > 1:
        argv += ("--tensor-parallel-size", str(settings.tensor_parallel))
    if settings.data_parallel > 1:
        argv += ("--data-parallel-size", str(settings.data_parallel))
    if settings.max_model_len is not None:
        argv += ("--max-model-len", str(settings.max_model_len))
    if settings.gpu_memory is not None:
        argv += ("--gpu-memory-utilization", str(settings.gpu_memory))
    return argv


def _may_mix_up_experts(servers: Addresses) -> bool:
    """Whether it is vLLM for CPUs, and the model has experts or is not here yet; see launch_vllm_worker."""
    size = servers.machine.model
    is_dense = servers.config.trainer.model.name == TINY or (size is not None and not size.has_experts)
    return not (servers.machine.gpus or is_dense)


def needs_model_first(config: RLConfig, engine: EngineName) -> bool:
    """Whether the model `tiny` must be made before vLLM starts; our own programs make it themselves."""
    inference = config.inference
    is_ours = inference.enabled and inference.is_reference
    return is_ours and engine == "vllm" and config.trainer.model.name == TINY


def vllm_environment(machine: Machine, own: Mapping[str, str]) -> dict[str, str]:
    """Variables that open vLLM's endpoints for weights, and bring our check of who may use them.

    `own` is what the user has set for it.
    """
    given = own.get("PYTHONPATH", machine.search_paths.get("PYTHONPATH"))
    env = {"VLLM_SERVER_DEV_MODE": "1", "PYTHONPATH": joined(str(machine.vllm_access), given)}
    usual = {"VLLM_NO_USAGE_STATS": "1"}
    if not machine.gpus:
        usual |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return env | {name: value for name, value in usual.items() if name not in machine.variables and name not in own}

"""(config, machine, run directory) -> Plan."""

from collections.abc import Iterator
from typing import Any

from launcher.borders.masking import is_masked
from launcher.config.component import ComponentConfig, LastingConfig, ProcessConfig
from launcher.config.rollout import OrchestratorConfig
from launcher.config.run import Config, RLConfig, SFTConfig, TrainConfig, hand_over, is_reference
from launcher.config.serving import INFERENCE_TOKEN, InferenceConfig
from launcher.config.toml import to_toml
from launcher.config.training import RLTrainerConfig, SFTTrainerConfig
from launcher.config.wandb import WandbSection
from launcher.config.workload import TINY, Handed
from launcher.errors import UserError
from launcher.options.comments import FROM, Asked, annotated, with_header
from launcher.plan.environment import OFFLINE, additions, flight_recorder, foreign_torchrun, own_python, strays, threads
from launcher.plan.memory import serving_text, training, training_memory
from launcher.plan.placement import Placement, place, place_servers_alone
from launcher.plan.program import Programs, directory_to_load, file_to_learn, needed_of_hub, with_checkpoint
from launcher.plan.ready import check_alive, check_ready
from launcher.plan.refusals import check_batch, check_chat_template, check_context, check_program, check_weights_dir
from launcher.plan.serving.addresses import Addresses, check_ports
from launcher.plan.serving.tensor_parallel import check_tensor_parallel
from launcher.plan.serving.vllm import (
    choose_engine,
    needs_model_first,
    server_of,
    share_served,
    vllm_argv,
    vllm_environment,
)
from launcher.plan.spec import Alive, Machine, Plan, ProcessSpec, Progress, Role
from launcher.plan.torchrun import between_nodes, plan_ranks, rank_files, rank_logs, torchrun_argv, warnings
from launcher.plan.wandb_runs import WandbRuns
from launcher.rundir import RunDir

UNREPEATED = frozenset({"name", "output_dir"})  # they belong to this run, not to a repetition of it


def make_plan(config: Config, machine: Machine, run: RunDir, name: str) -> Plan:
    """Everything that will be started. Raises UserError if the request does not fit the machine."""
    return _Planner(config, machine, run, name).plan()


def run_toml(config: Config, asked: Asked) -> str:
    """The run's config.toml: below the commands that were typed, each value that they changed with its origin."""
    text = to_toml(config, leave_out=UNREPEATED)
    origins = asked.origins
    text = annotated(text, lambda path, _: FROM + origins[path] if path in origins else None) if origins else text
    return with_header(text, asked.commands)


class _Planner:
    def __init__(self, config: Config, machine: Machine, run: RunDir, name: str) -> None:
        self.nodes = machine.nodes
        run, config = run.on(self.nodes.rank if self.nodes else None), with_checkpoint(config, machine.model_path)
        self.config, self.machine, self.run, self.name = config, machine, run, name
        self.rl = config if isinstance(config, RLConfig) else None
        self.servers = Addresses(self.rl, machine) if self.rl else None
        self.replicas = {server.name: server for server in self.servers.each} if self.servers else {}
        self.kind = config.kind
        self.engine, engine_notes = choose_engine(self.rl, machine) if self.rl else ("builtin", ())
        self.placement = self._place()
        self.programs = Programs(config, machine, run, name, self.placement.nproc, self.servers, self.replicas)
        self.notes: list[str] = [*engine_notes, *_unused_steps(config), *filter(None, [machine.without_hub])]
        self.wandb = WandbRuns(config, machine, run, name, self.notes)
        self.files = [(run.config, run_toml(config, machine.asked))]

    def plan(self) -> Plan:
        check_program(self.config)
        check_ports(self.config, self.machine)
        if self.rl:
            check_weights_dir(self.rl, self.nodes)
        processes = tuple(self._processes())
        return Plan(
            kind=self.kind,
            name=self.name,
            run=self.run,
            processes=processes,
            files=tuple(self.files),
            progress=Progress.of(self.config),
            grace=self.config.grace,
            drain_timeout=self.config.drain_timeout,
            max_restarts=self.config.max_restarts,
            run_id=self.machine.run_id,
            own_checkpoints=self.config.trainer.is_reference,
            wandb=self.wandb.is_on,
            foreign_wandb=tuple(self.wandb.foreign),
            notes=(*self.placement.notes, *self.notes, *warnings(self.config.trainer.torchrun, self.nodes, processes)),
            nodes=self.nodes,
            first=self._first(),
            weights_dir=self.rl.weights_dir if self.rl else None,
        )

    def _processes(self) -> Iterator[ProcessSpec]:
        if self._is_here("trainer"):
            yield self._trainer()
        if self.servers and self.servers.config.orchestrator.enabled and self._is_here("orchestrator"):
            yield self._orchestrator(self.servers)
        if self.servers and self.servers.config.inference.enabled and self._is_here("inference"):
            yield from map(self._inference, self.servers.each)
        for name, service in self.config.services.items():
            if not self._is_here(name):
                continue
            argv = self.programs.expand(name, (*service.command, *self.programs.arguments(service)))
            yield self._spec(name, service, argv, Role.SERVES, self.placement.service(name))

    def _is_here(self, component: str) -> bool:
        return self.nodes is None or self.nodes.runs(component)

    # --- components ---

    def _trainer(self) -> ProcessSpec:
        trainer, nproc = self.config.trainer, self.placement.nproc
        if isinstance(self.config, TrainConfig):
            self.wandb.add("trainer", self.config.trainer)
        else:
            self._hand_over("trainer", RLTrainerConfig if self.rl else SFTTrainerConfig, trainer)
        argv = self.programs.argv("trainer", trainer, f"launcher.workload.{self.kind}")
        if trainer.command is not None:
            return self._spec("trainer", trainer, argv, Role.FINISHES, self.placement.trainer)
        settings = between_nodes(trainer.torchrun, self.nodes)
        log_dir = rank_files(settings, self.run, self.machine.cwd)
        ranks = plan_ranks(settings, nproc, log_dir, self._rendezvous(), self.nodes.place if self.nodes else 0)
        argv = torchrun_argv(self.programs.python("trainer"), settings, ranks, argv[1:])
        env = threads(self.machine, nproc + len(self.replicas)) | flight_recorder(self.machine, self.run)
        logs = rank_logs(settings, ranks, self.run, trainer.is_reference)
        more = {"ranks": ranks, "rank_logs": logs, "memory": self._memory(), "data": file_to_learn(self.config)}
        more["loss"] = self.rl.trainer.loss.target if self.rl and trainer.is_reference else None
        check_batch(self.config, self._all_ranks)
        return self._spec("trainer", trainer, argv, Role.FINISHES, self.placement.trainer, env, **more)

    @property
    def _all_ranks(self) -> int:
        """The trainer's, on all nodes; if a range of nodes may join, on the fewest."""
        return self.placement.nproc * (self.nodes.trainer if self.nodes else 1)

    def _memory(self) -> str | None:
        """What each rank will take. None for a program of the user's, or a model that is not on this machine."""
        size = self.machine.model
        if size is None or isinstance(self.config, TrainConfig) or not self.config.trainer.is_reference:
            return None
        memory = training_memory(size, training(self.config.trainer, self._all_ranks))
        served = share_served(self.rl, self.engine, self.placement) if self.rl else 0.0
        if too_much := memory.beyond(self.machine.gpu_memory, served):
            self.notes.append(too_much)
        return str(memory)

    def _orchestrator(self, servers: Addresses) -> ProcessSpec:
        config = servers.config
        own = {"inference_url": servers.urls, "model": config.trainer.model, "engine": self.engine}
        self._hand_over("orchestrator", OrchestratorConfig, config.orchestrator, **own)
        check_chat_template(config, self.machine.chat_template)
        check_context(config, self.machine.model)
        argv = self.programs.argv("orchestrator", config.orchestrator, "launcher.workload.orchestrator")
        return self._spec("orchestrator", config.orchestrator, argv, Role.FINISHES, env=self._inference_token(config))

    def _inference(self, servers: Addresses) -> ProcessSpec:
        config, name = servers.config, servers.name
        own = {"model": config.trainer.model, "host": servers.host, "port": servers.port}
        self._hand_over(name, InferenceConfig, config.inference, **own)
        if config.inference.is_reference and self.engine == "vllm":
            return self._vllm(servers)
        argv = self.programs.argv(name, config.inference, "launcher.workload.inference")
        ready = f"{servers.own_url}/health" if config.inference.is_reference else None
        return self._spec(name, config.inference, argv, Role.SERVES, *self._share(servers), ready=ready)

    def _share(self, servers: Addresses) -> tuple[tuple[str, ...], dict[str, str]]:
        """A server's GPUs, its threads and the token."""
        gpus = self.placement.replica(servers.number, len(self.replicas))
        shared = threads(self.machine, self.placement.nproc + len(self.replicas))
        return gpus, shared | self._inference_token(servers.config)

    def _vllm(self, servers: Addresses) -> ProcessSpec:
        config = servers.config
        check_tensor_parallel(config, self.machine.model)
        model = str(self.run.model) if config.trainer.model.name == TINY else self.machine.model_path
        arguments = self.programs.expand(servers.name, self.programs.arguments(config.inference))
        more: dict[str, Any] = {"ready": f"{servers.own_url}/health"}
        if size := self.machine.model:
            more["memory"] = serving_text(size, config.inference.tensor_parallel, config.trainer.model.dtype)
        argv = (*vllm_argv(servers, model), *arguments)
        return self._spec(servers.name, config.inference, argv, Role.SERVES, *self._share(servers), **more)

    def _first(self) -> tuple[tuple[str, ...], ...]:
        if not (self.rl and self._is_here("inference") and needs_model_first(self.rl, self.engine)):
            return ()
        handed = str(self.run.component_config(next(iter(self.replicas))))
        return ((self.machine.python, "-m", "launcher.workload.models.tiny", "@", handed),)

    def _inference_token(self, config: RLConfig) -> dict[str, str]:
        """The token that lets a client change our server's weights."""
        if self.machine.inference_token and config.inference.enabled and config.inference.is_reference:
            return {INFERENCE_TOKEN: self.machine.inference_token}
        return {}

    def _hand_over(self, component: str, handed_type: type[Handed], settings: Any, **own: Any) -> None:
        run = {"run_name": self.name, "output_dir": self.run.root, "attempt": self.run.attempt, "node": self.run.node}
        if isinstance(settings, WandbSection):
            run["wandb"] = self.wandb.add(component, settings)
        handed = hand_over(handed_type, self.config, settings, own | run)
        self.files.append((self.run.component_config(component), to_toml(handed)))

    def _spec(
        self,
        name: str,
        settings: ProcessConfig,
        argv: tuple[str, ...],
        role: Role,
        gpus: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        **more: Any,
    ) -> ProcessSpec:
        asked = self.programs.asked_as(name)
        own = {key: self.programs.value(name, value) for key, value in self._variables(asked, settings)}
        from_file = self.machine.env_files.get(asked, {})
        hidden = frozenset(from_file) - own.keys()
        own = {**from_file, **own}
        env = {**additions(name, self.config, self.machine, self.run, gpus), **(env or {})}
        if isinstance(settings, ComponentConfig) and not settings.is_reference:
            env |= self.wandb.pass_on(name)
        if self.machine.without_hub and is_reference(settings):
            env |= OFFLINE
        env |= own
        if self.engine == "vllm" and asked == "inference" and is_reference(settings):
            env |= vllm_environment(self.machine, own)
        if asked in self.machine.pythons:
            env |= own_python(self.machine, self.programs.python(name), own)
            env |= foreign_torchrun(self.machine, own) if more.get("ranks") else {}
        if settings.ready:
            more["ready"] = check_ready(asked, self.programs.value(name, settings.ready))
        if is_reference(settings) and name == ("orchestrator" if self.rl else "trainer"):
            more["tasks"] = self.config.tasks
            more["chat_template"] = self.machine.chat_template
        more["model_directory"] = directory_to_load(self.machine, asked, settings)
        more["on_hub"] = tuple(needed_of_hub(self.config, self.machine.model_path, asked, settings))
        if isinstance(settings, LastingConfig):
            more |= {"restarts": settings.restarts, "may_exit": getattr(settings, "may_exit", False)}
            more["alive"] = self._alive(name, settings, more.get("ready"))
        return ProcessSpec(
            name=name,
            argv=argv,
            role=role,
            cwd=self.machine.cwd / (settings.cwd or ""),
            log=self.run.component_log(name),
            env=env,
            hidden=hidden,
            unset=tuple(stray for stray in strays(self.machine.variables) if stray not in own),
            gpus=gpus,
            after=tuple(self._awaited(settings)),
            progress=settings.progress,
            ready_timeout=settings.ready_timeout,
            watchdog=settings.watchdog,
            **more,
        )

    # --- values ---

    def _awaited(self, settings: ProcessConfig) -> Iterator[str]:
        """The processes of this node that one comes after; `inference` means all of its servers."""
        for other in filter(self._is_here, settings.after):
            yield from self.replicas if other == "inference" else (other,)

    def _alive(self, name: str, settings: LastingConfig, ready: str | None) -> Alive | None:
        own = None if settings.alive is None else self.programs.value(name, settings.alive)
        check = check_alive(self.programs.asked_as(name), own, ready)
        return Alive(check, settings.alive_interval, settings.alive_misses) if check else None

    def _variables(self, name: str, settings: ProcessConfig) -> Iterator[tuple[str, str]]:
        """The user's variables. A secret that is masked in the stored configuration comes from the environment."""
        for key, value in settings.env.items():
            if not is_masked(key, value):
                yield key, value
            elif key in self.machine.variables:
                note = f"{name}.env.{key} is masked in the file: taken from the environment"
                self.notes += [note] if note not in self.notes else []
            else:
                raise UserError(f"{name}.env.{key} is masked in the file", f"set it: export {key}=...")

    def _place(self) -> Placement:
        if not self._is_here("trainer"):
            return place_servers_alone(self.machine.gpus, len(self.replicas))
        asks_here = self.rl and self.rl.inference.enabled and self._is_here("inference")
        server = server_of(self.rl, self.engine) if self.rl and asks_here else None
        services = {name: service for name, service in self.config.services.items() if self._is_here(name)}
        return place(self.machine.gpus, self.config.trainer.nproc, server, services, self.machine.cpus)

    def _rendezvous(self) -> str:
        """Unique for each attempt, since torchrun overwrites the files below it."""
        return f"{self.config.trainer.torchrun.rdzv_id or self.name}-{self.run.attempt}"


def _unused_steps(config: Config) -> Iterator[str]:
    if isinstance(config, SFTConfig) and config.trainer.epochs is not None and "max_steps" in config.model_fields_set:
        yield f"trainer.epochs decides how long the run is: max_steps {config.max_steps} is not used"

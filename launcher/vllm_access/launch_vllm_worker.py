"""vLLM's worker on a machine without a GPU, for models with experts. vLLM loads it by `--worker-cls`.

On a CPU, vLLM keeps the weights of experts in the order that its kernel reads. Version 0.32 puts them into that order
when it loads a model, but not when it loads new weights: from then on it samples from a model whose experts are mixed
up. (`_setup_kernel` in its `unquantized_fused_moe_method.py` omits it where a kernel is there. Where the experts' width
is no multiple of 32, loading ends in an error.) It imports nothing of ours, so that a Python without our package can
load it.
"""

from typing import Any

from vllm.platforms import current_platform

if current_platform.is_cpu():
    from vllm.v1.worker.cpu_worker import CPUWorker as Base
else:  # a GPU that NVML does not see
    from vllm.v1.worker.gpu_worker import Worker as Base


class Worker(Base):  # type: ignore[misc]
    """Loads new weights as vLLM loads the first ones."""

    def reload_weights(self, *args: Any, **kwargs: Any) -> None:
        if current_platform.is_cpu():
            for layer in self.get_model().modules():
                method: Any = getattr(layer, "quant_method", None)
                if getattr(method, "moe_kernel", None) is not None:
                    method.moe_kernel = None  # vLLM makes it again, and puts the weights into its order
        super().reload_weights(*args, **kwargs)

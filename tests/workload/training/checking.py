"""Whether two runs have learned the same."""

import torch
from safetensors.torch import load_file

from launcher.rundir import RunDir


def assert_same_weights(one: RunDir, other: RunDir, step: int) -> None:
    """To within float32's rounding, at one step's checkpoints of a model `tiny`."""
    ours, theirs = (load_file(run.checkpoint(step) / "model.safetensors") for run in (one, other))
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        if name.endswith("c_attn.bias"):
            # the keys' bias changes no attention, so its gradient is rounding alone, and AdamW makes a step of it
            queries, _, values = weights.chunk(3)
            their_queries, _, their_values = theirs[name].chunk(3)
            weights, theirs[name] = torch.cat([queries, values]), torch.cat([their_queries, their_values])
        torch.testing.assert_close(theirs[name], weights, atol=3e-5, rtol=1e-5, msg=name)

"""A process of a training in an environment that is not at hand: python changed_worker.py FOLDER HOW."""

from __future__ import annotations

import sys
from pathlib import Path


def split_on_cpu() -> None:
    """Let accelerate split models over CPU processes, as it does over GPUs alone."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    prepare = PartialState.__init__

    def as_on_gpus(self, *arguments, **named) -> None:
        prepare(self, *arguments, **named)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = as_on_gpus


def little_memory() -> None:
    """Run out of memory where more than one pair goes through at once."""
    import torch

    from training import methods

    load = methods.load_base

    def forward(module, arguments, inputs) -> None:
        if inputs["input_ids"].shape[0] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    def load_base(*arguments):
        model = load(*arguments)
        model.register_forward_pre_hook(forward, with_kwargs=True)
        return model

    methods.load_base = load_base


if __name__ == "__main__":
    {"split": split_on_cpu, "tight": little_memory}[sys.argv[2]]()
    from training.worker import main

    sys.exit(main(Path(sys.argv[1]), with_parent=True))

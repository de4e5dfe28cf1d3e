"""What shards are worked on with: the model and the options. One in this process, or one in each worker
of a cluster; the functions that make a shard are handed it and nothing else of the job."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch

from explorer.core.model import LanguageModel
from explorer.core.model_blocks import Blocks
from precompute.config import JobConfig
from precompute.cutting import BATCH_TOKENS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def batch_tokens_on(device: str) -> int:
    """Tokens in one forward pass on this device, `cpu` or `cuda`."""
    return BATCH_TOKENS[device]


class Worker:
    """A loaded model and the options of the run."""

    def __init__(self, model: LanguageModel, config: JobConfig) -> None:
        self.model = model
        self.config = config
        self.batch_tokens = batch_tokens_on(model.device.type)
        self.tick: Callable[[float], object] = lambda by: None
        """Told of progress within a shard, in the units of its stage."""

    @cached_property
    def blocks(self) -> Blocks:
        """The model's blocks step by step. Raises UnsupportedModelError."""
        return Blocks(self.model)

    @property
    def reading_dtype(self) -> torch.dtype:
        """Numbers in which the corpus is read."""
        return DTYPES[self.config.dtype]

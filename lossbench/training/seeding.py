"""One seed, several streams: what one part of a training draws does not move another's."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Generator


def seed_everything(seed: int) -> None:
    """Seed the global generators, which initialise the model and the head."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def stream(seed: int, name: str) -> Generator:
    """A CPU generator of its own for one purpose (`order`, `augment`).

    With the same seed every row sees the same batches and the same augmentations.
    """
    state = np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0] >> 1))

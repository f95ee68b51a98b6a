"""Independent random streams from one seed.

Random numbers drawn by one part of a training do not affect the others.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Generator


def seed_everything(seed: int) -> None:
    """Seed the global generators, from which the model and the head are initialised."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def stream(seed: int, name: str) -> Generator:
    """Separate CPU generator for one purpose (`order`, `augment`).

    With the same seed, every row gets the same batches and the same augmentations.
    """
    state = np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0] >> 1))


def random_states() -> dict[str, Any]:
    """States of the global generators, as tensors, numbers and text."""
    version, inner, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states: dict[str, Any] = {
        "python": [version, list(inner), gauss],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys, np.int64)), position],
        "numpy_gauss": [has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    version, inner, gauss = states["python"]
    random.setstate((version, tuple(inner), gauss))
    name, keys, position = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, *states["numpy_gauss"]))
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])

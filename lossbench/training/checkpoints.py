"""Checkpoints: files with the complete state of a training after an epoch.

On a CPU, a training that resumes from a checkpoint gives bit-identical results.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import pickle
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lossbench.suite.atomic_files import atomic_path
from lossbench.training.loop import Training
from lossbench.training.seeding import random_states, restore_random_states

State = dict[str, Any]
"""Only tensors, numbers and text, so that loading cannot execute code."""

_MAGIC = b"lossbench checkpoint 1 sha256 "
_MAX_KEPT = 2
UNREADABLE = (
    RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile
)  # fmt: skip
"""Exceptions of `torch.load` for a file of another format, or with other objects than data."""
_MAX_TIME_SHARE = 0.05
"""Largest share of the training time for writing checkpoints."""


def snapshot(training: Training) -> State:
    """State for `restore`. All processes of a group have to call this function together."""
    own = {
        "order": training.order_stream.get_state(),
        "augment": training.augment_stream.get_state(),
        **random_states(),
    }
    state = {
        "epochs_done": training.epochs_done,
        "model": training.model.state_dict(),
        "head": training.head.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "random": training.group.collect(own),
    }
    if training.averaging is not None:
        state["averaging"] = training.averaging.state()
    return state


def restore(training: Training, state: State) -> None:
    """Bring a newly built training into the state of a snapshot.

    Raises:
        KeyError, RuntimeError, ValueError: The snapshot is of another training.
    """
    training.model.load_state_dict(state["model"])
    training.head.load_state_dict(state["head"])
    training.optimizer.load_state_dict(state["optimizer"])
    if training.averaging is not None:
        training.averaging.load_state(state["averaging"])
    own = state["random"][training.group.rank]
    training.order_stream.set_state(own["order"])
    training.augment_stream.set_state(own["augment"])
    restore_random_states(own)
    training.epochs_done = state["epochs_done"]


class Checkpoints:
    """Last two checkpoints of one trial; incomplete files are never left.

    Args:
        folder: Folder of this trial only; created with the first checkpoint.
        environment: Versions and device. Checkpoints with other values are not used.
        every_sec: Minimum time between two checkpoints; 0: one per epoch. The time is longer if
            writing checkpoints would take more than 5 % of the training time.
        on_change: Called after each change in the folder, for a local copy of a remote folder.

    Attributes:
        folder: Folder of the checkpoints.
        notes: Messages for the user, each one line.
        required_after: Epoch after which a checkpoint is always written, because the training
            pauses there.
        deadline: Time on the monotonic clock from which a checkpoint is always written, because the
            process ends.
        last_epoch: Epoch of the last checkpoint of this process, even if it could not be written;
            None before the first.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        every_sec: float = 0.0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self._on_change = folder, on_change
        # a version may be a subclass of str, which `weights_only` does not load
        self._environment = {key: str(value) for key, value in environment.items()}
        self._wait_sec, self._every_sec = every_sec, every_sec
        self._saved_at = time.monotonic()
        self._noted_failure = False
        self.notes: list[str] = []
        self.required_after: int | None = None
        self.deadline = math.inf
        self.last_epoch: int | None = None

    def is_due(self, epoch: int) -> bool:
        """Whether a checkpoint should be written after an epoch."""
        now = time.monotonic()
        waited = now - self._saved_at >= self._wait_sec
        return waited or now >= self.deadline or epoch == self.required_after

    def save(self, epoch: int, state: State) -> None:
        """Write a checkpoint and delete older ones. If the disk is full, only add a note."""
        started = time.monotonic()
        self.last_epoch = epoch
        content = io.BytesIO()
        torch.save({"made_by": self._environment, "state": state}, content)
        payload = content.getbuffer()
        path = self.folder / f"epoch-{epoch:08d}.pt"
        try:
            with atomic_path(path, durable=True) as temporary, temporary.open("wb") as file:
                file.write(_MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n")
                file.write(payload)
            for old in self._newest_first()[_MAX_KEPT:]:
                old.unlink(missing_ok=True)
            self._on_change()
            self._noted_failure = False
        except OSError as error:
            if not self._noted_failure:  # once for a series of failures
                self.notes.append(f"no checkpoint of epoch {epoch}: {error.strerror}")
            self._noted_failure = True
        self._saved_at = time.monotonic()
        cost_sec = self._saved_at - started
        self._wait_sec = (
            max(self._every_sec, cost_sec / _MAX_TIME_SHARE) if self._every_sec else 0.0
        )

    def load(self) -> State | None:
        """Load the newest usable checkpoint; None if there is none."""
        for path in self._newest_first():
            try:
                return self._read(path)
            except (OSError, ValueError) as error:
                self.notes.append(f"checkpoint {path.name} is not used: {error}")
        return None

    def count_start(self, run: str) -> int:
        """Count this start of the trial.

        Args:
            run: Name of the run. Only its starts are counted.

        Returns:
            Number of starts since the newest checkpoint, including this one.
        """
        newest = next((path.name for path in self._newest_first()), "")
        file = self.folder / "attempts.json"
        count = 1
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # absent or incomplete
            before = json.loads(file.read_text(encoding="utf-8"))
            if (before["run"], before["newest"]) == (run, newest):
                count = int(before["count"]) + 1
        with contextlib.suppress(OSError):  # a full disk
            self.folder.mkdir(parents=True, exist_ok=True)
            file.write_text(
                json.dumps({"run": run, "newest": newest, "count": count}), encoding="utf-8"
            )
            self._on_change()
        return count

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*.pt"), reverse=True)

    def _read(self, path: Path) -> State:
        content = path.read_bytes()
        head, _, payload = content.partition(b"\n")
        if head != _MAGIC + hashlib.sha256(payload).hexdigest().encode():
            raise ValueError("it is damaged")
        try:
            found = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
            made_in, state = found["made_by"], found["state"]
        except UNREADABLE:
            raise ValueError("it cannot be read") from None
        if made_in != self._environment:
            others = [f"{k} {v}" for k, v in made_in.items() if self._environment.get(k) != v]
            raise ValueError(f"it was made with {', '.join(others) or 'other versions'}")
        assert isinstance(state, dict)
        return state

"""Checkpoints: everything that a training's next epoch depends on, on disk.

A training that goes on from one ends, on a CPU, with the same bits as one that was never
disturbed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from lossbench.training.loop import Training
from lossbench.training.seeding import random_states, restore_random_states

State = dict[str, Any]
"""Tensors, numbers and text only, so that reading it can run no code."""

_MAGIC = b"lossbench checkpoint 1 sha256 "
_KEPT = 2
UNREADABLE = (
    RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile
)  # fmt: skip
"""What `torch.load` raises on a file that is none of its own, or holds more than plain data."""
_MOST_OF_TIME = 0.05
"""Share of a training's time that writing checkpoints may take."""


def snapshot(training: Training) -> State:
    """What `restore` needs. Every member of a team has to call it at the same time."""
    own = {
        "order": training.order_stream.get_state(),
        "augment": training.augment_stream.get_state(),
        **random_states(),
    }
    return {
        "epochs_done": training.epochs_done,
        "model": training.model.state_dict(),
        "head": training.head.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "random": training.team.collect(own),
    }


def restore(training: Training, state: State) -> None:
    """Bring a training that was built anew to where a snapshot was taken.

    Raises:
        KeyError, RuntimeError, ValueError: It is of another training.
    """
    training.model.load_state_dict(state["model"])
    training.head.load_state_dict(state["head"])
    training.optimizer.load_state_dict(state["optimizer"])
    own = state["random"][training.team.rank]
    training.order_stream.set_state(own["order"])
    training.augment_stream.set_state(own["augment"])
    restore_random_states(own)
    training.epochs_done = state["epochs_done"]


class Checkpoints:
    """The last two checkpoints of one trial, each there whole or not at all.

    Args:
        folder: Of this trial alone; made when the first one is saved.
        made_by: Versions and device. A checkpoint made by others is not gone on from.
        every_sec: Least time between two; 0: one an epoch. They are further apart where
            writing them would take more than a twentieth of the time.
        on_change: Called after each change in the folder, where it is a copy of another.

    Attributes:
        notes: What a person should know, each one line.
        required_after: Epoch whose end is always kept, since the training is paused there.
    """

    def __init__(
        self,
        folder: Path,
        made_by: Mapping[str, str],
        every_sec: float = 0.0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._on_change = folder, on_change
        # a version may be a kind of text that `weights_only` does not read
        self._made_by = {key: str(value) for key, value in made_by.items()}
        self._wait_sec, self._every_sec = every_sec, every_sec
        self._saved_at = time.monotonic()
        self._told = False
        self.notes: list[str] = []
        self.required_after: int | None = None

    def is_due(self, epoch: int) -> bool:
        """Whether the end of an epoch is to be kept."""
        waited = time.monotonic() - self._saved_at >= self._wait_sec
        return waited or epoch == self.required_after

    def save(self, epoch: int, state: State) -> None:
        """Write one and drop older ones. A full disk is a note, not an end."""
        started = time.monotonic()
        content = io.BytesIO()
        torch.save({"made_by": self._made_by, "state": state}, content)
        payload = content.getbuffer()
        path = self._folder / f"epoch-{epoch:08d}.pt"
        unfinished = self._folder / f".{uuid.uuid4().hex}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                file.write(_MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n")
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
            _sync_folder(self._folder)
            for old in self._newest_first()[_KEPT:]:
                old.unlink(missing_ok=True)
            self._on_change()
            self._told = False
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            if not self._told:  # once for each time that it begins
                self.notes.append(f"no checkpoint of epoch {epoch}: {error.strerror}")
            self._told = True
        self._saved_at = time.monotonic()
        cost_sec = self._saved_at - started
        self._wait_sec = max(self._every_sec, cost_sec / _MOST_OF_TIME) if self._every_sec else 0.0

    def load(self) -> State | None:
        """The newest that can be used; None without one."""
        for path in self._newest_first():
            try:
                return self._read(path)
            except (OSError, ValueError) as error:
                self.notes.append(f"checkpoint {path.name} is not used: {error}")
        return None

    def attempt(self, run: str) -> int:
        """Count how often this trial was started from where it stands now.

        Args:
            run: Another run counts anew.

        Returns:
            1 at the first start, and after every start that left a new checkpoint.
        """
        newest = next((path.name for path in self._newest_first()), "")
        counted = self._folder / "attempts.json"
        count = 1
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none, or half of it
            before = json.loads(counted.read_text(encoding="utf-8"))
            if (before["run"], before["newest"]) == (run, newest):
                count = int(before["count"]) + 1
        with contextlib.suppress(OSError):  # a full disk
            self._folder.mkdir(parents=True, exist_ok=True)
            counted.write_text(
                json.dumps({"run": run, "newest": newest, "count": count}), encoding="utf-8"
            )
            self._on_change()
        return count

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("epoch-*.pt"), reverse=True)

    def _read(self, path: Path) -> State:
        content = path.read_bytes()
        head, _, payload = content.partition(b"\n")
        if head != _MAGIC + hashlib.sha256(payload).hexdigest().encode():
            raise ValueError("it is damaged")
        try:
            found = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
            made_by, state = found["made_by"], found["state"]
        except UNREADABLE:
            raise ValueError("it cannot be read") from None
        if made_by != self._made_by:
            others = [f"{k} {v}" for k, v in made_by.items() if self._made_by.get(k) != v]
            raise ValueError(f"it was made by {', '.join(others) or 'others'}")
        assert isinstance(state, dict)
        return state


def _sync_folder(folder: Path) -> None:
    """Put a renaming on the disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Memory of the process of a trial: its peak, and its reuse."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""M_TRIM_THRESHOLD and M_MMAP_MAX, parameters of `mallopt`."""


def keep_freed_memory() -> None:
    """Keep freed memory in this process, for the next tensors.

    By default glibc returns the memory of large tensors to the system as soon as they are freed,
    and the system fills it with zeros when the next training step asks for memory again.
    `reset_peak_memory` returns what is free. Without glibc nothing changes.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim"):
        libc.mallopt(_TRIM_THRESHOLD, -1)  # mallopt(3): never return the end of the heap
        libc.mallopt(_MMAP_MAX, 0)  # no memory of their own for large blocks


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak, after free memory is returned to the system.

    On systems that do not allow it, the peak of the whole process remains.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    with contextlib.suppress(OSError):  # not Linux, or a container that forbids it
        _RESET.write_text("5", encoding="utf-8")  # proc(5): resets the peak resident set size


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory since the reset, in MiB: allocated GPU memory, or the resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)

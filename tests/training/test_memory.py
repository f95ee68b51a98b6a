import ctypes
import subprocess
import sys

import pytest

MEASURE = """
import resource
import torch
from lossbench.training.memory import keep_freed_memory, peak_memory_mib, reset_peak_memory
cpu = torch.device("cpu")

def peaks():
    reset_peak_memory(cpu)
    before = peak_memory_mib(cpu)
    block = torch.ones(64, 2**20)  # 256 MiB
    del block
    with_block = peak_memory_mib(cpu)
    reset_peak_memory(cpu)
    return with_block - before, peak_memory_mib(cpu) - before

def faults():
    def steps(n):
        for _ in range(n):
            blocks = [torch.ones(2**21) for _ in range(4)]  # 2,048 pages each
            del blocks
    steps(3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    steps(10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(*peaks(), faults())
keep_freed_memory()
print(*peaks(), faults())
"""
"""Measured in a new process, because an old one might reuse freed memory."""


@pytest.fixture(scope="module")
def measured() -> list[list[float]]:
    """Before and after freed memory is kept: peak with a block, peak after a reset, page faults."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    return [[float(number) for number in line.split()] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kept", [False, True])
def test_peak_memory_includes_freed_memory_and_a_reset_ends_that(
    measured: list[list[float]], kept: bool
) -> None:
    with_block, after_reset, _ = measured[kept]
    assert 200 < with_block < 400
    assert after_reset < 100


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt")
def test_memory_that_is_freed_and_allocated_again_stays_with_the_process(
    measured: list[list[float]],
) -> None:
    returned, kept = measured[0][2], measured[1][2]
    assert kept < 2_048 < returned

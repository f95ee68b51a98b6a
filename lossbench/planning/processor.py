"""Instructions of this machine's processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lossbench.planning.plan import Plan

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Flags of processors with instructions for bfloat16: AVX-512 and AMX on x86, bf16 on Arm."""


def processor_flags() -> frozenset[str]:
    """Flags of the first processor; empty on systems that do not list them."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):  # x86, Arm
            return frozenset(flags.split())
    return frozenset()


def precision_warning(plan: Plan, device: Callable[[], str]) -> str | None:
    """Warning if a column is trained in bfloat16 on a processor without instructions for it.

    Args:
        plan: The plan.
        device: Returns `cpu` or `cuda`; called only if it matters, since it may import torch.
    """
    flags = processor_flags()
    if not flags or flags & BFLOAT16:
        return None
    if all(settings.recipe.precision == "float32" for settings in plan.settings.values()):
        return None
    if device() != "cpu":
        return None
    return (
        "recipe.precision bfloat16: this processor has no instructions for it (avx512_bf16 or "
        "amx_bf16), so training takes several times as long as in float32"
    )

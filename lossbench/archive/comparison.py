"""Comparison of two results of the same training."""

from __future__ import annotations

from dataclasses import dataclass

from lossbench.records import TrialResult


@dataclass(frozen=True)
class Comparison:
    """Comparison of a result with a stored one.

    Attributes:
        differences: `error: 1.25 stored, 1.27`, one line per value that differs; the networks are
            different ones, so that nothing of the new result can be used.
        new_measurements: Whether the new result has measurements that are not stored.
    """

    differences: tuple[str, ...]
    new_measurements: bool


def compare(stored: TrialResult, other: TrialResult) -> Comparison:
    """Compare a result with the stored result of the same training."""
    lines = []
    if stored.status != other.status:
        lines.append(f"status: {stored.status} stored, {other.status}")
    known = {record.identity: record for record in stored.measurements}
    for record in other.measurements:
        before = known.get(record.identity)
        for name in before.metrics.keys() & record.metrics.keys() if before else ():
            assert before is not None
            if before.metrics[name] != record.metrics[name]:
                lines.append(f"{name}: {before.metrics[name]!r} stored, {record.metrics[name]!r}")
    digests = stored.weights_digest, other.weights_digest
    if not lines and all(digests) and digests[0] != digests[1]:
        lines.append(f"weights: digest {digests[0]} stored, {digests[1]}")
    new = any(record.identity not in known for record in other.measurements)
    return Comparison(tuple(lines), new)

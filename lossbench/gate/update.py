"""Update of a baseline from current results; a weaker baseline has to be accepted explicitly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lossbench.analysis.number_format import format_number, format_spec, is_percentage
from lossbench.errors import RequestError, did_you_mean
from lossbench.gate.baseline import (
    DEFAULT_MIN_EFFECT,
    Baseline,
    BaselineCell,
    join_distinct,
)
from lossbench.gate.baseline_file import baseline_text
from lossbench.gate.comparability import condition_differences, require_same_suite
from lossbench.suite.atomic_files import write_atomically

_MAX_NAMED = 3  # cells that a message lists; it counts the others
_ROUNDING = 1e-11  # of means, relative


def update_baseline(
    path: Path,
    old: Baseline | None,
    current: Baseline,
    only: str | None = None,
    min_effects: Sequence[str] = (),
    *,
    accept: bool = False,
) -> list[str]:
    """Write a baseline file from current results.

    Args:
        path: File to write.
        old: Baseline to replace, if there is one; its minimum effects stay.
        current: Current results, with the minimum effects of the suite for new metrics.
        only: Glob of `--only`; other cells of the old baseline stay.
        min_effects: `METRIC=NUMBER`, in the metric's unit; they replace all others.
        accept: Whether the new baseline may be weaker.

    Returns:
        Messages on what was written, one line each.

    Raises:
        RequestError: The new baseline would be weaker and `accept` is off; a minimum effect is
            invalid, or missing for a metric without a default; the old baseline is of another
            suite; or cells should stay that were measured under other conditions.
    """
    given = _parse_min_effects(min_effects)
    if old is not None:
        require_same_suite(old, current.suite, path)
    new = current if old is None else _with_old_cells(old, current, only, path)
    new = _with_min_effects(new, old, given)
    weaker = [] if old is None else _weaker_parts(old, new)
    if weaker and not accept:
        lines = "\n".join(f"  {line}" for line in weaker)
        raise RequestError(
            f"{path}: not written, because the new baseline would be weaker:\n{lines}\n"
            "use --accept to write it anyway"
        )
    write_atomically(path, baseline_text(new).encode())
    cells = f"{len(new.cells)} cells, measured {new.measured} on {new.device}"
    return [f"{path}: {cells}", *(f"accepted: {line}" for line in weaker)]


def _parse_min_effects(given: Iterable[str]) -> dict[str, float]:
    """`error=0.5` -> {"error": 0.5}."""
    parsed: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        if name in parsed:
            raise RequestError(f"--min-effect {text}: {name} is given twice; give it once")
        try:
            parsed[name] = float(number)
        except ValueError:
            parsed[name] = math.nan
        if not name or not 0 < parsed[name] < math.inf:
            message = "should be METRIC=NUMBER with a number above 0, as in error=0.5"
            raise RequestError(f"--min-effect {text}: {message}")
    return parsed


def _with_min_effects(new: Baseline, old: Baseline | None, given: Mapping[str, float]) -> Baseline:
    known = [metric.name for metric in new.metrics]
    for name in given:
        if name not in known:
            raise RequestError(f"--min-effect {name}: unknown metric{did_you_mean(name, known)}")
    chosen = {**({m.name: m.min_effect for m in old.metrics} if old else {}), **given}
    missing = [
        m
        for m in new.metrics
        if m.name not in chosen
        and "min_effect" not in m.model_fields_set  # the suite has none
        and not is_percentage(m.unit)
    ]
    if missing:
        lines = "\n".join(
            f"--min-effect {m.name}=NUMBER is required: smallest worsening that can be a regression"
            + (f", in {m.unit}" if m.unit else "")
            for m in missing
        )
        raise RequestError(
            f"{lines}\nonly percentages have a default, {DEFAULT_MIN_EFFECT:g}; the suite's "
            "min_effect is used if it has the metric"
        )
    content = new.model_dump()
    for metric in content["metrics"]:
        metric["min_effect"] = chosen.get(metric["name"], metric["min_effect"])
    return Baseline.model_validate(content)


def _with_old_cells(old: Baseline, current: Baseline, only: str | None, path: Path) -> Baseline:
    """Current results, and the cells of the old baseline that `only` leaves out."""
    kept = [c for c in old.cells if not c.matches_only(only) and c.key not in current.by_key]
    if not kept:
        return current
    different = condition_differences(old, current.data, current.conditions, current.metrics)
    if different:
        lines = "\n".join(f"{path}: {line}" for line in different)
        raise RequestError(f"{lines}\nthe other cells cannot be kept: update the whole suite")
    cells = [
        current.by_key.get(c.key, c) for c in old.cells if c in kept or c.key in current.by_key
    ]
    cells += [cell for cell in current.cells if cell.key not in old.by_key]
    variants = {**old.conditions.variants, **current.conditions.variants}
    conditions = current.conditions.model_copy(update={"variants": variants})
    names = {m.name for m in current.metrics}
    environment = {
        key: join_distinct(b.environment.get(key, "") for b in (old, current))
        for key in {**old.environment, **current.environment}
    }
    return Baseline(
        suite=old.suite,
        command=old.command,
        measured=current.measured,
        device=join_distinct((old.device, current.device)),
        environment=environment,
        data=current.data,
        conditions_digest=conditions.digest,
        conditions=conditions,
        metrics=[*current.metrics, *(m for m in old.metrics if m.name not in names)],
        cells=cells,
    )


def _weaker_parts(old: Baseline, new: Baseline) -> list[str]:
    """Changes that make the check less strict, one line each."""
    lines = condition_differences(old, new.data, new.conditions, new.metrics)
    comparable = not lines
    for metric in new.metrics:
        before = old.metric_by_name.get(metric.name)
        if before and metric.min_effect > before.min_effect:
            change = f"{before.min_effect:g} in the baseline, {metric.min_effect:g} now"
            lines.append(f"metrics: {metric.name}.min_effect: {change}")
    changes: dict[str, list[str]] = {}
    worse: list[str] = []
    for was in old.cells:
        now = new.by_key.get(was.key)
        for change in ["removed"] if now is None else _fewer_seeds(was, now):
            changes.setdefault(change, []).append(f"{was.name} {was.metric}")
        if comparable and now is not None:
            worse += _worse_mean(was, now, new)
    lines += [f"{_listed(cells)}: {change}" for change, cells in changes.items()]
    return lines + worse


def _listed(cells: Sequence[str]) -> str:
    """The first cells, and the number of the others."""
    more = len(cells) - _MAX_NAMED
    return ", ".join(cells[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _fewer_seeds(was: BaselineCell, now: BaselineCell) -> list[str]:
    changes = []
    if len(now.seeds_with_result) < len(was.seeds_with_result):
        changes.append(
            f"{len(was.seeds_with_result)} seeds in the baseline, {len(now.seeds_with_result)} now"
        )
    if len(now.diverged) > len(was.diverged):
        changes.append(f"{len(was.diverged)} diverged in the baseline, {len(now.diverged)} now")
    return changes


def _worse_mean(was: BaselineCell, now: BaselineCell, new: Baseline) -> list[str]:
    before, mean, metric = was.summary.mean, now.summary.mean, new.metric_by_name[was.metric]
    if before is None or mean is None or math.isclose(mean, before, rel_tol=_ROUNDING):
        return []
    if (mean < before) == (metric.direction == "lower"):
        return []
    spec = format_spec(metric.unit, (*was.values, *now.values))
    change = f"{format_number(before, spec)} in the baseline, {format_number(mean, spec)} now"
    return [f"{was.name} {was.metric}: {change}"]

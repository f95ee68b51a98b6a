"""A new baseline from what was measured, and which bars it lowers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from lossbench.analysis.number_format import format_number, format_spec, is_percentage, with_unit
from lossbench.errors import RequestError, did_you_mean
from lossbench.gate.baseline import DEFAULT_MIN_EFFECT, Baseline, BaselineCell, differences, joined

_ROUNDING = 1e-11  # of means, relative


def update(
    old: Baseline | None,
    measured: Baseline,
    keeps: Callable[[BaselineCell], bool],
    min_effects: Mapping[str, float],
    path: str,
) -> tuple[Baseline, list[str]]:
    """Make a new baseline of what was measured.

    Args:
        old: The one to replace, if there is one; its minimum effects stay.
        measured: What the cells reach now.
        keeps: Whether a cell of the old one stays if it was not measured.
        min_effects: By metric, in the metric's unit.
        path: Of the baseline, for messages.

    Returns:
        The new baseline, and one line for each bar that is lower in it than in the old one.

    Raises:
        RequestError: A metric is unknown, the minimum effect of one that is no percentage is not
            given, the old baseline is of another suite, or cells are to be kept that were measured
            under other conditions.
    """
    if old is not None and old.suite != measured.suite:
        raise RequestError(f"{path}: suite: it is of {old.suite!r}, not {measured.suite!r}")
    new = measured if old is None else _merged(old, measured, keeps, path)
    metrics = {m.name: m.min_effect for m in old.metrics} if old else {}
    known = [m.name for m in new.metrics]
    for name in min_effects:
        if name not in known:
            raise RequestError(f"--min-effect {name}: unknown metric{did_you_mean(name, known)}")
    chosen = {**metrics, **min_effects}
    open_metrics = [m for m in new.metrics if m.name not in chosen and not is_percentage(m.unit)]
    if open_metrics:
        lines = "\n".join(
            f"--min-effect {m.name}=NUMBER: "
            + with_unit("say which worsening matters", f"(in {m.unit})" if m.unit else "")
            for m in open_metrics
        )
        raise RequestError(f"{lines}\nonly percentages have a default, {DEFAULT_MIN_EFFECT:g}")
    content = new.model_dump()
    for metric in content["metrics"]:
        metric["min_effect"] = chosen.get(metric["name"], metric["min_effect"])
    new = Baseline.model_validate(content)
    return new, [] if old is None else lowered(old, new)


def parse_min_effects(given: Iterable[str]) -> dict[str, float]:
    """`error=0.5` -> {"error": 0.5}.

    Raises:
        RequestError: It is not METRIC=NUMBER, with a number above 0.
    """
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


def _merged(
    old: Baseline, measured: Baseline, keeps: Callable[[BaselineCell], bool], path: str
) -> Baseline:
    """The measured cells, in the place of the old ones, among those that stay."""
    kept = [c for c in old.cells if keeps(c) and c.key not in measured.by_key]
    if not kept:
        return measured
    different = differences(old, measured.data, measured.conditions, measured.metrics)
    if different:
        lines = "\n".join(f"{path}: {line}" for line in different)
        raise RequestError(f"{lines}\nthe other cells can not be kept: update the whole suite")
    cells = [
        measured.by_key.get(c.key, c) for c in old.cells if c in kept or c.key in measured.by_key
    ]
    cells += [cell for cell in measured.cells if cell.key not in old.by_key]
    variants = {**old.conditions.variants, **measured.conditions.variants}
    conditions = measured.conditions.model_copy(update={"variants": variants})
    names = {m.name for m in measured.metrics}
    environment = {
        key: joined(b.environment.get(key, "") for b in (old, measured))
        for key in {**old.environment, **measured.environment}
    }
    return Baseline(
        suite=old.suite,
        command=old.command,
        measured=measured.measured,
        device=joined((old.device, measured.device)),
        environment=environment,
        data=measured.data,
        conditions_digest=conditions.digest,
        conditions=conditions,
        metrics=[*measured.metrics, *(m for m in old.metrics if m.name not in names)],
        cells=cells,
    )


def lowered(old: Baseline, new: Baseline) -> list[str]:
    """One line for each bar that is lower in `new`: easier to reach, or guarding less."""
    lines = list(differences(old, new.data, new.conditions, new.metrics))
    comparable = not lines
    for metric in new.metrics:
        before = old.metric.get(metric.name)
        if before and metric.min_effect > before.min_effect:
            change = f"{before.min_effect:g} in the baseline, {metric.min_effect:g} here"
            lines.append(f"metrics: {metric.name}.min_effect: {change}")
    for was in old.cells:
        now, where = new.by_key.get(was.key), f"{was.name} {was.metric}"
        if now is None:
            lines.append(f"{where}: removed")
            continue
        if len(now.planned) < len(was.planned):
            lines.append(
                f"{where}: {len(was.planned)} seeds in the baseline, {len(now.planned)} here"
            )
        if len(now.diverged) > len(was.diverged):
            lines.append(
                f"{where}: {len(was.diverged)} diverged in the baseline, {len(now.diverged)} here"
            )
        before_mean, mean = was.summary.mean, now.summary.mean
        if not comparable or before_mean is None or mean is None:
            continue
        worse = mean - before_mean
        if new.metric[was.metric].direction == "higher":
            worse = -worse
        if worse > 0 and not math.isclose(mean, before_mean, rel_tol=_ROUNDING):
            spec = format_spec(new.metric[was.metric].unit, (*was.values, *now.values))
            means = format_number(before_mean, spec), format_number(mean, spec)
            lines.append(f"{where}: {means[0]} in the baseline, {means[1]} here")
    return lines

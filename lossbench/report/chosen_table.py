"""Table of the values that a suite with `tune` chose for each loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lossbench.analysis.number_format import NOTHING
from lossbench.analysis.tables import Table
from lossbench.analysis.tuned_choices import TunedChoice, tuned_choices
from lossbench.planning.fairness import loss_budgets
from lossbench.planning.plan import Plan
from lossbench.planning.rows import short_value
from lossbench.planning.tuning import format_space, recipe_value, short_names
from lossbench.report.display import Column, DisplayCell, DisplayTable, name_cells, name_columns
from lossbench.report.value_text import counted, format_value

TITLE = "Values chosen on the held-out part"


def chosen_table(table: Table, held_out: Table | None) -> DisplayTable | None:
    """The chosen values of each loss, by column; None without `tune` or a choice.

    Args:
        table: Table of the test set, whose rows are named by the losses alone.
        held_out: Table of the held-out part.
    """
    choices = list(tuned_choices(table.found))
    if not choices or held_out is None:
        return None
    plan = table.found.plan
    names = list(dict.fromkeys(name for choice in choices for name in choice.tuned))
    params = any(choice.params for choice in choices)
    edges = any(choice.edges for choice in choices)
    columns = [*name_columns(table.has_variants), *map(Column, names)]
    columns += [Column("parameters", "text")] if params else []
    columns.append(Column(held_out.label))
    columns += [Column("at an edge", "text", optional=True)] if edges else []
    rows = []
    for choice in choices:
        cells = name_cells(choice.entry, choice.variant, table.has_variants)
        cells += [_number(choice, name) for name in names]
        cells += [DisplayCell(_listed(choice))] if params else []
        cell = held_out.cells[choice.variant, choice.row.label]
        cells.append(DisplayCell(format_value(cell), sort_key=str(cell.summary.mean)))
        cells += [DisplayCell(", ".join(_edge_texts(choice)) or NOTHING)] if edges else []
        rows.append(tuple(cells))
    return DisplayTable(
        TITLE, tuple(columns), tuple(rows), subordinate=True, notes=tuple(_notes(plan, names))
    )


def _number(choice: TunedChoice, name: str) -> DisplayCell:
    value = choice.tuned.get(name)
    return DisplayCell() if name not in choice.tuned else DisplayCell(short_value(value))


def _listed(choice: TunedChoice) -> str:
    listed = ", ".join(f"{key}={short_value(value)}" for key, value in choice.params.items())
    return listed or NOTHING


def _edge_texts(choice: TunedChoice) -> Iterator[str]:
    for name, at_low in choice.edges.items():
        yield f"{name}: {'lower' if at_low else 'upper'} end"


def _notes(plan: Plan, names: Sequence[str]) -> Iterator[str]:
    """The values that were given, the budget, and the values of rows that were not tuned."""
    suite = plan.suite
    short = short_names(list(suite.tune), [])
    given = ", ".join(f"{short[key]} {format_space(suite, key)}" for key in suite.tune)
    budgets = set(loss_budgets(suite, plan.losses, plan.rows).values())
    if len(budgets) == 1:
        yield f"Each loss was tuned with {counted(budgets.pop(), 'point')} in each column: {given}."
    else:
        yield f"Tuned: {given}."
    if plan.compared:
        labels = ", ".join(row.label for row in plan.compared)
        have = "has" if len(plan.compared) == 1 else "have"
        texts = []
        for variant in suite.variants:
            recipe = plan.settings[variant].recipe
            own = (f"{short[key]}={short_value(recipe_value(recipe, key))}" for key in suite.tune)
            texts.append(", ".join(own))
        if len(set(texts)) == 1:
            yield f"{labels} {have} the recipe's own values: {texts[0]}."
        else:
            by_column = "; ".join(f"{v}: {t}" for v, t in zip(suite.variants, texts, strict=True))
            yield f"{labels} {have} the recipe's own values: {by_column}."

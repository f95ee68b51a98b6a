"""The page of pictures, docs/gallery.md, from the archives in reports/published.

Run it after a published report changes:

python docs/generator/gallery.py
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lossbench.analysis.tables import Cell, Table, make_tables
from lossbench.cli.common import load_archives
from lossbench.report.value_text import format_value
from lossbench.report.verdict_text import find_verdict

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "reports" / "published"
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = "images/gallery"
"""Folder of the pictures, relative to the page."""
NEAR = 1.0
"""Learning rates with an error at most this many percentage points above the lowest are named."""
INTRODUCTION = """\
# Questions and pictures

One question, one command, one picture. The figures are those of the reports that the commands
write; the sentences are computed from the same results, whose archives are in `reports/published`.
The data are scikit-learn's 1,797 handwritten digits, which need no download, unless the suite's
name says MNIST; each command takes minutes on a quiet computer with two cores. To use your own
data, give its name in the suite ([your own data](guide/your-own-data.md)).

"Better" and "worse" are the report's [verdicts](guide/read-a-verdict.md), corrected for the number
of comparisons; "undecided" means that there are too few seeds to decide. ± is the standard
deviation over the seeds. These are results on small data sets: they answer the questions for them,
not for other data."""

Answer = Callable[[Sequence[Table]], str]


@dataclass(frozen=True)
class Question:
    """A section of the page.

    Attributes:
        title: The question.
        command: Command that answers it.
        folder: Folder of the published report.
        figure: Name of the figure in that report.
        caption: What the figure shows.
        answer: The answer, from the tables of the report.
        more: Where to read on, as Markdown.
    """

    title: str
    command: str
    folder: str
    figure: str
    caption: str
    answer: Answer
    more: str

    @property
    def source(self) -> Path:
        """The figure in the published report."""
        return PUBLISHED / self.folder / "figures" / f"{self.figure}.png"

    @property
    def picture(self) -> str:
        """Path of its copy, relative to the page."""
        return f"{PICTURES}/{self.folder}-{self.figure.replace(' ', '_')}.png"


def best_rows(metric: str, variants: Sequence[str] = ()) -> Answer:
    """The row with the lowest mean in each column, or in some, and its verdict."""

    def answer(tables: Sequence[Table]) -> str:
        table = _table(tables, metric)
        lines = [_best(table, name) for name in variants or table.variants]
        return _listed(f"The lowest mean {table.metric_label} on test images:", lines)

    return answer


def _listed(lead: str, items: Sequence[str]) -> str:
    if len(items) == 1:
        return f"{lead} {items[0]}."
    return "\n".join([f"{lead}\n", *(f"- {item}" for item in items)])


def _best(table: Table, variant: str) -> str:
    cells = [cell for cell in table.cells.values() if cell.variant == variant]
    best = min(cells, key=_mean)
    column = f"{variant}: " if table.has_variants else ""
    text = f"{column}**{best.row.label}**, {format_value(best)} %"
    assert table.verdicts is not None
    reference = table.cells[variant, table.verdicts.reference]
    if best is reference:
        return text
    verdict = find_verdict(table, variant, best.row.label)
    assert verdict is not None
    return f"{text} ({reference.row.label}: {format_value(reference)} %; {verdict.outcome})"


def chosen_pair(tables: Sequence[Table]) -> str:
    """The parameters that were chosen on the held-out part, and the error on the test set."""
    held_out = next(table for table in tables if table.held_out)
    tested = _table(tables, "error")
    [chosen] = [cell for cell in held_out.cells.values() if cell.chosen]
    points = sum(cell.row.entry == chosen.row.entry for cell in held_out.cells.values())
    cell = tested.cells[chosen.variant, chosen.row.label]
    verdict = find_verdict(tested, chosen.variant, chosen.row.label)
    assert verdict is not None
    reference = tested.cells[chosen.variant, verdict.reference]
    return (
        f"Of {points} pairs **{chosen.row.label}** has the lowest error on held-out images, "
        f"{format_value(chosen)} %; on the test set, which played no part in the choice, it is "
        f"{format_value(cell)} % ({verdict.reference}: {format_value(reference)} %; "
        f"{verdict.outcome})."
    )


def good_rates(tables: Sequence[Table]) -> str:
    """Learning rates with an error near the best one, for each loss."""
    [table] = [table for table in tables if table.held_out]
    [key] = table.found.plan.suite.tune
    losses = []
    for entry in dict.fromkeys(cell.row.entry for cell in table.cells.values()):
        own = [cell for cell in table.cells.values() if cell.row.entry == entry]
        cells = [cell for cell in own if cell.summary.complete]
        lowest = min(map(_mean, cells))
        near = _rates([cell for cell in cells if _mean(cell) <= lowest + NEAR], key)
        lost = _rates([cell for cell in own if cell.summary.diverged], key)
        [chosen] = [cell for cell in cells if cell.chosen]
        text = f"**{entry}**: {near} (chosen: {chosen.row.tuned[key]:g}"
        losses.append(f"{text}; seeds diverged at {lost})" if lost else f"{text})")
    lead = (
        f"Learning rates with a held-out error at most {NEAR:g} percentage point above the lowest "
        "one of the same loss:"
    )
    return _listed(lead, losses)


def _rates(cells: Sequence[Cell], key: str) -> str:
    return ", ".join(f"{rate:g}" for rate in sorted(cell.row.tuned[key] for cell in cells))


def last_and_best_epoch(variant: str, row: str) -> Answer:
    """Error of a row in the last epoch and in the best one."""

    def answer(tables: Sequence[Table]) -> str:
        last, best = (_table(tables, metric).cells[variant, row] for metric in LAST_AND_BEST)
        return (
            f"In the column {variant}, the test error of **{row}** is {format_value(last)} % after "
            f"the last epoch, but {format_value(best)} % in its best epoch: it rises again "
            "while the network fits the wrong labels. (The best epoch is chosen on the test "
            "set, so its error is too good.)"
        )

    return answer


LAST_AND_BEST = ("error", "best_error")


def _table(tables: Sequence[Table], metric: str) -> Table:
    return next(table for table in tables if table.metric == metric and not table.held_out)


def _mean(cell: Cell) -> float:
    assert cell.summary.mean is not None
    return cell.summary.mean


QUESTIONS = (
    Question(
        "Which loss is best on my data?",
        "lossbench run suites/digits.yaml",
        "digits",
        "forest-32-D",
        "Test error of each loss minus that of softmax, 32-D features: mean over five seeds "
        "and 95 % interval, corrected for the number of comparisons.",
        best_rows("error"),
        "[Read a verdict](guide/read-a-verdict.md)",
    ),
    Question(
        "Which loss resists label noise?",
        "lossbench run suites/noisy_labels_small.yaml",
        "noisy_labels_small",
        "levels-error",
        "Test error after the last epoch over the share of wrong training labels, mean and "
        "standard deviation over five seeds.",
        best_rows("error"),
        "[Label noise and imbalance](guide/data-conditions.md)",
    ),
    Question(
        "How much do losses for wrong labels help on MNIST?",
        "lossbench run suites/noisy_mnist_small.yaml",
        "noisy_mnist_small",
        "forest-noise 40",
        "Test error after the last epoch minus that of softmax, 5,000 training images of which "
        "40 % have a wrong label: mean over five seeds and 95 % interval, corrected for the number "
        "of comparisons.",
        best_rows("error"),
        "[Losses for wrong labels](losses/gce.md)",
    ),
    Question(
        "Which loss is best on a long tail?",
        "lossbench run suites/long_tail_small.yaml",
        "long_tail_small",
        "levels-error",
        "Test error over the imbalance of the training set, mean and standard deviation over "
        "five seeds; the test set is unchanged.",
        best_rows("error"),
        "[Label noise and imbalance](guide/data-conditions.md)",
    ),
    Question(
        "How much do class counts help on a long tail?",
        "lossbench run suites/long_tail_mnist_small.yaml",
        "long_tail_mnist_small",
        "forest-default",
        "Test error on MNIST minus that of softmax, with 500 training images of the largest class "
        "and 5 of the smallest: mean over five seeds and 95 % interval, corrected for the number "
        "of comparisons.",
        best_rows("error"),
        "[Losses for long tails](losses/balanced_softmax.md)",
    ),
    Question(
        "Which values of α and λ?",
        "lossbench run suites/sweep_digits.yaml",
        "sweep_digits",
        "selection-default-lgm",
        "Error on held-out images for each pair, mean and standard deviation over three seeds.",
        chosen_pair,
        "[Choose hyperparameters](guide/choose-hyperparameters.md)",
    ),
    Question(
        "How sensitive is each loss to the learning rate?",
        "lossbench run suites/tuned_digits.yaml",
        "tuned_digits",
        "sensitivity-default",
        "Error on held-out images over the learning rate, mean and standard deviation over "
        "three seeds.",
        good_rates,
        "[The learning rate of each loss]"
        "(guide/choose-hyperparameters.md#can-the-learning-rate-be-chosen-for-each-loss-too)",
    ),
    Question(
        "What happens during training?",
        "lossbench run suites/noisy_labels_small.yaml --only 'noise 40/*'",
        "noisy_labels_small",
        "curves-noise 40",
        "Test error and training loss with 40 % wrong training labels, mean over five seeds.",
        last_and_best_epoch("noise 40", "softmax"),
        "[Read the report](guide/read-the-report.md)",
    ),
    Question(
        "How confident are the networks?",
        "lossbench run suites/digits.yaml --only '32-D/*' --set 'evaluate=[error, calibration]'",
        "digits",
        "reliability-32-D",
        "Accuracy over confidence, 32-D features, one seed; dots below the diagonal: too "
        "confident.",
        best_rows("ece_15", ["32-D"]),
        "[Metrics and evaluations](guide/what-is-measured.md)",
    ),
)


def published_questions() -> list[Question]:
    """The questions whose report is published."""
    return [question for question in QUESTIONS if (PUBLISHED / question.folder).is_dir()]


@cache
def _tables(folder: str) -> tuple[Table, ...]:
    found, _ = load_archives([PUBLISHED / folder / f"{folder}.zip"], None, None)
    return make_tables(found)


def page() -> str:
    """The whole page, as Markdown."""
    sections = ["\n".join(_section(question)) for question in published_questions()]
    return "\n\n".join([INTRODUCTION, *sections]) + "\n"


def _section(question: Question) -> Iterator[str]:
    yield f"## {question.title}\n"
    yield f"```\n{question.command}\n```\n"
    yield f"{question.answer(_tables(question.folder))}\n"
    yield f"[![{question.caption}]({question.picture})]({question.picture})\n"
    yield f"*{question.caption}*\n"
    yield f"{question.more}; report and archive: `reports/published/{question.folder}`."


def main() -> None:
    """Write the page and its pictures."""
    PAGE.write_text(page(), encoding="utf-8")
    folder = PAGE.parent / PICTURES
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for question in published_questions():
        shutil.copyfile(question.source, PAGE.parent / question.picture)


if __name__ == "__main__":
    main()

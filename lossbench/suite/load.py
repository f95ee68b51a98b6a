"""Read a suite file with `--set` and `--seeds`; all problems of the schema are reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lossbench.errors import Loc, Problem, did_you_mean, validation_problems
from lossbench.records import Strict
from lossbench.suite.columns import column_problems
from lossbench.suite.data_conditions import AsymmetricNoise, Imbalance, LabelNoise, yaml_keys
from lossbench.suite.grammar import explain_misplaced_grids
from lossbench.suite.origin import Origin
from lossbench.suite.schema import (
    DatasetChoice,
    Input,
    Recipe,
    Resources,
    Selection,
    Suite,
    Variant,
)
from lossbench.suite.shipped import shipped_suites
from lossbench.suite.weight_averaging import WeightAveraging
from lossbench.suite.yaml_io import assign_overrides, parse, plain, secret_problems


def load_suite(
    path: str | Path, overrides: Iterable[str] = (), seeds: Sequence[int] | None = None
) -> Suite:
    """Read a suite file and apply the overrides of the command line.

    Args:
        path: Path of the YAML file.
        overrides: `KEY=VALUE` texts of `--set`. KEY is dotted, as in `recipe.epochs`; with
            `losses.lgm.lambda` it applies to all rows of the loss. A name with dots may be quoted.
            VALUE is YAML.
        seeds: Seeds to use instead of the suite's, from `--seeds`.

    Raises:
        SuiteError: The file is missing or does not have the form of a suite.
        RequestError: The file is not YAML, or an override is wrong.
    """
    origin = Origin(str(path))
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise origin.error([Problem((), _unreadable(Path(path), error))]) from None
    document = parse(text, str(path))
    if not isinstance(document, dict):
        raise origin.error([Problem((), "should be a mapping with the keys of a suite")])

    content = plain(document, str(path))
    _expand_names(content)
    texts = assign_overrides(content, overrides)
    overridden = {key: f"--set {text}" for key, text in texts.items()}
    if seeds is not None:
        content["seeds"] = list(seeds)
        overridden["seeds"] = f"--seeds {','.join(map(str, seeds))}"
    origin = Origin(str(path), document, overridden)
    if secrets := list(secret_problems(content)):
        raise origin.error(secrets)
    try:
        suite = Suite.model_validate(content)
    except ValidationError as error:
        raise origin.error(explain_misplaced_grids(validation_problems(error, _keys_at))) from None
    if problems := column_problems(suite, _keys_at):
        raise origin.error(explain_misplaced_grids(problems))
    return suite.with_origin(origin)


def _expand_names(content: dict[str, Any]) -> None:
    """Write short forms as mappings, so that `--set` can add keys to them.

    `dataset: mnist` is `dataset: {name: mnist}`; a column without a value, as in `clean:`, is `{}`.
    """
    variants = content.get("variants")
    if isinstance(variants, dict):
        variants.update({name: {} for name, own in variants.items() if own is None})
    owners = [content, *(variants.values() if isinstance(variants, dict) else ())]
    for owner in owners:
        if isinstance(owner, dict) and isinstance(owner.get("dataset"), str):
            owner["dataset"] = {"name": owner["dataset"]}


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        folder = path.parent
        shipped = Path("suites", path.name)
        if path.suffix == ".yaml" and path.stem in shipped_suites():
            if shipped.exists():
                return f"no such file; did you mean '{shipped}'?"
            return f"no such file; `lossbench new suite {path.stem}` writes {shipped}"
        near = [p.name for p in folder.glob("*.yaml")] if folder.is_dir() else []
        return f"no such file{did_you_mean(path.name, near)}"
    if isinstance(error, UnicodeDecodeError):
        return "is not a text file in UTF-8"
    return f"cannot be read: {getattr(error, 'strerror', error)}"


def _keys_at(loc: Loc) -> list[str]:
    """Valid keys of the mapping at a location of the suite file."""
    levels: dict[str, type[Strict]] = {
        "dataset": DatasetChoice,
        "dataset.imbalance": Imbalance,
        "dataset.label_noise": LabelNoise,
        "dataset.label_noise.asymmetric": AsymmetricNoise,
        "recipe": Recipe,
        "recipe.input": Input,
        "recipe.weight_averaging": WeightAveraging,
        "resources": Resources,
        "selection": Selection,
    }
    dotted = ".".join(str(part) for part in loc)
    model = Variant if loc[:1] == ("variants",) else levels.get(dotted, Suite)
    return list(yaml_keys(model))

"""`lossbench new-loss`, `new-evaluation` and `new-suite`: files to start from."""

from __future__ import annotations

import keyword
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lossbench.cli.console import out
from lossbench.cli.options import DEFAULT_DATA_ROOT, DataRootOption, expand
from lossbench.errors import RequestError, did_you_mean

FILES = {"{name}.py": "{kind}.py", "test_{name}.py": "test_{kind}.py", "{name}.yaml": "{kind}.yaml"}
"""File of a new component -> its template."""
Kind = Literal["loss", "evaluation"]


def new_loss(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the loss, as in my_loss.")],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", callback=expand, help="Folder for the files.")
    ] = Path("."),
) -> None:
    """Write a template for a new loss, its test and a suite.

    \b
    Example:
      lossbench new-loss my_loss
    """
    loss, test, suite = write_component("loss", name, folder)
    out.print(f"wrote {loss}, {test}, {suite}; next:", highlight=False, soft_wrap=True)
    for command in (
        f"lossbench test-loss {name} --plugin {loss}",
        f"python -m pytest {test}",  # if pytest is not installed, Python's message says so
        f"lossbench run {suite} --plugin {loss}",
    ):
        out.print(f"  {command}", highlight=False, soft_wrap=True)


def new_evaluation(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the evaluation, as in my_metric.")
    ],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", callback=expand, help="Folder for the files.")
    ] = Path("."),
) -> None:
    """Write a template for a new evaluation, its test and a suite.

    \b
    Example:
      lossbench new-evaluation my_metric
    """
    evaluation, test, suite = write_component("evaluation", name, folder)
    out.print(f"wrote {evaluation}, {test}, {suite}; next:", highlight=False, soft_wrap=True)
    for command in (
        f"python -m pytest {test}",  # if pytest is not installed, Python's message says so
        f"lossbench run {suite} --plugin {evaluation}",
    ):
        out.print(f"  {command}", highlight=False, soft_wrap=True)


def new_suite(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name in `lossbench list suites`.")],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", callback=expand, help="Folder for the file.")
    ] = Path("suites"),
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
) -> None:
    """Write a copy of a suite that comes with lossbench.

    \b
    Example:
      lossbench new-suite cifar100
    """
    from lossbench.data import sources
    from lossbench.suite.load import load_suite

    path = write_suite(name, folder)
    out.print(f"wrote {path}; next:", highlight=False, soft_wrap=True)
    dataset = load_suite(path).dataset.name
    root = "" if data_root == DEFAULT_DATA_ROOT else f" --data-root {data_root}"
    commands = [f"lossbench {verb} {path}{root}" for verb in ("plan", "run")]
    if dataset in sources.DATASETS and not sources.is_ready(dataset, data_root):
        needed = sources.DATASETS[dataset].create().derived_from or dataset
        commands = [f"lossbench data prepare {needed}{root}", *commands]
    for command in commands:
        out.print(f"  {command}", highlight=False, soft_wrap=True)


def write_component(kind: Kind, name: str, folder: Path) -> list[Path]:
    """Write the files of a new loss or evaluation.

    Args:
        kind: Kind of the component.
        name: Name of the component and of its files.
        folder: Folder for the files; created if it does not exist.

    Returns:
        Paths of the component, its test and its suite.

    Raises:
        RequestError: The name cannot be used, or a file exists already; nothing was written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from lossbench.evaluation import EVALUATIONS
    from lossbench.losses import LOSSES

    command = f"new-{kind} {name}"
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        example = "my_loss" if kind == "loss" else "my_metric"
        raise RequestError(f"{command}: should be a Python name, as in {example}")
    if name in (LOSSES if kind == "loss" else EVALUATIONS):
        raise RequestError(f"{command}: there is one of this name; choose another one")
    if name in sys.modules or name in sys.stdlib_module_names:
        raise RequestError(f"{command}: a module has this name; choose another one")
    paths = [folder / file.format(name=name) for file in FILES]
    existing = [path for path in paths if path.exists()]
    if existing:
        verb = "exists" if len(existing) == 1 else "exist"
        raise RequestError(f"{command}: {', '.join(map(str, existing))} {verb} already")
    environment = Environment(
        loader=PackageLoader("lossbench.cli", "templates"),
        autoescape=False,  # the files are not HTML
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    class_name = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    class_name += "Head" if kind == "loss" else ""
    texts = [
        environment.get_template(f"{template.format(kind=kind)}.jinja").render(
            name=name, class_name=class_name
        )
        for template in FILES.values()
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{command}: {folder}: {error.strerror}") from None
    return paths


def write_suite(name: str, folder: Path) -> Path:
    """Copy a suite that comes with lossbench.

    Args:
        name: Name of the suite.
        folder: Folder for the copy; created if it does not exist.

    Returns:
        Path of the copy.

    Raises:
        RequestError: There is no such suite, or the file exists already.
    """
    from lossbench.suite.shipped import shipped_suites

    shipped = shipped_suites()
    if name not in shipped:
        raise RequestError(f"new-suite {name}: no such suite{did_you_mean(name, shipped)}")
    path = folder / f"{name}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(shipped[name].read_text(encoding="utf-8"))
    except FileExistsError:
        raise RequestError(f"new-suite {name}: {path} exists already") from None
    except OSError as error:
        raise RequestError(f"new-suite {name}: {folder}: {error.strerror}") from None
    return path

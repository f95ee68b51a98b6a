"""`lossbench new`: files to start from, for a component or a suite."""

from __future__ import annotations

import enum
import keyword
import sys
from pathlib import Path
from typing import Annotated

import typer

from lossbench.cli.console import out
from lossbench.cli.options import DEFAULT_DATA_ROOT, DataRootOption, expand
from lossbench.errors import RequestError, did_you_mean

FILES = {"{name}.py": "{kind}.py", "test_{name}.py": "test_{kind}.py", "{name}.yaml": "{kind}.yaml"}
"""File of a new component -> its template."""


class Kind(enum.StrEnum):
    """Kinds of things of which a template can be written."""

    loss = "loss"
    model = "model"
    evaluation = "evaluation"
    augmentation = "augmentation"
    optimizer = "optimizer"
    schedule = "schedule"
    suite = "suite"


FolderOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        callback=expand,
        help="Folder for the files; by default the working folder, or suites for a suite.",
    ),
]
NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name of the component, as in my_loss; or of a suite to copy."
    ),
]


def new(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="What to write.")],
    name: NameArgument,
    folder: FolderOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
) -> None:
    """Write a template for a component of your own, its test and a suite; or copy a suite.

    \b
    Examples:
      lossbench new loss my_loss
      lossbench new model my_model
      lossbench new suite cifar100
    """
    if kind is Kind.suite:
        _new_suite(name, folder or Path("suites"), data_root)
    else:
        _new_component(kind, name, folder or Path())


def new_loss(name: NameArgument, folder: FolderOption = None) -> None:
    """The same as `lossbench new loss NAME`."""
    _new_component(Kind.loss, name, folder or Path())


def new_evaluation(name: NameArgument, folder: FolderOption = None) -> None:
    """The same as `lossbench new evaluation NAME`."""
    _new_component(Kind.evaluation, name, folder or Path())


def new_suite(
    name: NameArgument,
    folder: FolderOption = None,
    data_root: DataRootOption = DEFAULT_DATA_ROOT,
) -> None:
    """The same as `lossbench new suite NAME`."""
    _new_suite(name, folder or Path("suites"), data_root)


def _new_component(kind: Kind, name: str, folder: Path) -> None:
    """Write the files of a component, and print what to do with them."""
    component, test, suite = write_component(kind, name, folder)
    out.print(f"wrote {component}, {test}, {suite}; next:", highlight=False, soft_wrap=True)
    commands = [
        f"python -m pytest {test}",  # if pytest is not installed, Python's message says so
        f"lossbench run {suite} --plugin {component}",
    ]
    if kind is Kind.loss:
        commands = [f"lossbench test-loss {name} --plugin {component}", *commands]
    for command in commands:
        out.print(f"  {command}", highlight=False, soft_wrap=True)


def _new_suite(name: str, folder: Path, data_root: Path) -> None:
    """Write a copy of a suite that comes with lossbench, and print what to do with it."""
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


def write_component(kind: str, name: str, folder: Path) -> list[Path]:
    """Write the files of a new component.

    Args:
        kind: Kind of the component, one of `Kind` except `suite`.
        name: Name of the component and of its files.
        folder: Folder for the files; created if it does not exist.

    Returns:
        Paths of the component, its test and its suite.

    Raises:
        RequestError: The name cannot be used, or a file exists already; nothing was written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from lossbench.assembly.registries import KINDS

    command = f"new {kind} {name}"
    [known] = [each for each in KINDS if each.registry.kind == kind]
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise RequestError(f"{command}: should be a Python name, as in {known.example}")
    if name in known.registry:
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
    class_name += "_" if class_name == name else ""
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
        raise RequestError(f"new suite {name}: no such suite{did_you_mean(name, shipped)}")
    path = folder / f"{name}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(shipped[name].read_text(encoding="utf-8"))
    except FileExistsError:
        raise RequestError(f"new suite {name}: {path} exists already") from None
    except OSError as error:
        raise RequestError(f"new suite {name}: {folder}: {error.strerror}") from None
    return path

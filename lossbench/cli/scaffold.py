"""What `lossbench new-loss` and `new-suite` write: a loss to start from, a shipped suite."""

from __future__ import annotations

import keyword
import sys
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from lossbench.errors import RequestError, did_you_mean
from lossbench.losses import LOSSES
from lossbench.suite.shipped import shipped_suites

FILES = {"{name}.py": "loss.py", "test_{name}.py": "test.py", "{name}.yaml": "suite.yaml"}
"""File -> its template."""


def new_loss(name: str, folder: Path) -> list[Path]:
    """Write the three files.

    Args:
        name: Of the loss, and of the files.
        folder: Made if it is not there.

    Returns:
        What was written: the loss, its test, the suite.

    Raises:
        RequestError: The name cannot be used, or a file is there already; nothing was written.
    """
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise RequestError(f"new-loss {name}: should be a name for Python, as in my_loss")
    if name in LOSSES:
        raise RequestError(f"new-loss {name}: there is a loss of this name; choose another one")
    if name in sys.modules or name in sys.stdlib_module_names:
        raise RequestError(f"new-loss {name}: a module has this name; choose another one")
    paths = [folder / file.format(name=name) for file in FILES]
    there = [path for path in paths if path.exists()]
    if there:
        verb = "exists" if len(there) == 1 else "exist"
        raise RequestError(f"new-loss {name}: {', '.join(map(str, there))} {verb} already")
    environment = Environment(
        loader=PackageLoader("lossbench.cli", "templates"),
        autoescape=False,  # no page
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    class_name = "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Head"
    texts = [
        environment.get_template(f"{template}.jinja").render(name=name, class_name=class_name)
        for template in FILES.values()
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"new-loss {name}: {folder}: {error.strerror}") from None
    return paths


def new_suite(name: str, folder: Path) -> Path:
    """Copy a shipped suite.

    Args:
        name: Of the suite.
        folder: Where to; made if it is not there.

    Returns:
        The file that was written.

    Raises:
        RequestError: There is no such suite, or a file is there already.
    """
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

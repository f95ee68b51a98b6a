"""Location of each key of a suite, and the error that reports it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lossbench.errors import Loc, Problem, ProblemCollector, RequestError


@dataclass(frozen=True)
class Origin:
    """Location of each key of a suite in its file or on the command line, for error messages.

    Attributes:
        path: Path of the suite file as the user gave it.
        document: Parsed YAML with its line numbers.
        overridden: Dotted key of each override -> option that set it, as the user wrote it.
    """

    path: str = "suite"
    document: Any = None
    overridden: Mapping[str, str] = field(default_factory=dict)

    def where(self, loc: Loc) -> str:
        """Return `FILE:LINE` of a key, or the option that overrides it."""
        dotted = Problem(loc, "").key
        for key, option in self.overridden.items():
            if dotted == key or dotted.startswith(f"{key}.") or key.startswith(f"{dotted}."):
                return option
        line: int | None = None
        node: Any = self.document
        for part in loc:
            try:
                marks: Any = node.lc
                mark = marks.item(part) if isinstance(node, list) else marks.key(part)
                line, node = mark[0] + 1, node[part]
            except (AttributeError, KeyError, IndexError, TypeError):
                break
        return self.path if line is None else f"{self.path}:{line}"

    def raise_if_any(self, collector: ProblemCollector) -> None:
        """Raise SuiteError if there are problems."""
        if collector:
            raise self.error(collector.problems)

    def error(self, problems: Iterable[Problem]) -> SuiteError:
        return SuiteError(self, list(problems))


class SuiteError(RequestError):
    """All problems of a suite, each with its location."""

    def __init__(self, origin: Origin, problems: list[Problem]) -> None:
        self.problems = problems
        lines = [
            f"{origin.where(p.loc)}: {p.key + ': ' if p.key else ''}{p.message}" for p in problems
        ]
        super().__init__("\n".join(dict.fromkeys(lines)))

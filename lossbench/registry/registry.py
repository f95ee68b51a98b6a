"""Registry: components of one kind by name."""

from __future__ import annotations

import importlib.metadata
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import Any, Generic, TypeVar

from lossbench.errors import RequestError, UnknownNameError, UnsupportedNameError
from lossbench.registry.entry import Entry, make_entry, with_finish
from lossbench.registry.notation import Notation

T = TypeVar("T")


@dataclass(frozen=True)
class Library(Generic[T]):
    """Components of another library, which are named `prefix.NAME` and looked up when needed.

    Attributes:
        prefix: First part of the names, without the last dot: `timm`, `torch.optim`.
        provider: Returns the entry of a name after the prefix.
        names: Returns all names after the prefix.
        placeholder: Entry that represents all of them in a list.
        unsupported: Names after the prefix that cannot be used, and why; not among `names`.
    """

    prefix: str
    provider: Callable[[str], Entry[T]]
    names: Callable[[], Iterable[str]]
    placeholder: Entry[T]
    unsupported: Mapping[str, str]


class Registry(Generic[T]):
    """Components of one kind by name; errors on unknown names list the nearest ones.

    Args:
        kind: Kind of the components, for messages.
        group: Entry-point group of installed packages with further components. A package is
            imported when one of its names is looked up; registered names take precedence.
        adapt: Function that makes a factory as this registry needs it from one of another form.
        finish: Function whose keyword-only arguments are parameters of every component. If one of
            them is given, `finish(made, *context, **given)` replaces what the component's factory
            returned for the same context. All of them have defaults marked `OMIT_DEFAULT`.
    """

    def __init__(
        self,
        kind: str,
        group: str = "",
        adapt: Callable[[Callable[..., Any]], Callable[..., T]] = lambda factory: factory,
        finish: Callable[..., T] | None = None,
    ) -> None:
        self.kind = kind
        self._finish = finish
        self._group = group
        self._adapt = adapt
        self._entries: dict[str, Entry[T]] = {}
        self._libraries: dict[str, Library[T]] = {}

    def register(
        self,
        name: str,
        *,
        reference: str = "",
        title: str = "",
        symbols: Mapping[str, str] | None = None,
    ) -> Callable[[Callable[..., T]], Any]:
        r"""Return a decorator that registers a factory.

        Args:
            name: Name in suites: letters, digits and underscores, with a letter first.
            reference: Paper of the component.
            title: Name in LaTeX tables, as in `L-GM`; by default the name in suites.
            symbols: Parameter -> symbol of the paper in LaTeX's math mode, as in `\alpha` or `m`.

        Raises:
            RequestError: The name has another form.
        """
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
            raise RequestError(
                f"{self.kind} {name!r}: its name should be letters, digits and underscores, with a "
                f"letter first, as in my_{self.kind}"
            )
        notation = Notation(title=title, symbols=dict(symbols or {}))

        def decorate(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._entries:
                raise RequestError(f"{self.kind} {name!r} is registered twice")
            entry = self._make_entry(name, factory, reference)
            self._entries[name] = replace(entry, notation=notation)
            return factory

        return decorate

    def register_prefix(
        self,
        prefix: str,
        provider: Callable[[str], Entry[T]],
        names: Callable[[], Iterable[str]],
        placeholder: Entry[T],
        unsupported: Mapping[str, str] | None = None,
    ) -> None:
        """Register components of a library as `prefix.NAME`; each is looked up when needed.

        Args:
            prefix: First part of the names, without the dot before NAME; it may have dots itself.
            provider: Returns the entry of a name after the prefix.
            names: Returns all names after the prefix. Both functions may raise RequestError, if the
                library is not installed.
            placeholder: Entry `prefix.NAME` that represents all of them in `lossbench list`, with
                the parameters that they share; available without the library.
            unsupported: Further names of the library that cannot be used, and why: the end of a
                message.
        """
        if prefix in self._libraries:
            raise RequestError(f"{self.kind} {prefix!r} is registered twice")
        self._libraries[prefix] = Library(prefix, provider, names, placeholder, unsupported or {})

    @property
    def libraries(self) -> tuple[Library[T], ...]:
        """Libraries whose components are available as `prefix.NAME`, by prefix."""
        return tuple(self._libraries[prefix] for prefix in sorted(self._libraries))

    def library_of(self, name: str) -> Library[T] | None:
        """Library of a name; the one with the longest prefix, if there are several."""
        found = [each for each in self.libraries if name.startswith(f"{each.prefix}.")]
        return max(found, key=lambda library: len(library.prefix), default=None)

    @property
    def plural(self) -> str:
        """`losses` for `loss`."""
        return f"{self.kind}es" if self.kind.endswith("s") else f"{self.kind}s"

    @property
    def builtin_names(self) -> list[str]:
        """Names of the components of lossbench, sorted; no installed package is imported."""
        return sorted(name for name, entry in self._entries.items() if not entry.external)

    def entry_of(self, factory: Callable[..., T]) -> Entry[T] | None:
        """Return the entry of a registered factory; no installed package is imported."""
        entries = self._entries.values()
        return next((entry for entry in entries if entry.factory is factory), None)

    def registered_by(self, file_digest: str) -> list[Entry[T]]:
        """Entries that a `--plugin` file has registered."""
        return [entry for entry in self._entries.values() if entry.file_digest == file_digest]

    def plugin_entries(self) -> dict[str, Entry[T]]:
        """Entries registered by `--plugin` files, not by installed packages.

        Returns:
            Entries by kind and name, as in `loss my_loss`.
        """
        entries = self._entries.values()
        return {f"{self.kind} {entry.name}": entry for entry in entries if entry.file_digest}

    def unregister(self, file_digest: str) -> None:
        """Remove the entries that a `--plugin` file has registered."""
        for entry in self.registered_by(file_digest):
            del self._entries[entry.name]

    def __getitem__(self, name: str) -> Entry[T]:
        if name in self._entries:
            return self._entries[name]
        if name in self._entry_points:
            return self._load(name, self._entry_points[name])
        library = self.library_of(name)
        if library is None:
            provided = (f"{prefix}.NAME" for prefix in self._libraries)
            article = "an" if self.kind[0] in "aeiou" else "a"
            hint = f"; for {article} {self.kind} of your own, add --plugin FILE.py"
            hint = hint if self._group else ""
            raise UnknownNameError(self.kind, name, [*self, *provided], hint)
        rest = name.removeprefix(f"{library.prefix}.")
        if rest in library.unsupported:
            raise UnsupportedNameError(self.kind, name, library.unsupported[rest])
        known = set(library.names())
        if rest not in known:
            raise UnknownNameError(self.kind, name, (f"{library.prefix}.{o}" for o in known))
        return with_finish(library.provider(rest), self._finish)

    def _make_entry(self, name: str, factory: Callable[..., Any], reference: str = "") -> Entry[T]:
        entry = make_entry(self.kind, name, self._adapt(factory), reference)
        return with_finish(entry, self._finish)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self[name] is not None
        except RequestError:
            return False

    def __iter__(self) -> typing.Iterator[str]:
        """Names that are registered or entry points; those under a prefix are left out."""
        return iter(sorted({*self._entries, *self._entry_points}))

    @cached_property
    def _entry_points(self) -> dict[str, list[EntryPoint]]:
        points: dict[str, list[EntryPoint]] = {}
        if self._group:
            for point in importlib.metadata.entry_points(group=self._group):
                points.setdefault(point.name, []).append(point)
        return points

    def _load(self, name: str, points: list[EntryPoint]) -> Entry[T]:
        packages = [point.dist.name if point.dist else point.value for point in points]
        if len(points) > 1:
            raise RequestError(f"{self.kind} {name!r} is defined by {' and by '.join(packages)}")
        [point] = points
        try:
            factory = point.load()
            entry = self._entries.get(name) or self._make_entry(name, factory)
        except Exception as error:  # other packages may raise anything
            reason = f"{type(error).__name__}: {error}"
            raise RequestError(
                f"{self.kind} {name!r} of {packages[0]} ({point.value}) cannot be used: {reason}"
            ) from None
        self._entries[name] = replace(entry, distribution=packages[0])
        return self._entries[name]

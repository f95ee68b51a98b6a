"""Registries: names of losses, models, evaluations, data sets, optimizers and so on.

The keyword-only arguments of a factory are its parameters. Their annotations define the valid
values, so a single signature gives the checks, the defaults and the output of `lossbench list`:

    @LOSSES.register("center", reference="Wen et al., ECCV 2016")
    class CenterHead(LossHead):
        def __init__(self, num_classes: int, feature_dim: int, *,
                     weight: Annotated[float, Field(ge=0)] = 0.003) -> None: ...
"""

from __future__ import annotations

import importlib.metadata
import inspect
import keyword
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from lossbench.errors import (
    ParameterError,
    Problem,
    RequestError,
    UnknownNameError,
    validation_problems,
)

T = TypeVar("T")


_GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|pi|rho|sigma|"
    "tau|phi|varphi|chi|psi|omega"
)
Symbol = Annotated[str, Field(pattern=rf"^(\\({_GREEK})|[A-Za-z])(_[A-Za-z0-9])?$")]
"""A letter in LaTeX's math mode, perhaps with an index."""


class Notation(BaseModel):
    r"""Name and symbols of a loss in its paper, for LaTeX tables.

    Attributes:
        title: Name with its usual spelling, as in `L-GM`; empty for the name in suites.
        symbols: Parameter -> symbol of the paper; parameters for which it has none are left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: str = Field(default="", max_length=60)
    symbols: dict[str, Symbol] = Field(default={})


class _Parameters(BaseModel):
    """Base of the models made from signatures: exact types, known keys, finite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered factory.

    Attributes:
        kind: Kind of the component, such as `loss`.
        name: Name in suites.
        factory: Function or class that builds the component, from the caller's context and the
            parameters.
        reference: Paper of the component.
        parameters: Pydantic model made from the factory's keyword-only arguments.
        file_digest: Digest of the plugin file that registered it; empty for all others.
        code_digest: Digest of the component's code in that file; see `assembly/code_digest.py`.
        distribution: Installed package that defines it; empty for lossbench itself.
        notation: Name and symbols of the paper, for LaTeX tables.
    """

    kind: str
    name: str
    factory: Callable[..., T]
    reference: str
    parameters: type[BaseModel]
    file_digest: str = ""
    code_digest: str = ""
    distribution: str = ""
    notation: Notation = field(default_factory=Notation)

    @property
    def external(self) -> bool:
        """Whether its code is not part of lossbench, and may raise any exception."""
        return bool(self.file_digest or self.distribution)

    @property
    def summary(self) -> str:
        """First line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]

    @property
    def parameter_names(self) -> list[str]:
        """Public names (`lambda`, not `lambda_`) in the order of the signature."""
        return list(self.parameters.model_fields)

    def limits(self, name: str) -> tuple[float | None, float | None]:
        """Inclusive lower and upper limit of a parameter; None if there is none."""
        known = self.parameters.model_fields.get(name)
        metadata = known.metadata if known else ()
        lowest = [limit.ge for limit in metadata if hasattr(limit, "ge")]
        highest = [limit.le for limit in metadata if hasattr(limit, "le")]
        return max(lowest, default=None), min(highest, default=None)

    def resolve(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Check parameters and fill in the defaults.

        Args:
            params: Values by public name, or by the name in Python (`lambda_`).

        Returns:
            Values of all parameters by public name.

        Raises:
            ParameterError: A key is unknown, or a value has a wrong type or range.
        """
        doubled = [
            Problem((name,), f"given twice, also as {name}_")
            for name in params
            if f"{name}_" in params
        ]
        if doubled:
            raise ParameterError(self.name, doubled)
        public = {_public(name): value for name, value in params.items()}
        try:
            checked = self.parameters.model_validate(public)
        except ValidationError as error:
            problems = validation_problems(error, lambda path: self.parameter_names)
            raise ParameterError(self.name, problems) from None
        return checked.model_dump()

    def create(self, *context: Any, **params: Any) -> T:
        """Build the object.

        Args:
            *context: Arguments that are not parameters, such as `num_classes` or an image shape.
            **params: Values as for `resolve`.

        Raises:
            ParameterError: As for `resolve`, or the factory refuses a combination of values.
        """
        resolved = self.resolve(params)
        return self.factory(*context, **{_python(name): value for name, value in resolved.items()})


def make_entry(kind: str, name: str, factory: Callable[..., T], reference: str = "") -> Entry[T]:
    """Create an entry whose parameters are the factory's keyword-only arguments."""
    file_digest, code_digest_of = _PLUGIN_FILE.get()
    parameters = _parameters_model(name, factory)
    code_digest = code_digest_of(factory)
    return Entry(kind, name, factory, reference, parameters, file_digest, code_digest)


DigestOf = Callable[[Callable[..., Any]], str]
_PLUGIN_FILE: ContextVar[tuple[str, DigestOf]] = ContextVar(
    "plugin_file", default=("", lambda factory: "")
)


@contextmanager
def registering(file_digest: str, code_digest_of: DigestOf) -> Iterator[None]:
    """Mark components registered in this context as those of a `--plugin` file.

    Args:
        file_digest: Digest of the file.
        code_digest_of: Factory -> digest of its code in that file.
    """
    token = _PLUGIN_FILE.set((file_digest, code_digest_of))
    try:
        yield
    finally:
        _PLUGIN_FILE.reset(token)


class Registry(Generic[T]):
    """Components of one kind by name; errors on unknown names list the nearest ones.

    Args:
        kind: Kind of the components, for messages.
        group: Entry-point group of installed packages with further components. A package is
            imported when one of its names is looked up; registered names take precedence.
    """

    def __init__(self, kind: str, group: str = "") -> None:
        self.kind = kind
        self._group = group
        self._entries: dict[str, Entry[T]] = {}
        self._providers: dict[
            str, tuple[Callable[[str], Entry[T]], Callable[[], Iterable[str]]]
        ] = {}

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
            name: Name in suites.
            reference: Paper of the component.
            title: Name in LaTeX tables, as in `L-GM`; by default the name in suites.
            symbols: Parameter -> symbol of the paper in LaTeX's math mode, as in `\alpha` or `m`.
        """
        notation = Notation(title=title, symbols=dict(symbols or {}))

        def decorate(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._entries:
                raise RequestError(f"{self.kind} {name!r} is registered twice")
            entry = make_entry(self.kind, name, factory, reference)
            self._entries[name] = replace(entry, notation=notation)
            return factory

        return decorate

    def register_prefix(
        self,
        prefix: str,
        provider: Callable[[str], Entry[T]],
        names: Callable[[], Iterable[str]],
    ) -> None:
        """Register components of a library as `prefix.NAME`; each is looked up when needed.

        Args:
            prefix: First part of the names, without the dot.
            provider: Returns the entry of a name after the prefix.
            names: Returns all names after the prefix. Both functions may raise RequestError, if the
                library is not installed.
        """
        if prefix in self._providers:
            raise RequestError(f"{self.kind} {prefix!r} is registered twice")
        self._providers[prefix] = (provider, names)

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
        prefix, dot, rest = name.partition(".")
        if not dot or prefix not in self._providers:
            provided = (f"{prefix}.NAME" for prefix in self._providers)
            article = "an" if self.kind[0] in "aeiou" else "a"
            hint = f"; for {article} {self.kind} of your own, add --plugin FILE.py"
            hint = hint if self._group else ""
            raise UnknownNameError(self.kind, name, [*self, *provided], hint)
        provider, names = self._providers[prefix]
        known = set(names())
        if rest not in known:
            raise UnknownNameError(self.kind, name, (f"{prefix}.{other}" for other in known))
        return provider(rest)

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
            entry = self._entries.get(name) or make_entry(self.kind, name, factory)
        except Exception as error:  # other packages may raise anything
            reason = f"{type(error).__name__}: {error}"
            raise RequestError(
                f"{self.kind} {name!r} of {packages[0]} ({point.value}) cannot be used: {reason}"
            ) from None
        self._entries[name] = replace(entry, distribution=packages[0])
        return self._entries[name]


def _public(name: str) -> str:
    return name.rstrip("_")


def _python(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


def _parameters_model(name: str, factory: Callable[..., Any]) -> type[BaseModel]:
    function = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if parameter.name not in hints:
                raise RequestError(f"parameter {parameter.name!r} has no annotation")
            required = parameter.default is inspect.Parameter.empty
            default = Field() if required else Field(default=parameter.default)
            fields[_public(parameter.name)] = (hints[parameter.name], default)
    return parameters_model(name, fields)


def parameters_model(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    """Create the model of parameters from name -> (type, default)."""
    return create_model(f"{name}_parameters", __base__=_Parameters, **fields)


def user_path(written: str | Path) -> Path:
    """Return the path with a leading `~` or `~user` replaced by the home folder.

    A shell replaces it in `--data-root ~/data`, but not in `--data-root=~/data`, suites and
    environment variables.

    Raises:
        RequestError: There is no such home folder.
    """
    try:
        return Path(written).expanduser()
    except RuntimeError:
        home = Path(written).parts[0]
        raise RequestError(
            f"{written}: {home} is not a home folder on this machine; write the path in full"
        ) from None

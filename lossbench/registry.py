"""Names for things that can be built: losses, models, optimizers, schedules, augmentations.

A factory's keyword-only arguments are its parameters. Their annotations say which values
are right, so one signature gives the checks, the defaults and what `lossbench list` shows:

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
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from lossbench.errors import ParameterError, Problem, RequestError, UnknownNameError, problems_of

T = TypeVar("T")


class _Parameters(BaseModel):
    """Base of the models made from signatures: exact types, no unknown key, no infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered factory.

    Attributes:
        name: The name in suites.
        factory: Called with the caller's context and the parameters.
        reference: The paper.
        parameters: A pydantic model made from the factory's keyword-only arguments.
        source: Digest of the user's file that registered it; empty for all others.
        code: Digest of what it is made of in that file; see `code_digest`.
        distribution: The installed library that it comes from; empty for lossbench itself.
    """

    kind: str
    name: str
    factory: Callable[..., T]
    reference: str
    parameters: type[BaseModel]
    source: str = ""
    code: str = ""
    distribution: str = ""

    @property
    def foreign(self) -> bool:
        """Whether its code is no part of lossbench, and may raise what it likes."""
        return bool(self.source or self.distribution)

    @property
    def summary(self) -> str:
        """First line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]

    @property
    def parameter_names(self) -> list[str]:
        """Public names, in the order of the signature (`lambda`, not `lambda_`)."""
        return list(self.parameters.model_fields)

    def limits(self, name: str) -> tuple[float | None, float | None]:
        """Smallest and largest value that a parameter may have; None where there is none."""
        known = self.parameters.model_fields.get(name)
        metadata = known.metadata if known else ()
        lowest = [limit.ge for limit in metadata if hasattr(limit, "ge")]
        highest = [limit.le for limit in metadata if hasattr(limit, "le")]
        return max(lowest, default=None), min(highest, default=None)

    def resolve(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Check parameters and fill in the defaults.

        Args:
            params: By public name, or by the Python name where that differs.

        Returns:
            Every parameter by its public name.

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
            problems = problems_of(error, lambda path: self.parameter_names)
            raise ParameterError(self.name, problems) from None
        return checked.model_dump()

    def create(self, *context: Any, **params: Any) -> T:
        """Build the object.

        Args:
            *context: What the caller knows and no suite says (`num_classes`, an input shape).
            **params: As for `resolve`.

        Raises:
            ParameterError: As for `resolve`, or the factory refuses a combination of values.
        """
        resolved = self.resolve(params)
        return self.factory(*context, **{_python(name): value for name, value in resolved.items()})


def make_entry(kind: str, name: str, factory: Callable[..., T], reference: str = "") -> Entry[T]:
    """An entry whose parameters are the factory's keyword-only arguments."""
    source, digest_of = _SOURCE.get()
    parameters = _parameters_model(name, factory)
    return Entry(kind, name, factory, reference, parameters, source, digest_of(factory))


DigestOf = Callable[[Callable[..., Any]], str]
_SOURCE: ContextVar[tuple[str, DigestOf]] = ContextVar("source", default=("", lambda factory: ""))


@contextmanager
def registering(source: str, digest_of: DigestOf) -> Iterator[None]:
    """Mark what is registered meanwhile as coming from a user's file.

    Args:
        source: The file's digest.
        digest_of: Factory -> digest of what it is made of in that file.
    """
    token = _SOURCE.set((source, digest_of))
    try:
        yield
    finally:
        _SOURCE.reset(token)


class Registry(Generic[T]):
    """Name -> factory + metadata. A duplicate raises; a miss lists the near names.

    Args:
        kind: Of what is registered, for messages.
        group: Of the entry points by which installed packages offer more. One is imported when
            its name is asked for; names that are registered here are never taken from elsewhere.
    """

    def __init__(self, kind: str, group: str = "") -> None:
        self.kind = kind
        self._group = group
        self._entries: dict[str, Entry[T]] = {}
        self._providers: dict[
            str, tuple[Callable[[str], Entry[T]], Callable[[], Iterable[str]]]
        ] = {}

    def register(self, name: str, *, reference: str = "") -> Callable[[Callable[..., T]], Any]:
        """Decorate a factory; `reference` is its paper."""

        def decorate(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._entries:
                raise RequestError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = make_entry(self.kind, name, factory, reference)
            return factory

        return decorate

    def provide(
        self,
        prefix: str,
        provider: Callable[[str], Entry[T]],
        names: Callable[[], Iterable[str]],
    ) -> None:
        """Take names `prefix.rest` from elsewhere, such as another library, when asked for.

        Args:
            prefix: Without the dot.
            provider: `rest` -> its entry, for one of `names`.
            names: Every `rest`. Both may raise RequestError: the library is not installed.
        """
        if prefix in self._providers:
            raise RequestError(f"{self.kind} {prefix!r} is provided twice")
        self._providers[prefix] = (provider, names)

    @property
    def own_names(self) -> list[str]:
        """Names of lossbench's own entries, sorted; no installed package is imported."""
        return sorted(name for name, entry in self._entries.items() if not entry.foreign)

    def entry_of(self, factory: Callable[..., T]) -> Entry[T] | None:
        """Return the entry of a registered factory; no installed package is imported."""
        entries = self._entries.values()
        return next((entry for entry in entries if entry.factory is factory), None)

    def registered_by(self, source: str) -> list[Entry[T]]:
        """What a user's file has registered."""
        return [entry for entry in self._entries.values() if entry.source == source]

    def users_entries(self) -> dict[str, Entry[T]]:
        """What users' files have registered, by kind and name, as in `loss my_loss`."""
        found = self._entries.values()
        return {f"{self.kind} {entry.name}": entry for entry in found if entry.source}

    def forget(self, source: str) -> None:
        """Drop what a user's file has registered."""
        for entry in self.registered_by(source):
            del self._entries[entry.name]

    def __getitem__(self, name: str) -> Entry[T]:
        if name in self._entries:
            return self._entries[name]
        if name in self._offered:
            return self._take(name, self._offered[name])
        prefix, dot, rest = name.partition(".")
        if not dot or prefix not in self._providers:
            provided = (f"{prefix}.NAME" for prefix in self._providers)
            own = f"; a {self.kind} of your own takes --plugin FILE.py" if self._group else ""
            raise UnknownNameError(self.kind, name, [*self, *provided], own)
        provider, names = self._providers[prefix]
        known = set(names())
        if rest not in known:
            raise UnknownNameError(self.kind, name, (f"{prefix}.{found}" for found in known))
        return provider(rest)

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self[name] is not None
        except RequestError:
            return False

    def __iter__(self) -> typing.Iterator[str]:
        """Names registered here or offered by packages; those provided are too many to list."""
        return iter(sorted({*self._entries, *self._offered}))

    @cached_property
    def _offered(self) -> dict[str, list[EntryPoint]]:
        offered: dict[str, list[EntryPoint]] = {}
        if self._group:
            for point in importlib.metadata.entry_points(group=self._group):
                offered.setdefault(point.name, []).append(point)
        return offered

    def _take(self, name: str, points: list[EntryPoint]) -> Entry[T]:
        owners = [point.dist.name if point.dist else point.value for point in points]
        if len(points) > 1:
            raise RequestError(f"{self.kind} {name!r} is offered by {' and by '.join(owners)}")
        [point] = points
        try:
            factory = point.load()
            entry = self._entries.get(name) or make_entry(self.kind, name, factory)
        except Exception as error:  # a package's code raises what it likes
            reason = f"{type(error).__name__}: {error}"
            raise RequestError(
                f"{self.kind} {name!r} of {owners[0]} ({point.value}) cannot be used: {reason}"
            ) from None
        self._entries[name] = replace(entry, distribution=owners[0])
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
    """The model of parameters: name -> (type, default)."""
    return create_model(f"{name}_parameters", __base__=_Parameters, **fields)


def user_path(written: str | Path) -> Path:
    """Return a path with `~` and `~user` replaced by that home; other paths as they are.

    A shell does so in `--data-root ~/data`, but not in `--data-root=~/data`, in a suite or in an
    environment variable.

    Raises:
        RequestError: There is no such home.
    """
    try:
        return Path(written).expanduser()
    except RuntimeError:
        home = Path(written).parts[0]
        raise RequestError(
            f"{written}: {home} is no home folder of this machine; write the path in full"
        ) from None

"""Entries of registries: a factory with its checked parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError, create_model

from lossbench.errors import ParameterError, Problem, RequestError, validation_problems
from lossbench.registry.notation import Notation
from lossbench.registry.parameters import (
    OMIT_DEFAULT,
    optional_arguments,
    public_name,
    python_name,
    signature_fields,
    signature_model,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered factory.

    Attributes:
        kind: Kind of the component, such as `loss`.
        name: Name in suites.
        factory: Function or class that builds the component, from the caller's context and the
            parameters.
        reference: Paper of the component.
        parameters: Pydantic model made from the factory's keyword-only arguments, and those of
            `finish`.
        file_digest: Digest of the plugin file that registered it; empty for all others.
        code_digest: Digest of the component's code in that file; see `assembly/code_digest.py`.
        distribution: Installed package that defines it; empty for lossbench itself.
        notation: Name and symbols of the paper, for LaTeX tables.
        finish: Function that adapts what the factory returns; see `Registry`.
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
    finish: Callable[..., T] | None = None

    @property
    def external(self) -> bool:
        """Whether its code is not part of lossbench, and may raise any exception."""
        return bool(self.file_digest or self.distribution)

    @property
    def summary(self) -> str:
        """First line of the factory's docstring, not of one that its class inherits."""
        return inspect.cleandoc(self.factory.__doc__ or "").partition("\n")[0]

    @property
    def parameter_names(self) -> list[str]:
        """Public names (`lambda`, not `lambda_`) in the order of the signature."""
        return list(self.parameters.model_fields)

    def limits(self, name: str) -> tuple[float | None, float | None]:
        """Inclusive lower and upper limit of a parameter; None if there is none."""
        known = self.parameters.model_fields.get(name)
        metadata = known.metadata if known else ()
        lowest = [float(limit.ge) for limit in metadata if hasattr(limit, "ge")]
        highest = [float(limit.le) for limit in metadata if hasattr(limit, "le")]
        return max(lowest, default=None), min(highest, default=None)

    @property
    def omitted_defaults(self) -> dict[str, Any]:
        """Defaults of the parameters that are marked `OMIT_DEFAULT`, by public name."""
        fields = self.parameters.model_fields.items()
        return {name: known.default for name, known in fields if OMIT_DEFAULT in known.metadata}

    def resolve(self, params: Mapping[str, Any], kept: Collection[str] = ()) -> dict[str, Any]:
        """Check parameters and fill in the defaults.

        Args:
            params: Values by public name, or by the name in Python (`lambda_`).
            kept: Parameters whose defaults are kept although they are marked `OMIT_DEFAULT`.

        Returns:
            Values of all parameters by public name, without defaults marked `OMIT_DEFAULT`.

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
        public = {public_name(name): value for name, value in params.items()}
        try:
            checked = self.parameters.model_validate(public)
        except ValidationError as error:
            problems = validation_problems(error, lambda path: self.parameter_names)
            raise ParameterError(self.name, map(self._with_advice, problems)) from None
        omitted = self.omitted_defaults
        return {
            name: value
            for name, value in checked.model_dump().items()
            if name in kept or name not in omitted or value != omitted[name]
        }

    def _with_advice(self, problem: Problem) -> Problem:
        """A problem, with advice if an unknown key is an argument by position of the factory."""
        if not set(problem.loc[:1]) & optional_arguments(self.factory):
            return problem
        name = getattr(self.factory, "__name__", self.name)
        message = f"{problem.message}; {name} has it before the * of its keyword-only arguments"
        return replace(problem, message=message)

    def create(self, *context: Any, **params: Any) -> T:
        """Build the object.

        Args:
            *context: Arguments that are not parameters, such as `num_classes` or an image shape.
            **params: Values as for `resolve`.

        Raises:
            ParameterError: As for `resolve`, or the factory refuses a combination of values.
        """
        given = {python_name(name): value for name, value in self.resolve(params).items()}
        if self.finish is None:
            return self.factory(*context, **given)
        shared = {name: given.pop(name) for name in shared_parameters(self.finish) & given.keys()}
        made = self.factory(*context, **given)
        return self.finish(made, *context, **shared) if shared else made


def make_entry(kind: str, name: str, factory: Callable[..., T], reference: str = "") -> Entry[T]:
    """Create an entry whose parameters are the factory's keyword-only arguments."""
    file_digest, code_digest_of = _PLUGIN_FILE.get()
    parameters = signature_model(name, factory)
    code_digest = code_digest_of(factory)
    return Entry(kind, name, factory, reference, parameters, file_digest, code_digest)


def shared_parameters(finish: Callable[..., Any]) -> frozenset[str]:
    """Names of the parameters that `finish` adds to every component of a registry."""
    return frozenset(signature_fields(finish))


def with_finish(entry: Entry[T], finish: Callable[..., T] | None) -> Entry[T]:
    """The entry with the parameters of `finish`, if there is one, in addition to its own.

    Raises:
        RequestError: The component has a parameter of the same name.
    """
    if finish is None:
        return entry
    if doubled := shared_parameters(finish) & entry.parameters.model_fields.keys():
        raise RequestError(
            f"{entry.kind} {entry.name!r}: every {entry.kind} has the parameter "
            f"{min(doubled)!r} already; rename it"
        )
    fields = signature_fields(finish)
    parameters = create_model(f"{entry.name}_parameters", __base__=entry.parameters, **fields)
    return replace(entry, parameters=parameters, finish=finish)


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

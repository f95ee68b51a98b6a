from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from lossbench.errors import ParameterError, RequestError, UnknownNameError
from lossbench.registry import OMIT_DEFAULT, Entry, Registry, user_path


def make_registry() -> Registry[tuple[object, ...]]:
    registry: Registry[tuple[object, ...]] = Registry("thing")

    @registry.register("lens", reference="Someone, 1999")
    def lens(
        context: int,
        *,
        power: Annotated[float, Field(ge=0)] = 1.0,
        lambda_: float = 0.5,
        coated: bool = False,
    ) -> tuple[object, ...]:
        """A lens.

        More text.
        """
        return context, power, lambda_, coated

    return registry


def test_defaults_are_filled_in_and_integers_become_floats() -> None:
    entry = make_registry()["lens"]
    assert entry.resolve({"power": 2}) == {"power": 2.0, "lambda": 0.5, "coated": False}
    assert isinstance(entry.resolve({"power": 2})["power"], float)


@pytest.mark.parametrize("name", ["lambda", "lambda_"])
def test_a_keyword_of_python_is_accepted_with_and_without_underscore(name: str) -> None:
    assert make_registry()["lens"].create(7, **{name: 0.25}) == (7, 1.0, 0.25, False)


def test_both_spellings_at_once_are_refused() -> None:
    with pytest.raises(ParameterError, match="twice"):
        make_registry()["lens"].resolve({"lambda": 1.0, "lambda_": 2.0})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"powr": 1.0}, "powr: unknown key; did you mean 'power'"),
        ({"power": -1}, "power: should be greater than or equal to 0, not -1"),
        ({"power": "x"}, "power: should be a valid number, not 'x'"),
        ({"power": True}, "power: should be a valid number"),
        ({"power": float("nan")}, "power: should be a finite number"),
        ({"power": {"grid": [1]}}, "power: should be a valid number"),
        ({"coated": 1}, "coated: should be a valid boolean"),
    ],
)
def test_wrong_parameters(params: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        make_registry()["lens"].resolve(params)
    assert message in str(caught.value)


def test_every_wrong_parameter_is_reported_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        make_registry()["lens"].resolve({"powr": 1.0, "coated": 1, "power": -1})
    assert [problem.key for problem in caught.value.problems] == ["power", "coated", "powr"]


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'lens'"):
        make_registry()["Lense"]


def test_a_duplicate_raises() -> None:
    registry = make_registry()
    with pytest.raises(RequestError, match="twice"):
        registry.register("lens")(lambda: ())


def register_far(registry: Registry[tuple[object, ...]]) -> list[str]:
    """Register names `far.lens0` to `far.lens199`; returns the list of those looked up."""
    asked: list[str] = []

    def provider(rest: str) -> Entry[tuple[object, ...]]:
        asked.append(rest)
        return registry["lens"]

    registry.register_prefix(
        "far", provider, lambda: (f"lens{n}" for n in range(200)), registry["lens"]
    )
    return asked


def test_names_under_a_prefix_are_looked_up_when_needed() -> None:
    registry = make_registry()
    asked = register_far(registry)
    assert asked == []
    assert registry["far.lens7"].create(7) == (7, 1.0, 0.5, False)
    assert asked == ["lens7"]
    assert "far.lens7" in registry
    assert "far.lens200" not in registry
    assert "far." not in registry
    assert list(registry) == ["lens"]
    with pytest.raises(RequestError, match="twice"):
        register_far(registry)


def test_an_unknown_name_under_a_prefix_lists_the_nearest_only() -> None:
    registry = make_registry()
    register_far(registry)
    with pytest.raises(UnknownNameError) as caught:
        registry["far.lense77"]
    assert "did you mean 'far.lens77' or " in str(caught.value)
    assert "(known" not in str(caught.value)
    assert len(str(caught.value)) < 100
    with pytest.raises(UnknownNameError, match=r"known: far\.NAME, lens"):
        registry["near.lens77"]


def test_a_library_that_is_not_installed_is_reported_at_the_look_up() -> None:
    registry = make_registry()

    def names() -> list[str]:
        raise RequestError("needs far: pip install far")

    registry.register_prefix("far", lambda rest: registry[rest], names, registry["lens"])
    with pytest.raises(RequestError, match="pip install far"):
        registry["far.lens"]
    assert "far.lens" not in registry


def test_metadata_comes_from_the_factory() -> None:
    entry = make_registry()["lens"]
    assert (entry.summary, entry.reference) == ("A lens.", "Someone, 1999")
    assert entry.parameter_names == ["power", "lambda", "coated"]


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/data") == tmp_path / "data"
    assert user_path("data/~") == Path("data/~")
    with pytest.raises(RequestError, match="~nobody_at_all is not a home folder"):
        user_path("~nobody_at_all/data")


def test_a_prefix_may_have_dots_and_the_longest_one_counts() -> None:
    registry = make_registry()
    asked: list[str] = []

    def provider_of(prefix: str) -> Callable[[str], Entry[tuple[object, ...]]]:
        def provider(rest: str) -> Entry[tuple[object, ...]]:
            asked.append(f"{prefix} {rest}")
            return registry["lens"]

        return provider

    for prefix, names in (("far", ["off.x", "lens"]), ("far.off", ["x", "y.z"])):
        registry.register_prefix(prefix, provider_of(prefix), lambda n=names: n, registry["lens"])
    for name in ("far.off.x", "far.off.y.z", "far.lens"):
        assert name in registry
    assert asked == ["far.off x", "far.off y.z", "far lens"]
    assert [library.prefix for library in registry.libraries] == ["far", "far.off"]
    for name in ("far", "far.off", "far.off.", "far.off.lens"):
        with pytest.raises(UnknownNameError):
            registry[name]


def test_an_unsupported_name_of_a_library_is_refused_with_the_reason() -> None:
    registry = make_registry()
    lens = registry["lens"]
    registry.register_prefix("far", lambda rest: lens, lambda: ["a"], lens, {"b": "it is blue"})
    assert "far.a" in registry
    assert "far.b" not in registry
    with pytest.raises(RequestError, match=r"thing 'far\.b' cannot be used here: it is blue"):
        registry["far.b"]


def test_the_default_of_a_parameter_that_was_added_later_is_left_out() -> None:
    registry: Registry[tuple[float, float | None]] = Registry("thing")

    @registry.register("lens")
    def lens(
        *, power: float = 1.0, tint: Annotated[float | None, Field(ge=0), OMIT_DEFAULT] = None
    ) -> tuple[float, float | None]:
        return power, tint

    entry = registry["lens"]
    assert entry.resolve({}) == entry.resolve({"tint": None}) == {"power": 1.0}
    assert entry.resolve({"tint": 0.5}) == {"power": 1.0, "tint": 0.5}
    assert entry.create() == (1.0, None)
    assert entry.create(tint=0.5) == (1.0, 0.5)
    with pytest.raises(ParameterError, match="tint"):
        entry.resolve({"tint": -1.0})

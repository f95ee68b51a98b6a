"""`--set` reaches every name, also one with dots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.scanner import RoundTripScanner

from lossbench.assembly.registries import REGISTRIES
from lossbench.errors import RequestError
from lossbench.losses import LOSSES
from lossbench.registry import Registry
from lossbench.suite.load import load_suite
from lossbench.suite.schema import Suite
from lossbench.suite.yaml_io import parse

BASE = {
    "suite": "names",
    "dataset": "digits",
    "model": {"name": "digits_cnn", "feature_dim": 2},
    "recipe": {"epochs": 1, "batch_size": 64, "optimizer": {"name": "sgd", "lr": 0.1}},
    "losses": ["softmax"],
}
MOST = 60


def names_of(registry: Registry[Any]) -> list[str]:
    """Every registered name, and those of libraries; of timm's thousand an even part."""
    listed = [*registry, "my.own.name"]  # the last such as a plugin's
    for library in registry.libraries:
        own = sorted(library.names())
        listed += [f"{library.prefix}.{name}" for name in own[:: len(own) // MOST + 1]]
    return listed


def load(folder: Path, content: dict[str, Any], *overrides: str) -> Suite:
    path = folder / "names.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump({**BASE, **content}, file)
    return load_suite(path, overrides)


def refusal(folder: Path, content: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(RequestError) as caught:
        load(folder, content, *overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("quote", ["", '"', "'"])
@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_override_of_a_parameter_of_every_registered_name(
    registry: Registry[Any], quote: str, tmp_path: Path
) -> None:
    """In the lists of a suite by the name, elsewhere below the key that holds the name."""
    for name in names_of(registry):
        key = f"{quote}{name}{quote}"
        if registry.kind == "loss":
            other = "lgm" if name == "softmax" else "softmax"
            suite = load(tmp_path, {"losses": [other, name]}, f"losses.{key}.margin=10")
            found = suite.losses[1]
        elif registry.kind == "evaluation":
            suite = load(tmp_path, {"evaluate": ["x", name]}, f"evaluate.{key}.margin=10")
            found = suite.evaluate[1]
        elif registry.kind == "augmentation":
            variants = {"v1.5": {"augment": [name]}}
            setting = f"variants.v1.5.augment.{key}.margin=10"
            [found] = load(tmp_path, {"variants": variants}, setting).variants["v1.5"].augment
        elif registry.kind == "model":
            found = load(tmp_path, {}, f"model={name}", "model.margin=10").model
        else:
            place = {"optimizer": "recipe.optimizer", "schedule": "recipe.schedule"}[registry.kind]
            suite = load(tmp_path, {}, f"{place}={{name: {name}}}", f"{place}.margin=10")
            found = getattr(suite.recipe, registry.kind)
        assert (found.name, found.params) == (name, {"margin": 10})


def test_names_with_dots_are_among_them() -> None:
    assert sum(name.startswith("pml.") for name in names_of(LOSSES)) > 10


@pytest.mark.parametrize(
    ("content", "override", "place"),
    [
        ({"variants": {"1.5x": {}}}, "variants.1.5x.model.width=3", ("1.5x", "width", 3)),
        ({"variants": {"1.5x": {}}}, 'variants."1.5x".model.width=3', ("1.5x", "width", 3)),
        ({"variants": {"1.5": {}, "1.5x": {}}}, "variants.1.5x.model.a=3", ("1.5x", "a", 3)),
        ({"variants": {"a.b.c": {}}}, "variants.a.b.c.model.width=3", ("a.b.c", "width", 3)),
        ({"variants": {"a": {}}}, 'variants."2.5x"={model: {width: 3}}', ("2.5x", "width", 3)),
    ],
)  # fmt: skip
def test_override_of_variants_with_dots(
    content: dict[str, Any], override: str, place: tuple[str, str, int], tmp_path: Path
) -> None:
    name, key, value = place
    assert load(tmp_path, content, override).variants[name].model == {key: value}


def test_override_of_a_grid(tmp_path: Path) -> None:
    losses = {"losses": ["softmax", {"my.loss": {"alpha": {"grid": [1]}}}]}
    suite = load(tmp_path, losses, "losses.my.loss.alpha.grid=[2, 3]")
    assert suite.losses[1].params == {"alpha": {"grid": [2, 3]}}


def test_an_ambiguous_key_is_refused_without_quotes(tmp_path: Path) -> None:
    losses = {"losses": ["my", "my.loss"]}
    message = refusal(tmp_path, losses, "losses.my.loss.scale=1")
    assert 'can mean "my".loss.scale or "my.loss".scale; put the name in quotes' in message
    first = load(tmp_path, losses, 'losses."my".loss.scale=1')
    assert [loss.params for loss in first.losses] == [{"loss": {"scale": 1}}, {}]
    second = load(tmp_path, losses, 'losses."my.loss".scale=1')
    assert [loss.params for loss in second.losses] == [{}, {"scale": 1}]
    assert load(tmp_path, losses, "losses.my.loss=1").losses[0].params == {"loss": 1}
    variants = {"variants": {"1": {}, "1.5x": {}}}
    assert '"1".5x.model.width or "1.5x".model.width' in refusal(
        tmp_path, variants, "variants.1.5x.model.width=2"
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("losses.pml.ArcFaceLos.margin=1", "did you mean 'pml.ArcFaceLoss'?"),
        ("losses.pml.arcfaceloss.alpha.grid=[1]", "did you mean 'pml.ArcFaceLoss'?"),
        ('losses."pml.ArcFaceLos".margin=1', "did you mean 'pml.ArcFaceLoss'?"),
        ('losses."pml".ArcFaceLoss.margin=1', "should be losses.NAME.PARAMETER=VALUE"),
        ("losses.pml.ArcFaceLoss=1", "should be losses.pml.ArcFaceLoss.PARAMETER=VALUE"),
        ("evaluate.error=3", "should be evaluate.error.PARAMETER=VALUE"),
        ("evaluate.eror.k=3", "should be evaluate.NAME.PARAMETER=VALUE; did you mean 'error'?"),
        ("variants.1.6x.model.width=3", "has no variant '1.6x'; did you mean '1.5x'?"),
        ('variants."1.6x".model.width=3', "has no variant '1.6x'; did you mean '1.5x'?"),
        ('losses."pml.ArcFaceLoss.margin=1', "should be KEY=VALUE"),
        ('losses."".margin=1', "should be KEY=VALUE"),
        ('losses.a"b".margin=1', "should be KEY=VALUE"),
        ('"losses=1', "should be KEY=VALUE"),
    ],
)
def test_messages_on_wrong_names(override: str, expected: str, tmp_path: Path) -> None:
    content = {
        "losses": ["softmax", "pml.ArcFaceLoss"],
        "variants": {"1.5x": {}, "a": {}},
        "evaluate": ["error"],
    }
    assert expected in refusal(tmp_path, content, override)


@pytest.mark.parametrize(
    "overrides",
    [
        ("recipe.epochs=3", "recipe.epochs=4"),
        ("recipe.epochs=3", "recipe.epochs=3"),
        ("seeds=[1]", "seeds=[1, 2]"),
        ("losses.softmax.a=3", 'losses."softmax".a=4'),
    ],
)
def test_a_repeated_key_is_refused(overrides: tuple[str, str], tmp_path: Path) -> None:
    assert "is set twice; give it once" in refusal(tmp_path, {}, *overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ("recipe.optimizer.lr=0.1", "recipe.optimizer={name: sgd, lr: 0.2}"),
        ("recipe.optimizer.lr=0.1", "recipe={epochs: 1}"),
        ("losses.softmax.a=3", "losses=[softmax]"),
        ('losses."softmax".a=3', "seeds=[4]", "losses=[softmax]"),
    ],
)
def test_an_override_that_replaces_an_earlier_one_is_refused(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    message = refusal(tmp_path, {}, *overrides)
    assert f"--set {overrides[-1]}: replaces all of" in message
    assert f"give --set {overrides[0]} after it, or only one of them" in message


def test_a_document_is_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    fetch = RoundTripScanner.fetch_stream_end

    def counted(self: RoundTripScanner) -> None:
        ends.append(self)
        fetch(self)

    monkeypatch.setattr(RoundTripScanner, "fetch_stream_end", counted)
    assert parse("recipe: {epochs: [1, 2]}", "one.yaml") == {"recipe": {"epochs": [1, 2]}}
    assert len(ends) == 1

"""Models of timm; where it is not installed only what is said then is tested."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lossbench.assembly.build import build
from lossbench.assembly.check import check
from lossbench.data.loading import load_dataset
from lossbench.errors import DataError, ParameterError, RequestError, UnknownNameError
from lossbench.gate.from_results import conditions_of
from lossbench.models import MODELS
from lossbench.models.timm_backbones import timm_entry
from lossbench.models.weights import UnusableWeightsError, download_timm_weights
from lossbench.planning.plan import Plan
from lossbench.runner.environment import environment
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError

NOWHERE = Path("/nonexistent/data")
# 0.2 M parameters, and takes images of 8x8
SMALL, SIDE = "timm.test_resnet", 8
needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="the extra `timm` is not installed"
)


def small(**params: Any) -> torch.nn.Module:
    return MODELS[SMALL].create((1, SIDE, SIDE), **params).eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(7)
    path = tmp_path / "weights.pth"
    torch.save(small().body.state_dict(), path)
    return path


def plan_of(write_suite: Callable[..., Path], *overrides: str) -> Plan:
    return check(load_suite(write_suite(), overrides), NOWHERE)


def test_missing_timm_is_named_in_the_message(
    monkeypatch: pytest.MonkeyPatch, write_suite: Callable[..., Path]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    from lossbench.models import timm_backbones

    timm_backbones.architecture_names.cache_clear()
    with pytest.raises(RequestError, match=r"pip install 'lossbench\[timm\]'"):
        MODELS[SMALL]
    with pytest.raises(SuiteError, match=r"small\.yaml|--set"):
        plan_of(write_suite, f"model={SMALL}")


@needs_timm
@pytest.mark.parametrize(
    ("name", "shape", "params", "dimensions"),
    [
        ("test_resnet", (3, 32, 24), {}, None),
        ("test_resnet", (1, 8, 8), {"feature_dim": 2, "drop_rate": 0.5}, 2),
        ("resnet18", (2, 32, 32), {"drop_path_rate": 0.1}, 512),
        ("test_vit", (3, 32, 32), {"img_size": 32, "drop_path_rate": 0.1}, 64),
        ("test_efficientnet.r160_in1k", (3, 16, 16), {}, None),
    ],
)
def test_features_have_the_declared_dimensions(
    name: str, shape: tuple[int, int, int], params: dict[str, Any], dimensions: int | None
) -> None:
    model = MODELS[f"timm.{name}"].create(shape, **params).eval()
    with torch.no_grad():
        features = model(torch.rand(2, *shape))
    assert features.shape == (2, model.feature_dim)
    assert model.feature_dim == (dimensions or model.feature_dim)
    assert model.weights_digest == ""


@needs_timm
@pytest.mark.parametrize(
    ("name", "params", "error", "message"),
    [
        ("timm.resnet81", {}, UnknownNameError, "did you mean 'timm.resnet18' or"),
        (
            "timm.vgg11",
            {"drop_path_rate": 0.1},
            ParameterError,
            "drop_path_rate: timm.vgg11 has no such",
        ),
        (
            "timm.test_resnet",
            {"img_size": 8},
            ParameterError,
            "img_size: timm.test_resnet has no such",
        ),
        ("timm.test_resnet", {"drop_rate": 1}, ParameterError, "drop_rate: should be less than 1"),
        ("timm.test_resnet", {"depth": 3}, ParameterError, "depth: unknown key"),
        ("timm.test_resnet", {"checkpoint": "a.pth"}, ParameterError, "a.pth: no such"),
        (
            "timm.test_vit",
            {},
            ValueError,
            "is built for images of 160x160: give model.img_size, or",
        ),
    ],
)
def test_unsuitable_parameters_and_images_are_refused(
    name: str, params: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        MODELS[name].create((3, 32, 32), **params)
    assert message in str(caught.value)


@needs_timm
def test_checkpoint_gives_the_weights(saved: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    images, first = torch.rand(2, 1, SIDE, SIDE), small()
    torch.manual_seed(8)
    loaded = small(checkpoint=str(saved))
    weights = torch.load(saved)
    for name, tensor in loaded.body.state_dict().items():
        assert torch.equal(tensor, weights[name])
    assert len(loaded.weights_digest) == 16
    assert first.weights_digest == ""
    # as a trial keeps them
    torch.save({"model": loaded.state_dict(), "head": {}}, tmp_path / "weights.pt")
    again = small(checkpoint=str(tmp_path / "weights.pt"))
    assert torch.equal(again(images), loaded(images))
    # a classifier is left out
    torch.save({**weights, "fc.weight": torch.ones(1), "fc.bias": torch.ones(1)}, saved)
    assert torch.equal(small(checkpoint=str(saved))(images), loaded(images))


def without_a_weight(weights: dict[str, Any]) -> dict[str, Any]:
    return dict(list(weights.items())[1:])


@needs_timm
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: {**w, "layer9.weight": torch.ones(1)},
            "contains weights that timm.test_resnet does not have, such",
        ),
        (without_a_weight, "lacks weights of timm.test_resnet, such as conv1.0.weight"),
        (
            lambda w: {k: v[..., None] for k, v in w.items()},
            "does not contain weights of timm.test_resnet",
        ),
        (lambda w: [1, 2], "contains no named weights"),
        (lambda w: {"model": Path("x")}, "is damaged, or contains more than weights"),
    ],
)
def test_unsuitable_checkpoint_is_refused(
    saved: Path, change: Callable[[Any], Any], message: str
) -> None:
    torch.save(change(torch.load(saved)), saved)
    with pytest.raises(ParameterError) as caught:
        small(checkpoint=str(saved))
    assert f"checkpoint: {saved}: " in str(caught.value)
    assert message in str(caught.value)


@needs_timm
def test_identity_depends_on_weights_but_not_on_their_path(
    saved: Path, write_suite: Callable[..., Path]
) -> None:
    def plan(*more: str) -> Plan:
        return plan_of(write_suite, f"model={SMALL}", "losses=[softmax]", *more)

    def first_trial(*more: str) -> Any:
        return plan(*more).trials[0]

    given = f"model.checkpoint={saved}"
    plain, trial = first_trial(), first_trial(given)
    in_baseline = conditions_of(plan(given))
    other = saved.rename(saved.with_name("elsewhere.pth"))
    assert first_trial(f"model.checkpoint={other}").identity == trial.identity
    assert conditions_of(plan(f"model.checkpoint={other}")) == in_baseline
    parts = build(plain, load_dataset("digits", NOWHERE), torch.device("cpu"))
    assert parts.training.model.weights_digest == ""
    torch.save({k: 2 * v for k, v in torch.load(other).items()}, saved)
    assert conditions_of(plan(given)) != in_baseline
    assert len({plain.identity, trial.identity, first_trial(given).identity}) == 3
    with pytest.raises(DataError, match="was planned with"):
        build(trial, load_dataset("digits", NOWHERE), torch.device("cpu"))


@needs_timm
def test_pretrained_weights_come_from_the_hub_or_a_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    import requests

    known = importlib.import_module("timm").get_pretrained_cfg("test_resnet")

    def absent(repository: str, file: str, *, local_files_only: bool = False) -> str:
        assert local_files_only, "asked for the network"
        raise FileNotFoundError

    def unreachable(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", absent)
    monkeypatch.setattr(requests, "head", unreachable)
    with pytest.raises(
        UnusableWeightsError, match="give the file as `checkpoint`: no connection to"
    ):
        download_timm_weights(known)
    with pytest.raises(ParameterError, match=r"pretrained: timm/test_resnet\.r160_in1k, model"):
        small(pretrained=True)
    with pytest.raises(UnusableWeightsError, match="timm has no downloadable weights"):
        download_timm_weights(None)
    with pytest.raises(ParameterError, match="checkpoint: cannot be combined with pretrained"):
        small(pretrained=True, checkpoint=str(saved))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(saved))
    assert small(pretrained=True).weights_digest == small(checkpoint=str(saved)).weights_digest


@needs_timm
def test_results_record_the_version_of_timm(write_suite: Callable[..., Path]) -> None:
    trial = plan_of(write_suite, f"model={{name: {SMALL}}}").trials[0]
    assert environment(trial)["timm"] == importlib.import_module("timm").__version__
    assert "timm" not in environment(plan_of(write_suite).trials[0])


def test_parameters_are_known_without_timm() -> None:
    assert timm_entry("NAME").parameter_names[:3] == ["feature_dim", "pretrained", "checkpoint"]

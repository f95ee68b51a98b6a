"""Models of torchvision, with torchvision's own classifiers as the reference."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossbench.assembly.check import check
from lossbench.data.torchvision import torchvision
from lossbench.errors import ParameterError, RequestError, UnknownNameError
from lossbench.models import MODELS
from lossbench.models.torchvision_backbones import architecture_names
from lossbench.models.torchvision_weights import download_weights
from lossbench.models.weights import UnusableWeightsError
from lossbench.planning.plan import Plan
from lossbench.runner.environment import environment
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError

NOWHERE = Path("/nonexistent/data")
models = torchvision.models
FAMILIES = {
    "alexnet": 64,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "googlenet": 64,
    "inception_v3": 75,
    "maxvit_t": 224,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_x_400mf": 64,
    "resnet18": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vgg11": 64,
    "vit_b_32": 224,
}
"""A small model of each family -> side of images that it takes."""
LARGE = {"alexnet", "convnext_tiny", "maxvit_t", "swin_t", "swin_v2_t", "vgg11", "vit_b_32"}
"""Models whose weights are compared without a file."""
SMALL = "torchvision.shufflenet_v2_x0_5"  # 0.3 M parameters


def side_of(name: str) -> int:
    """Side of images that a model takes: 64, or the side that it needs."""
    return next((side for key, side in FAMILIES.items() if key[:4] == name[:4]), 64)


def create(name: str, *shape: int, **params: Any) -> Any:
    return MODELS[f"torchvision.{name}"].create(shape, **params).eval()


@functools.lru_cache(maxsize=2)
def with_classifier(name: str) -> Any:
    """The network as torchvision creates it, with the weights of seed 7."""
    torch.manual_seed(7)
    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, **options).eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(with_classifier("shufflenet_v2_x0_5").state_dict(), path)
    return path


def classifier_of(network: nn.Module) -> Any:
    """The last linear layer."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]


@contextmanager
def without_numbers() -> Iterator[None]:
    """Create parameters without numbers, so that networks only compute shapes."""
    block = models.regnet.BlockParams
    original = block.from_init_params

    def on_the_cpu(*args: Any, **kwargs: Any) -> Any:
        with torch.device("cpu"):  # it computes widths with tensors
            return original(*args, **kwargs)

    block.from_init_params = on_the_cpu
    try:
        with torch.device("meta"), torch.no_grad():
            yield
    finally:
        block.from_init_params = original


def features_on_meta(name: str, side: int) -> tuple[tuple[int, ...], int]:
    with without_numbers():
        model = create(name, 3, side, side)
        return tuple(model(torch.empty(2, 3, side, side)).shape), model.feature_dim


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(architecture_names()))
def test_every_model_runs(name: str) -> None:
    """73 on 3x64x64, vit_* and maxvit_t on 3x224x224, inception_v3 on 3x75x75."""
    shape, dimensions = features_on_meta(name, side_of(name))
    assert shape == (2, dimensions)


def test_every_family_of_models_is_tried() -> None:
    if torchvision.__version__.startswith("0.28."):
        assert len(architecture_names()) == 80
        at_64 = [name for name in architecture_names() if side_of(name) == 64]
        assert len(at_64) == 73
    beginnings = {name[:4] for name in architecture_names()}
    assert beginnings - {"resn", "wide"} == {name[:4] for name in FAMILIES} - {"resn"}


def marked(names: Iterable[str]) -> list[Any]:
    """Names as parameters of a test, those of large models with the marker `slow`."""
    slow = pytest.mark.slow
    return [pytest.param(name, marks=slow if name in LARGE else ()) for name in sorted(names)]


@pytest.mark.parametrize("name", marked(FAMILIES))
def test_features_are_the_input_of_the_classifier(name: str, tmp_path: Path) -> None:
    reference, side = with_classifier(name), FAMILIES[name]
    if name in LARGE:
        torch.manual_seed(7)
        model = create(name, 3, side, side)
    else:
        torch.save(reference.state_dict(), tmp_path / "weights.pth")
        model = create(name, 3, side, side, checkpoint=str(tmp_path / "weights.pth"))
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, logits = model(images), reference(images)
        assert features.shape == (2, model.feature_dim)
        if name.startswith("squeezenet"):  # its classifier is applied before pooling
            expected = reference.features(images).relu().mean((2, 3))
            torch.testing.assert_close(features, expected)
        else:
            torch.testing.assert_close(classifier_of(reference)(features), logits)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "densenet121"])
def test_initial_weights_are_those_of_torchvision(name: str) -> None:
    torch.manual_seed(7)
    mine = create(name, 3, 64, 64).body.state_dict()
    theirs = with_classifier(name).state_dict()
    if name == "googlenet":  # auxiliary classifiers draw random numbers in between
        torch.manual_seed(7)
        theirs = models.get_model(name, aux_logits=False, init_weights=True).state_dict()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in mine.items())


def test_grey_images_and_a_feature_dimension() -> None:
    torch.manual_seed(1)
    grey = create("shufflenet_v2_x0_5", 1, 32, 40, feature_dim=5)
    torch.manual_seed(1)
    colour = create("shufflenet_v2_x0_5", 3, 32, 40, feature_dim=5)
    images = torch.randn(2, 1, 32, 40)
    with torch.no_grad():
        assert torch.equal(grey(images), colour(images.repeat(1, 3, 1, 1)))
        assert grey(images).shape == (2, 5)
    assert grey.feature_dim == 5
    assert grey.state_dict().keys() == colour.state_dict().keys()


def test_pretrained_networks_transform_their_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchvision's own constructors with `weights` do."""
    path = tmp_path / "weights.pth"
    torch.save(with_classifier("googlenet").state_dict(), path)
    monkeypatch.setattr("lossbench.models.torchvision_backbones.download_weights", lambda *_: path)
    images = torch.randn(2, 3, 64, 64)
    transformed = images * (torch.tensor([0.229, 0.224, 0.225]) / 0.5)[:, None, None]
    transformed += ((torch.tensor([0.485, 0.456, 0.406]) - 0.5) / 0.5)[:, None, None]
    with torch.no_grad():
        plain = create("googlenet", 3, 64, 64, checkpoint=str(path))
        pretrained = create("googlenet", 3, 64, 64, pretrained=True)
        torch.testing.assert_close(pretrained(images), plain(transformed))
        untransformed = create("googlenet", 3, 64, 64, pretrained=True, transform_input=False)
        torch.testing.assert_close(untransformed(images), plain(images))


def old_densenet(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names in torchvision's files of DenseNet."""
    old: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        if not key.endswith("num_batches_tracked"):
            for part in ("norm", "conv"):
                for number in "12":
                    key = key.replace(f".{part}{number}.", f".{part}.{number}.")
            old[key] = tensor
    return old


def old_vit(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names in torchvision's files of vision transformers."""
    return {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): tensor
        for key, tensor in weights.items()
    }


@pytest.mark.parametrize(
    ("name", "rename"),
    [
        ("densenet121", old_densenet),
        pytest.param("vit_b_32", old_vit, marks=pytest.mark.slow),
    ],
)
def test_files_with_old_names_are_loaded(
    name: str, rename: Callable[[dict[str, Tensor]], dict[str, Tensor]], tmp_path: Path
) -> None:
    weights = with_classifier(name).state_dict()
    renamed = rename(weights)
    assert renamed.keys() != weights.keys()
    torch.save(renamed, tmp_path / "old.pth")
    side = FAMILIES[name]
    model = create(name, 3, side, side, checkpoint=str(tmp_path / "old.pth"))
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.body.state_dict().items())


def test_checkpoint_gives_the_weights(saved: Path, tmp_path: Path) -> None:
    weights = torch.load(saved)
    loaded = create("shufflenet_v2_x0_5", 3, 32, 32, checkpoint=str(saved))
    assert len(loaded.weights_digest) == 16
    assert create("shufflenet_v2_x0_5", 3, 32, 32).weights_digest == ""
    assert all(torch.equal(t, weights[key]) for key, t in loaded.body.state_dict().items())
    # as a trial keeps them
    torch.save({"model": loaded.state_dict(), "head": {}}, tmp_path / "weights.pt")
    again = create("shufflenet_v2_x0_5", 1, 32, 32, checkpoint=str(tmp_path / "weights.pt"))
    assert all(torch.equal(t, weights[key]) for key, t in again.body.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: {**w, "layer9.weight": torch.ones(1)},
            f"contains weights that {SMALL} does not have, such as layer9.weight",
        ),
        (
            lambda w: dict(list(w.items())[1:]),
            f"lacks weights of {SMALL}, such as conv1.0.weight",
        ),
        (
            lambda w: {k: v[..., None] for k, v in w.items()},
            f"does not contain weights of {SMALL}: size mismatch",
        ),
        (lambda w: [1, 2], "contains no named weights"),
    ],
)
def test_unsuitable_checkpoint_is_refused(
    saved: Path, change: Callable[[Any], Any], message: str
) -> None:
    torch.save(change(torch.load(saved)), saved)
    with pytest.raises(ParameterError) as caught:
        create("shufflenet_v2_x0_5", 3, 32, 32, checkpoint=str(saved))
    assert f"checkpoint: {saved}: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "params", "error", "message"),
    [
        ("resnet81", (3, 32, 32), {}, UnknownNameError, "did you mean 'torchvision.resnet18'?"),
        ("resnet18", (3, 32, 32), {"drop": 1}, ParameterError, "drop: unknown key"),
        ("resnet18", (3, 32, 32), {"dropout": 0.1}, ParameterError, "dropout: unknown key"),
        ("vgg11", (3, 32, 32), {"dropout": 1}, ParameterError, "dropout: should be less than 1"),
        (
            "swin_t",
            (3, 32, 32),
            {"dropout": 0.1, "stochastic_depth_prob": 0.1},
            ParameterError,
            "stochastic_depth_prob: torchvision.swin_t has no such parameter",
        ),
        ("resnet18", (2, 32, 32), {}, ValueError, "needs images of 3 channels or 1, not 2"),
        ("vit_b_16", (3, 64, 64), {}, ValueError, "for images of 224x224: give model.image_size"),
        ("maxvit_t", (3, 64, 64), {}, ValueError, "for images of 224x224: give model.input_size"),
        ("vit_b_16", (3, 60, 60), {"image_size": 60}, ValueError, "Input shape indivisible"),
        ("resnet18", (3, 32, 32), {"checkpoint": "a.pth"}, ParameterError, "a.pth: no such file"),
        (
            "resnet18",
            (3, 32, 32),
            {"pretrained": "IMAGENET"},
            ParameterError,
            "or should be 'IMAGENET1K_V1', not 'IMAGENET'",
        ),
    ],
)
def test_unsuitable_parameters_and_images_are_refused(
    name: str,
    shape: tuple[int, int, int],
    params: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error) as caught:
        create(name, *shape, **params)
    assert message in str(caught.value)


def test_images_of_another_size_need_the_parameter() -> None:
    with without_numbers():
        model = create("vit_b_16", 3, 32, 32, image_size=32, dropout=0.1)
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, 768)


def test_pretrained_weights_are_downloaded_once(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    def unreachable(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError

    asked: list[str] = []

    def download(url: str, file: str, hash_prefix: str, progress: bool) -> None:
        asked.append(f"{url} {hash_prefix}")
        Path(file).write_bytes(saved.read_bytes())

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError('invalid hash value (expected "707e93")')

    model = functools.partial(create, "shufflenet_v2_x0_5", 3, 32, 32)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(requests, "head", unreachable)
    with pytest.raises(UnusableWeightsError, match="give the file as `checkpoint`: no connection"):
        download_weights("shufflenet_v2_x0_5", None)
    with pytest.raises(ParameterError, match=r"pretrained: https://download\.pytorch\.org/models/"):
        model(pretrained=True)
    with pytest.raises(ParameterError, match="checkpoint: cannot be combined with pretrained"):
        model(pretrained=True, checkpoint=str(saved))
    monkeypatch.setattr(requests, "head", lambda *_, **__: None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(ParameterError, match=r"cannot be downloaded; .* invalid hash value"):
        model(pretrained=True)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert model(pretrained=True).weights_digest == model(checkpoint=str(saved)).weights_digest
    monkeypatch.setattr(requests, "head", unreachable)
    assert model(pretrained="IMAGENET1K_V1").weights_digest == model(pretrained=True).weights_digest
    weights = models.ShuffleNet_V2_X0_5_Weights.DEFAULT
    assert asked == [f"{weights.url} {weights.url.rpartition('-')[2].removesuffix('.pth')}"]


def test_suites_name_the_model_and_results_record_its_version(
    write_suite: Callable[..., Path],
) -> None:
    def plan(*overrides: str) -> Plan:
        return check(load_suite(write_suite(), overrides), NOWHERE)

    trial = plan(f"model={{name: {SMALL}, feature_dim: 2}}").trials[0]
    assert environment(trial)["torchvision"] == importlib.metadata.version("torchvision")
    with pytest.raises(SuiteError, match=r"model: does not accept the 1x8x8 images of digits"):
        plan("model=torchvision.alexnet")
    with pytest.raises(SuiteError, match=r"model: does not accept .* built for images"):
        plan("model=torchvision.vit_b_32")
    with pytest.raises(SuiteError, match=r"pretraind: unknown key; did you mean 'pretrained'"):
        plan(f"model={{name: {SMALL}, pretraind: true}}")
    with pytest.raises(SuiteError, match=r"did you mean 'torchvision\.resnet50'"):
        plan("model=torchvision.resnet500")


def test_every_entry_is_documented() -> None:
    for name in architecture_names():
        entry = MODELS[f"torchvision.{name}"]
        documented = entry.factory.__doc__ or ""
        assert all(f"\n        {key}: " in documented for key in entry.parameter_names), name
    with pytest.raises(RequestError):
        MODELS["torchvision.fasterrcnn_resnet50_fpn"]

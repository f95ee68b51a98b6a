from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.errors import ParameterError
from lossbench.models import MODELS, resnet_cifar


@pytest.mark.parametrize("name", ["digits_cnn", "mnist_cnn"])
@pytest.mark.parametrize("feature_dim", [2, 7])
def test_models_map_images_to_features(name: str, feature_dim: int) -> None:
    model = MODELS[name].create((3, 32, 32), feature_dim=feature_dim)
    images = torch.rand(4, 3, 32, 32)
    assert model(images).shape == (4, feature_dim)
    assert bool(
        (MODELS[name].create((3, 32, 32), feature_dim=9, feature_relu=True)(images) >= 0).all()
    )


def test_mnist_cnn_has_the_released_sizes() -> None:
    model = MODELS["mnist_cnn"].create((1, 28, 28), feature_dim=100)
    weights = [(*p.shape,) for p in model.parameters() if p.ndim > 1]
    assert weights == [
        (32, 1, 5, 5),
        (32, 32, 3, 3),
        (64, 32, 3, 3),
        (64, 64, 3, 3),
        (128, 64, 3, 3),
        (128, 128, 3, 3),
        (100, 1152),
    ]
    count = sum(p.numel() for p in model.parameters())
    # convolutions with biases, one PReLU slope a channel, the linear layer
    assert count == 832 + 9248 + 18496 + 36928 + 73856 + 147584 + 224 + 115300


@pytest.mark.parametrize(("name", "side"), [("mnist_cnn", 11), ("digits_cnn", 3), ("cnn8", 7)])
def test_too_small_images_are_refused(name: str, side: int) -> None:
    with pytest.raises(ValueError, match="needs images of at least"):
        MODELS[name].create((1, side, side), feature_dim=2)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def convolutions(model: nn.Module) -> int:
    return sum(isinstance(module, nn.Conv2d) for module in model.modules())


@pytest.mark.parametrize(
    ("name", "params", "shape", "dimensions"),
    [
        ("resnet_cifar", {}, (3, 32, 32), 64),
        ("resnet_cifar", {"depth": 8, "width": 4}, (1, 20, 24), 16),
        ("vgg13", {"width": 6}, (3, 32, 32), 24),
        ("cnn8", {"feature_dim": 5}, (1, 17, 25), 5),
        ("resnet18", {}, (3, 64, 48), 512),
        ("face_resnet", {"width": 2}, (3, 112, 96), 512),
        ("face_resnet", {"width": 2, "feature_dim": 9}, (3, 88, 88), 9),
    ],
)
def test_features_have_the_declared_dimensions(
    name: str, params: dict[str, int], shape: tuple[int, int, int], dimensions: int
) -> None:
    model = MODELS[name].create(shape, **params).eval()
    with torch.no_grad():
        features = model(torch.rand(2, *shape))
    assert features.shape == (2, dimensions)
    assert model.feature_dim == dimensions
    assert bool(torch.isfinite(features).all())
    assert float(features.std()) > 1e-3


@pytest.mark.parametrize(
    ("depth", "millions", "exact"), [(20, 0.27, 269722), (56, 0.85, 853018), (110, 1.7, 1727962)]
)
def test_resnet_cifar_has_the_papers_parameters(depth: int, millions: float, exact: int) -> None:
    """He et al., Table 6, gives millions."""
    model = MODELS["resnet_cifar"].create((3, 32, 32), depth=depth)
    classifier = 64 * 10 + 10
    assert parameters(model) + classifier == exact
    assert exact == pytest.approx(1e6 * millions, rel=0.02)
    n = (depth - 2) // 6
    weights = 9 * (3 * 16 + 2 * n * 16**2 + 16 * 32 + (2 * n - 1) * 32**2)
    weights += 9 * (32 * 64 + (2 * n - 1) * 64**2)
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    assert weights + norms + classifier == exact
    assert convolutions(model) + 1 == depth


def test_depth_other_than_6n_plus_2_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"depth: should be 6n \+ 2, such as 20 or 26"):
        MODELS["resnet_cifar"].create((3, 32, 32), depth=21)


def test_shortcut_skips_pixels_and_adds_empty_channels() -> None:
    block = resnet_cifar.Block(2, 4, stride=2).eval()
    with torch.no_grad():
        block.norm2.weight.zero_()  # nothing but the shortcut
        images = torch.rand(3, 2, 6, 6)
        out = block(images)
    for row in range(3):
        for column in range(3):
            assert torch.equal(out[:, :2, row, column], images[:, :, 2 * row, 2 * column])
    assert not out[:, 2:].any()


def test_vgg13_has_thirteen_convolutions_and_no_bias() -> None:
    model = MODELS["vgg13"].create((3, 32, 32))
    assert model.feature_dim == 384
    assert convolutions(model) == 13
    w = 96
    weights = 3 * w + 4 * w * w + w * 2 * w + 3 * (2 * w) ** 2 + 2 * w * 4 * w + 3 * (4 * w) ** 2
    assert parameters(model) == 9 * weights + 2 * (5 * w + 4 * 2 * w + 4 * 4 * w)
    sizes = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: sizes.append(out.shape[2]))
    model(torch.rand(1, 3, 32, 32))
    assert sizes == [32] * 5 + [16] * 4 + [8] * 4


def test_cnn8_has_the_released_layers() -> None:
    network = MODELS["cnn8"].create((3, 32, 32)).body
    pair = ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]
    last = ["Flatten", "Linear", "BatchNorm1d", "ReLU"]
    assert [type(layer).__name__ for layer in network] == [*pair * 3, *last]
    weights = [(*p.shape,) for p in network.parameters() if p.ndim > 1]
    assert weights == [
        (64, 3, 3, 3),
        (64, 64, 3, 3),
        (128, 64, 3, 3),
        (128, 128, 3, 3),
        (196, 128, 3, 3),
        (196, 196, 3, 3),
        (256, 3136),
    ]
    layers = 1792 + 36928 + 73856 + 147584 + 225988 + 345940 + 803072  # with biases
    assert parameters(network) == layers + 2 * (2 * (64 + 128 + 196) + 256)


def test_cnn8_has_the_released_initialisation() -> None:
    """Uniform distributions: the largest of many values is near the bound, and none is above."""
    torch.manual_seed(0)
    for layer in MODELS["cnn8"].create((3, 32, 32)).body:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in, fan_out = layer.weight[0].numel(), len(layer.weight)
            convolution = isinstance(layer, nn.Conv2d)
            bound = (6 / (fan_in if convolution else fan_in + fan_out)) ** 0.5
            assert 0.99 * bound < float(layer.weight.detach().abs().max()) <= bound * (1 + 1e-6)
            assert layer.bias is not None
            assert 0.9 * fan_in**-0.5 < float(layer.bias.detach().abs().max()) <= fan_in**-0.5


def test_resnet101_is_torchvisions() -> None:
    with torch.device("meta"):
        model = MODELS["resnet101"].create((3, 224, 224))
    assert parameters(model) + 2048 * 1000 + 1000 == 44_549_160  # as torchvision documents
    assert convolutions(model) + 1 - 4 == 101  # four more convolutions are shortcuts
    with pytest.raises(ValueError, match="3 channels"):
        MODELS["resnet101"].create((1, 64, 64))


def test_face_resnet_has_27_convolutions_with_prelu_and_no_normalisation() -> None:
    model = MODELS["face_resnet"].create((3, 120, 120), width=4)
    assert convolutions(model) == 27
    assert sum(isinstance(module, nn.PReLU) for module in model.modules()) == 27
    kinds = {type(module).__name__ for module in model.modules()}
    assert not {kind for kind in kinds if "Norm" in kind or "Dropout" in kind}
    pairs = [(3, 4), (4, 8), *[(8, 8)] * 2, (8, 16), *[(16, 16)] * 4, (16, 32), *[(32, 32)] * 10]
    pairs += [(32, 64), *[(64, 64)] * 6]
    expected = sum(9 * before * after + 2 * after for before, after in pairs)
    assert parameters(model) == expected + 64 * 7 * 7 * 512 + 512


def test_digits_cnn_has_the_layers_of_its_description() -> None:
    network = MODELS["digits_cnn"].create((1, 8, 8), feature_dim=2).body
    pair = ["Conv2d", "PReLU", "Conv2d", "MaxPool2d", "PReLU"]
    assert [type(layer).__name__ for layer in network] == [*pair, *pair, "Flatten", "Linear"]


class PlainBlock(resnet_cifar.Block):
    """The block with operations that change nothing in place, and a padded copy as shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x[:, :, :: self.stride, :: self.stride]
        shortcut = F.pad(pixels, (0, 0, 0, 0, 0, self.new_channels))
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)) + shortcut)


@pytest.mark.parametrize(("after", "stride"), [(4, 1), (8, 1), (8, 2)])
def test_a_residual_block_has_the_bits_of_the_plain_formula(after: int, stride: int) -> None:
    results = []
    for kind in (resnet_cifar.Block, PlainBlock):
        torch.manual_seed(0)
        block = kind(4, after, stride).to(memory_format=torch.channels_last)
        x = torch.randn(3, 4, 6, 6, requires_grad=True)
        before = x.detach().clone()
        out = block(x.relu())
        gradients = torch.autograd.grad(out.square().sum(), [x, *block.parameters()])
        results.append([out, *gradients, *block.buffers()])
        assert torch.equal(x, before)
    for ours, plain in zip(*results, strict=True):
        assert torch.equal(ours, plain)


def test_only_blocks_that_halve_the_maps_copy_their_input() -> None:
    model = MODELS["resnet_cifar"].create((3, 32, 32), depth=20)
    with torch.profiler.profile() as profile:
        model(torch.rand(2, 3, 32, 32))
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["aten::pad"] == 2
    assert calls.get("aten::clone", 0) == 0

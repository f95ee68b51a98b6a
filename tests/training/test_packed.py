"""A pack's members end where each would have ended alone, up to rounding."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossbench.data.images import ArrayImages
from lossbench.losses import LOSSES, create_loss
from lossbench.models import MODELS
from lossbench.models.base import Backbone
from lossbench.suite import Component
from lossbench.training.checkpoints import restore, snapshot
from lossbench.training.loop import Training, train
from lossbench.training.optimizers import build_optimizer
from lossbench.training.packed import Pack, UnpackableError, train_packed
from lossbench.training.schedules import SCHEDULES

SEEDS = (0, 1, 2)
OPTIMIZERS: dict[str, Component] = {
    "sgd": Component(name="sgd", params={"lr": 0.02}),
    "nesterov": Component(
        name="sgd", params={"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}
    ),
    "adamw": Component(name="adamw", params={"lr": 0.002}),
}
SMALL: dict[str, dict[str, Any]] = {"digits_cnn": {}, "resnet_cifar": {"depth": 8, "width": 2}}
History = list[list[dict[str, float]]]


def make(
    seed: int,
    model: str = "digits_cnn",
    loss: str = "softmax",
    optimizer: str = "nesterov",
    dtype: torch.dtype = torch.float64,
    epochs: int = 2,
    **params: Any,
) -> Training:
    torch.manual_seed(seed)
    network = MODELS[model].create((1, 8, 8), **SMALL[model]).to(dtype)
    head = create_loss(loss, num_classes=3, feature_dim=network.feature_dim, **params).to(dtype)
    return Training(
        model=network,
        head=head,
        optimizer=build_optimizer(OPTIMIZERS[optimizer], network, head),
        schedule=SCHEDULES["cosine"].create(2),
        augmentations=[darkened],
        normalise=lambda images: (images.to(dtype) - 100) / 100,  # type: ignore[arg-type]
        epochs=epochs,
        batch_size=6,
        seed=seed,
    )


def darkened(images: Tensor, generator: torch.Generator) -> Tensor:
    """An augmentation: what it draws has to be the member's own."""
    return images - images // torch.randint(2, 9, (len(images), 1, 1, 1), generator=generator)


@pytest.fixture(scope="module")
def data() -> ArrayImages:
    some = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, 8, 8, 1), dtype=torch.uint8, generator=some)
    return ArrayImages(pixels, torch.arange(12) % 3)


def trained_alone(members: list[Training], data: ArrayImages) -> History:
    history: History = []
    for member in members:
        history.append([])
        train(member, data, lambda epoch, metrics, own=history[-1]: own.append(metrics))  # type: ignore[misc]
    return history


def trained_packed(members: list[Training], data: ArrayImages) -> tuple[list[bool], History]:
    history: History = [[] for _ in members]

    def on_epoch(epoch: int, metrics: Any) -> None:
        for own, one in zip(history, metrics, strict=True):
            if one is not None:
                own.append(one)

    pack = Pack(members, data)
    finite = train_packed(pack, on_epoch)
    pack.release()
    return finite, history


def state_of(training: Training) -> dict[str, Tensor]:
    return {**training.model.state_dict(), **training.head.state_dict(prefix="head.")}


def assert_alike(
    alone: tuple[list[Training], History], packed: tuple[list[Training], History], tolerance: float
) -> None:
    for one, other in zip(alone[0], packed[0], strict=True):
        torch.testing.assert_close(state_of(one), state_of(other), rtol=tolerance, atol=tolerance)
        moments = [t.optimizer.state_dict()["state"] for t in (one, other)]
        torch.testing.assert_close(*moments, rtol=tolerance, atol=tolerance)
    for one_history, other_history in zip(alone[1], packed[1], strict=True):
        for a, b in zip(one_history, other_history, strict=True):
            del a["train_time_sec"], b["train_time_sec"]
            assert a == pytest.approx(b, rel=tolerance, abs=tolerance)


FEW = ("softmax", "center")  # batched, and one after the other


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", SMALL)
def test_every_loss_ends_where_it_does_alone(model: str, optimizer: str, data: ArrayImages) -> None:
    own = [loss for loss in LOSSES if not LOSSES[loss].foreign]
    for loss in own if (model, optimizer) == ("digits_cnn", "nesterov") else FEW:
        alone, packed = ([make(s, model, loss, optimizer) for s in SEEDS] for _ in range(2))
        expected = trained_alone(alone, data)
        finite, history = trained_packed(packed, data)
        assert finite == [True] * 3
        assert_alike((alone, expected), (packed, history), 1e-9)


@pytest.mark.parametrize("loss", ["softmax", "lgm", "center", "triplet"])
def test_in_float32_a_few_steps_differ_by_rounding(loss: str, data: ArrayImages) -> None:
    def few() -> list[Training]:
        return [make(s, "resnet_cifar", loss, dtype=torch.float32, epochs=1) for s in SEEDS]

    alone, packed = few(), few()
    expected = trained_alone(alone, data)
    _, history = trained_packed(packed, data)
    assert_alike((alone, expected), (packed, history), 1e-4)


@pytest.mark.parametrize("loss", ["lgm", "center"])  # batched, and one after the other
def test_a_member_that_diverges_touches_no_other(loss: str, data: ArrayImages) -> None:
    def one_is_broken() -> list[Training]:
        members = [make(s, "resnet_cifar", loss, epochs=3) for s in SEEDS]
        with torch.no_grad():
            next(members[1].model.parameters()).fill_(math.inf)
        return members

    alone, packed = one_is_broken(), one_is_broken()
    expected = trained_alone(alone, data)
    finite, history = trained_packed(packed, data)
    assert finite == [True, False, True]
    assert [len(own) for own in history] == [3, 1, 3] == [len(own) for own in expected]
    assert not math.isfinite(history[1][0]["train_loss"])
    healthy = [0, 2]
    assert_alike(
        ([alone[i] for i in healthy], [expected[i] for i in healthy]),
        ([packed[i] for i in healthy], [history[i] for i in healthy]),
        1e-9,
    )


@pytest.mark.parametrize("loss", ["lgm", "center"])
@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
def test_members_go_on_packed_or_alone(loss: str, optimizer: str, data: ArrayImages) -> None:
    """A member's snapshot is an ordinary one: a pack may go on alone, and the reverse."""

    def begun(epochs: int = 3) -> list[Training]:
        return [make(s, "resnet_cifar", loss, optimizer, epochs=epochs) for s in SEEDS]

    alone = begun()
    trained_alone(alone, data)
    first = begun(epochs=1)
    trained_packed(first, data)
    states = [copy.deepcopy(snapshot(member)) for member in first]
    packed, single = begun(), begun()
    for members in (packed, single):
        for member, state in zip(members, states, strict=True):
            restore(member, copy.deepcopy(state))
    trained_packed(packed, data)
    trained_alone(single, data)
    for expected, one, other in zip(alone, packed, single, strict=True):
        torch.testing.assert_close(state_of(expected), state_of(one), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(state_of(expected), state_of(other), rtol=1e-9, atol=1e-9)


def test_members_are_seen_as_they_are_while_packed_and_own_their_tensors_after(
    data: ArrayImages,
) -> None:
    alone, packed = make(1, "resnet_cifar"), [make(s, "resnet_cifar") for s in SEEDS]
    train(alone, data, lambda epoch, metrics: None)
    pack = Pack(packed, data)
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    seen: list[Tensor] = []
    train_packed(pack, lambda epoch, metrics: seen.append(packed[1].model(images).detach()))
    torch.testing.assert_close(seen[-1], alone.model(images), rtol=1e-9, atol=1e-9)
    pack.release()
    for member in packed:
        for tensor in (*member.model.parameters(), *member.model.buffers()):
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


class Branching(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)[:, :2]
        return flat if flat.sum() > 0 else -flat


def of_body(body: nn.Module, seed: int) -> Training:
    training = make(seed)
    training.model = Backbone(nn.Sequential(nn.Flatten(), nn.Linear(64, 2), body), 2).double()
    return training


@pytest.mark.parametrize(
    ("body", "reason"),
    [(nn.Dropout(0.5), "random"), (Branching(), "data-dependent control flow")],
)
def test_a_model_that_cannot_be_packed_is_refused(
    body: nn.Module, reason: str, data: ArrayImages
) -> None:
    members = [of_body(body, seed) for seed in SEEDS]
    before = [copy.deepcopy(state_of(member)) for member in members]
    with pytest.raises(UnpackableError, match=reason):
        Pack(members, data)
    for member, state in zip(members, before, strict=True):  # and is left as it was
        torch.testing.assert_close(state_of(member), state, rtol=0, atol=0)


def test_trainings_that_are_no_pack_are_refused(data: ArrayImages) -> None:
    members = [make(seed) for seed in SEEDS]
    members[1].epochs_done = 1
    with pytest.raises(UnpackableError, match="same epoch"):
        Pack(members, data)
    members = [make(seed) for seed in SEEDS]
    members[0].compiled = True
    with pytest.raises(UnpackableError, match="compiled"):
        Pack(members, data)

"""Training with several processes equals training with one."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from lossbench.data.images import ArrayImages, View, normaliser
from lossbench.data.sampling import split_into_batches, steps_per_epoch
from lossbench.losses import TrainingFacts, create_loss
from lossbench.suite.schema import Component
from lossbench.suite.weight_averaging import WeightAveraging
from lossbench.training.loop import Training, train
from lossbench.training.optimizers import build_optimizer
from lossbench.training.process_group import ProcessGroup
from lossbench.training.schedules import SCHEDULES
from lossbench.training.weight_averaging import WeightAverage

pytestmark = pytest.mark.long

CPU = torch.device("cpu")
LOSSES = ("softmax", "center", "contrastive", "triplet", "lgm", "l_softmax", "elr")
CLIP_NORMS = (None, 0.2)


def trained(loss: str, clip_norm: float | None, group: ProcessGroup) -> dict[str, Tensor]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    labels = torch.arange(52) % 3  # the last batch has four images: two per process
    images = torch.randint(0, 100, (52, 2, 2, 1), dtype=torch.uint8)
    images += (60 * labels).to(torch.uint8)[:, None, None, None]
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    head = create_loss(loss, num_classes=3, feature_dim=3)
    head.prepare(TrainingFacts(torch.bincount(labels), epochs=3))
    sgd = {"lr": 0.05, "momentum": 0.9}
    training = Training(
        model=model,
        head=head,
        optimizer=build_optimizer(Component(name="sgd", params=sgd), model, head),
        schedule=SCHEDULES["constant"].create(3),
        augmentations=[],
        normalise=normaliser(0.0, 255.0, CPU),
        epochs=3,
        batch_size=12,
        seed=0,
        clip_norm=clip_norm,
        averaging=WeightAverage(WeightAveraging(name="ema", decay=0.8), model, head, 3),
        group=group,
    )
    losses: list[float] = []
    data = ArrayImages(images, labels, View())
    assert not train(training, data, lambda _, m: losses.append(m["train_loss"]))
    averaged, averaged_head = training.measured_network(data)
    assert averaged is not model
    parts = {"": model, "head.": head, "average.": averaged, "average.head.": averaged_head}
    state = {
        f"{prefix}{name}": value
        for prefix, part in parts.items()
        for name, value in part.state_dict().items()
    }
    return {**state, "losses": torch.tensor(losses)}


States = dict[tuple[str, float | None], dict[str, Tensor]]
"""Trained parameters and losses, by the loss and the norm that gradients are clipped to."""


def member(rank: int, size: int, folder: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size
    )
    group = ProcessGroup(rank, size)
    states = {case: trained(*case, group) for case in itertools.product(LOSSES, CLIP_NORMS)}
    torch.save(states, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[States]:
    folder = tmp_path_factory.mktemp("group")
    mp.spawn(member, (2, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("clip_norm", CLIP_NORMS)
@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_train_like_one(
    loss: str, clip_norm: float | None, states: list[States]
) -> None:
    case = loss, clip_norm
    alone = trained(*case, ProcessGroup())
    assert abs(alone["losses"][-1] - alone["losses"][0]) > 1e-3
    for rank in range(2):
        assert set(states[rank][case]) == set(alone)
        for name, value in alone.items():
            torch.testing.assert_close(states[rank][case][name], value, rtol=2e-4, atol=1e-5)


def test_shares_are_equal_and_disjoint() -> None:
    batch = torch.arange(11)
    shares = [ProcessGroup(rank, 3).share(batch).tolist() for rank in range(3)]
    assert shares == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert [ProcessGroup(rank, 3).is_main_process for rank in range(3)] == [True, False, False]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_no_share_is_empty_and_each_image_is_used_once(size: int) -> None:
    group = ProcessGroup(0, size)
    for count in range(16 * size, 33 * size):
        whole = list(split_into_batches(torch.arange(count), 8 * size, group.min_batch))
        assert torch.equal(torch.cat(whole), torch.arange(count))
        assert len(whole) == steps_per_epoch(count, 8 * size, group.min_batch)
        shares = [
            [ProcessGroup(rank, size).share(batch) for rank in range(size)] for batch in whole
        ]
        assert min(len(share) for of_batch in shares for share in of_batch) >= 2
        used = sum(len(share) for of_batch in shares for share in of_batch)
        assert used == sum(group.used(batch) for batch in whole) > count - size * len(whole)


def test_a_group_of_one_process_changes_nothing() -> None:
    features, labels = torch.randn(4, 2), torch.arange(4)
    assert ProcessGroup().gather(features, labels) == (features, labels)
    model = nn.Linear(2, 2)
    assert ProcessGroup().wrap(model) is model

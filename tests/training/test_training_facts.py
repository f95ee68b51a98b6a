"""Losses that depend on the training set, on the number of epochs, or on which image is which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lossbench.assembly.build import build
from lossbench.assembly.check import check
from lossbench.data.images import ArrayImages, normaliser
from lossbench.data.suite_data import open_trial_data
from lossbench.losses import LOSSES, TrainingFacts
from lossbench.losses.linear import LinearHead
from lossbench.planning.fairness import audit
from lossbench.registry import registering
from lossbench.suite.load import load_suite
from lossbench.suite.schema import Component
from lossbench.training.loop import Training, train
from lossbench.training.optimizers import build_optimizer
from lossbench.training.schedules import SCHEDULES

NOWHERE = Path("/nonexistent/data")


class CuriousHead(LinearHead):
    """Keeps all facts that it receives."""

    needs = frozenset({"class_counts", "epochs", "sample_indices"})

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__(num_classes, feature_dim)
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def prepare(self, facts: TrainingFacts) -> None:
        self.facts = facts
        self.register_buffer("times_seen", torch.zeros(facts.num_samples))

    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        assert self.sample_indices is not None
        self.calls.append((self.sample_indices, labels, self.linear.weight.detach().clone()))
        return {"loss_of_scores": nn.functional.cross_entropy(self.linear(features), labels)}

    def before_step(self, features: Tensor, labels: Tensor) -> None:
        assert torch.equal(self.linear.weight, self.calls[-1][2])  # the optimizer has not moved it
        self.times_seen[self.sample_indices] += 1


def test_indices_belong_to_the_labels_of_each_batch() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2])
    model, head = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), CuriousHead(4, 2)
    head.prepare(TrainingFacts(torch.bincount(labels), epochs=3))
    training = Training(
        model=model,
        head=head,
        optimizer=build_optimizer(Component(name="sgd", params={"lr": 0.1}), model, head),
        schedule=SCHEDULES["constant"].create(3),
        augmentations=[],
        normalise=normaliser(0.0, 255.0, torch.device("cpu")),
        epochs=3,
        batch_size=4,
        seed=0,
    )
    images = torch.randint(0, 256, (11, 2, 2, 1), dtype=torch.uint8)
    assert not train(training, ArrayImages(images, labels), lambda epoch, metrics: None)
    assert len(head.calls) == 9
    for indices, batch_labels, _ in head.calls:
        assert torch.equal(labels[indices], batch_labels)
    assert head.times_seen.tolist() == [3.0] * 11
    assert head.sample_indices is None  # in eval mode


def test_facts_are_those_of_the_noisy_training_set_without_the_held_out_part(
    write_suite: Callable[..., Path],
) -> None:
    overrides = [
        "recipe.epochs=7",
        "dataset.train_size=300",
        "dataset.label_noise={symmetric: 0.5}",
        "selection={holdout: 0.2}",
        "losses=[curious]",
    ]
    file_digest = "0" * 16
    with registering(file_digest, lambda factory: "1" * 16):
        LOSSES.register("curious")(CuriousHead)
    try:
        plan = check(load_suite(write_suite(), overrides), NOWHERE)
        trial = plan.trials[0]
        dataset = open_trial_data(trial, NOWHERE)
        parts = build(trial, dataset, torch.device("cpu"))
    finally:
        LOSSES.unregister(file_digest)
    head = parts.training.head
    assert isinstance(head, CuriousHead)
    assert trial.holdout == 0.2
    assert head.facts.epochs == 7
    assert head.facts.num_samples == len(parts.train) == 240
    expected = [int((parts.train.labels == k).sum()) for k in range(10)]
    assert head.facts.class_counts.tolist() == expected
    found = " ".join(line.text for line in audit(plan, plan.trials, {}))
    assert "uses the number of training images of each class" in found
    assert "uses the number of epochs" in found
    assert "uses the indices of the training images" in found


def test_num_samples_is_the_sum_of_the_classes() -> None:
    assert TrainingFacts(torch.tensor([3, 4]), epochs=1).num_samples == 7


def test_a_need_that_does_not_exist_is_found_by_the_contract_tests() -> None:
    from lossbench.conformance import CHECKS, Subject, run_checks

    class Wrong(CuriousHead):
        needs = frozenset({"class_count"})  # type: ignore[arg-type]

    [found] = run_checks(Subject(Wrong), {"declarations": CHECKS["declarations"]})
    assert found.status == "failed"
    assert "class_counts" in found.reason


@pytest.mark.parametrize("kind", ["before_step", "after_step"])
def test_buffers_that_a_head_updates_itself_are_listed(kind: str) -> None:
    from lossbench.training.head_inspection import head_requirements

    def move(self: LinearHead, features: Tensor, labels: Tensor) -> None:
        self.moving.add_(1.0)

    head_class = type("Moving", (LinearHead,), {kind: move, "terms": CuriousHead.terms})
    head = head_class(2, 2)
    head.register_buffer("moving", torch.zeros(1))
    assert head_requirements(head).self_updated == ("moving",)

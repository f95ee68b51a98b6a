from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from lossbench.data.images import ArrayImages, normaliser
from lossbench.data.sampling import steps_per_epoch
from lossbench.errors import ParameterError
from lossbench.losses import LossHead, ParameterGroup, create_loss
from lossbench.suite.schema import Component
from lossbench.training.loop import Training, misclassified, train
from lossbench.training.optimizers import OPTIMIZERS, build_optimizer
from lossbench.training.schedules import SCHEDULES
from lossbench.training.seeding import stream

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("constant", {}, {0: 1, 5: 1}),
        ("multistep", {"milestones": [2, 4]}, {0: 1, 1.99: 1, 2: 0.1, 3.9: 0.1, 4: 0.01}),
        ("step", {"every": 2.5, "gamma": 0.5}, {0: 1, 2.4: 1, 2.5: 0.5, 5: 0.25}),
        ("cosine", {}, {0: 1, 5: 0.5, 10: 0}),
    ],
)
def test_schedules(name: str, params: dict[str, object], expected: dict[float, float]) -> None:
    schedule = SCHEDULES[name].create(10, **params)
    for epoch, factor in expected.items():
        assert schedule(epoch) == pytest.approx(factor, abs=1e-12)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ParameterError, match="nesterov: needs a momentum"):
        OPTIMIZERS["sgd"].create(lr=0.1, nesterov=True)


def test_an_optimizer_uses_the_parameter_groups_of_the_head() -> None:
    head = create_loss(
        "lgm", num_classes=3, feature_dim=2, covariance="diagonal", mean_lr_scale=2.0
    )
    model = nn.Linear(4, 2)
    chosen = Component(name="sgd", params={"lr": 0.1, "weight_decay": 0.01})
    optimizer = build_optimizer(chosen, model, head)
    by_parameter = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    named = dict(head.named_parameters())
    assert len(by_parameter) == 2 + len(named)
    assert by_parameter[id(named["means"])]["lr_scale"] == 2.0
    assert by_parameter[id(named["means"])]["weight_decay"] == 0.01
    assert by_parameter[id(named["log_variance"])]["weight_decay"] == 0.0


def test_streams_are_independent_and_repeatable() -> None:
    def draw(seed: int, name: str) -> list[float]:
        return torch.rand(3, generator=stream(seed, name)).tolist()

    assert draw(0, "order") == draw(0, "order")
    assert draw(0, "order") != draw(0, "augment")
    assert draw(0, "order") != draw(1, "order")


def make_training(
    loss: str = "softmax", lr: float = 0.1, epochs: int = 3, feature_dim: int = 2
) -> Training:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, feature_dim))
    head = create_loss(loss, num_classes=2, feature_dim=feature_dim)
    sgd = {"lr": lr, "momentum": 0.9}
    return Training(
        model=model,
        head=head,
        optimizer=build_optimizer(Component(name="sgd", params=sgd), model, head),
        schedule=SCHEDULES["multistep"].create(epochs, milestones=[2]),
        augmentations=[],
        normalise=normaliser(0.0, 255.0, CPU),
        epochs=epochs,
        batch_size=8,
        seed=0,
    )


def test_a_compiled_step_trains_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses a backend that does not compile, but traces and differentiates as the others do."""
    torch.compiler.reset()
    plain = torch.compile
    asked: list[dict[str, Any]] = []

    def compile_(function: Any, **options: Any) -> Any:
        asked.append(options)
        return plain(function, backend="aot_eager", fullgraph=True, **options)

    monkeypatch.setattr(torch, "compile", compile_)
    states = []
    for compiled in (False, True):
        training = make_training("lgm")
        training.compiled = compiled
        assert not train(training, make_data(), lambda epoch, metrics: None)
        states.append({**training.model.state_dict(), **training.head.state_dict()})
    assert len(asked) == 1
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor)


def test_each_training_of_a_process_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, graphs = torch.compile, []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda f, **options: plain(f, backend=backend, **options))
    images, labels = torch.zeros(7, 2, 2, 1, dtype=torch.uint8), torch.arange(7) % 2
    counts = []
    for _ in range(6):  # two sizes of batches each, and torch compiles a function eight times
        training = make_training(epochs=1)
        training.compiled, training.batch_size = True, 4
        train(training, ArrayImages(images, labels), lambda epoch, metrics: None)
        counts.append(len(graphs))
        graphs.clear()
    assert counts == [2] * 6


def make_data() -> ArrayImages:
    labels = torch.arange(30) % 2
    images = torch.randint(0, 100, (30, 2, 2, 1), dtype=torch.uint8)
    images[labels == 1] += 120
    return ArrayImages(images, labels)


def test_the_loop_equals_plain_sgd_on_the_same_batches() -> None:
    """Reference: a loop without code of the package, except for the order of the images."""
    from lossbench.data.sampling import epoch_order

    training, data = make_training(), make_data()
    reference = make_training()
    history: list[dict[str, float]] = []
    assert not train(training, data, lambda epoch, metrics: history.append(metrics))

    params = [*reference.model.parameters(), *reference.head.parameters()]
    sgd = optim.SGD(params, lr=0.1, momentum=0.9)
    order_stream = stream(0, "order")
    for epoch in range(3):
        sgd.param_groups[0]["lr"] = 0.1 if epoch < 2 else 0.01
        order = epoch_order(data.labels, None, order_stream)
        total = 0.0
        for chosen in (order[:8], order[8:16], order[16:24], order[24:]):
            x = data.images[chosen].reshape(-1, 4).float() / 255
            scores = reference.head.linear(reference.model[1](x))
            loss = nn.functional.cross_entropy(scores, data.labels[chosen])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            total += loss.item() * len(chosen) / 30
        assert history[epoch]["train_loss"] == pytest.approx(total, rel=1e-5)
        assert history[epoch]["lr"] == pytest.approx(0.1 if epoch < 2 else 0.01)
    for ours, theirs in zip(training.model.parameters(), reference.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_terms_are_recorded_and_buffers_follow_their_schedule() -> None:
    training = make_training("l_softmax")
    betas: list[float] = []
    history: list[dict[str, float]] = []

    def on_epoch(_: int, metrics: dict[str, float]) -> None:
        betas.append(float(training.head.get_buffer("beta")))
        history.append(metrics)

    train(training, make_data(), on_epoch)
    assert betas[0] > betas[1] > betas[2]
    for metrics in history:
        terms = [
            v
            for k, v in metrics.items()
            if k not in ("train_loss", "train_error", "lr", "train_time_sec")
        ]
        assert sum(terms) == pytest.approx(metrics["train_loss"], rel=1e-5)


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    training = make_training(lr=1e30, epochs=5)
    epochs: list[int] = []
    assert train(training, make_data(), lambda epoch, _: epochs.append(epoch))
    assert len(epochs) < 5


def test_a_loss_that_is_not_finite_is_located() -> None:
    """The reason has the epoch, the step and the term, and the classes of a small batch."""
    training = make_training(epochs=5)
    plain, calls = training.head.terms, 0
    data = make_data()
    steps = steps_per_epoch(len(data.labels), training.batch_size)

    def terms(features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        more = math.nan if calls == steps + 2 else 0.0
        return {**plain(features, labels), "pull": more * features.sum()}

    training.head.terms = terms  # type: ignore[method-assign]
    reason = train(training, data, lambda *_: None)
    start = f"the loss was not finite in epoch 2, step 2 of {steps}: pull nan; "
    assert reason.startswith(start + "the batch had 8 images, of class ")
    assert training.epochs_done == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_prediction_from_nan_scores_is_wrong(value: float) -> None:
    scores = torch.tensor([[1.0, 0.0, 0.0], [2.0, value, 0.0], [value, 0.0, 0.0]])
    labels = torch.tensor([0, 1, 0])
    expected = {math.nan: [0, 1, 1], math.inf: [0, 0, 0], -math.inf: [0, 1, 1]}
    wanted = expected[value]
    assert misclassified(scores, labels).tolist() == wanted
    ties = torch.randint(0, 3, (1000, 7)).float()
    some = torch.randint(0, 7, (1000,))
    assert torch.equal(misclassified(ties, some), ties.argmax(1) != some)


class Recorder(LossHead):
    """Head that records its calls by the training loop."""

    samples_per_class = 4

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.linear = nn.Linear(2, 2)
        self.register_buffer("done", torch.tensor(-1.0))
        self.seen: list[tuple[float, Tensor, Tensor]] = []
        self.updated: list[tuple[Tensor, Tensor]] = []

    def parameter_groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup((self.linear.weight,), lr_scale=3.0),
            ParameterGroup((self.linear.bias,)),
        ]

    def schedules(self) -> dict[str, Callable[[float], float]]:
        return {"done": lambda progress: progress}

    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        self.seen.append((float(self.get_buffer("done")), features, labels))
        return {"cross_entropy": nn.functional.cross_entropy(self.linear(features), labels)}

    def logits(self, features: Tensor) -> Tensor:
        return self.linear(features)

    def after_step(self, features: Tensor, labels: Tensor) -> None:
        self.updated.append((features, labels))


def test_the_loop_meets_the_declared_requirements_of_a_head() -> None:
    training, data = make_training(epochs=4), make_data()
    head = training.head = Recorder()
    training.model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2, affine=False))
    sgd = Component(name="sgd", params={"lr": 0.1})
    training.optimizer = build_optimizer(sgd, training.model, head)
    training.schedule = SCHEDULES["multistep"].create(4, milestones=[1.5])
    rates: list[list[float]] = []
    training.optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append([group["lr"] for group in optimizer.param_groups])
    )
    modes: list[bool] = []
    assert not train(training, data, lambda *_: modes.append(training.model.training))

    steps = 16  # four epochs of 30 images in batches of 8
    assert modes == [False] * 4
    assert [progress for progress, _, _ in head.seen] == pytest.approx(
        [i / steps for i in range(steps)]
    )
    expected = [0.1 if i < 6 else 0.01 for i in range(steps)]  # the milestone is inside an epoch
    assert rates == [pytest.approx([lr, 3 * lr, lr]) for lr in expected]

    assert len(head.updated) == steps
    for (_, features, labels), (detached, same_labels) in zip(head.seen, head.updated, strict=True):
        assert features.requires_grad
        assert not detached.requires_grad
        assert torch.equal(features, detached)
        assert torch.equal(labels, same_labels)
        assert abs(float(features.detach().mean())) < 1e-5  # batch norm in training mode
    first_epoch = torch.cat([labels for _, _, labels in head.seen[:4]])
    changes = int((first_epoch[1:] != first_epoch[:-1]).sum())
    assert changes <= 7  # 15 images per class in groups of four: eight groups, so seven borders


def test_centers_move_during_training() -> None:
    training = make_training("center")
    before = training.head.get_buffer("centers").clone()
    train(training, make_data(), lambda *_: None)
    assert not torch.equal(training.head.get_buffer("centers"), before)

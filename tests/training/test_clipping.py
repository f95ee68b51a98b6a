"""Clipping of gradients, against a loop in float64 that uses neither torch's norm nor its SGD."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lossbench.data.images import ArrayImages
from lossbench.data.sampling import epoch_order
from lossbench.losses import LossHead, ParameterGroup
from lossbench.losses.center import update_centers
from lossbench.suite.schema import Component
from lossbench.training.loop import train
from lossbench.training.optimizers import build_optimizer
from lossbench.training.seeding import stream
from tests.training.test_training import make_data, make_training

LR, MOMENTUM, DECAY = 0.1, 0.9, 0.01


class ScaledHead(LossHead):
    """Softmax loss whose weights have another learning rate than its biases."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        torch.manual_seed(1)
        self.linear = nn.Linear(2, 2)

    def parameter_groups(self) -> list[ParameterGroup]:
        weight, bias = self.linear.weight, self.linear.bias
        return [ParameterGroup((weight,), lr_scale=3.0), ParameterGroup((bias,), decay=False)]

    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"cross_entropy": nn.functional.cross_entropy(self.linear(features), labels)}

    def logits(self, features: Tensor) -> Tensor:
        return self.linear(features)


def reference(data: ArrayImages, clip_norm: float, epochs: int) -> tuple[list[Tensor], list[float]]:
    """Parameters after the training, in float64, and the norms of the gradients before clipping."""
    training, head = make_training(), ScaledHead()
    weight, bias = (p.detach().double() for p in training.model[1].parameters())
    head_weight, head_bias = (p.detach().double() for p in head.parameters())
    params = [p.clone().requires_grad_() for p in (weight, bias, head_weight, head_bias)]
    rates, decays = [LR, LR, 3 * LR, LR], [DECAY, DECAY, DECAY, 0.0]
    velocities = [torch.zeros_like(p) for p in params]
    order_stream, norms = stream(0, "order"), []
    for _ in range(epochs):
        order = epoch_order(data.labels, None, order_stream)
        for chosen in order.split(8):
            w, b, v, c = params
            x = data.images[chosen].reshape(-1, 4).double() / 255
            scores = (x @ w.T + b) @ v.T + c
            true = scores.gather(1, data.labels[chosen, None]).squeeze(1)
            gradients = torch.autograd.grad((scores.logsumexp(1) - true).mean(), params)
            norm = math.sqrt(math.fsum(g**2 for of in gradients for g in of.flatten().tolist()))
            norms.append(norm)
            scale = clip_norm / norm if norm > clip_norm else 1.0
            with torch.no_grad():
                for i, p in enumerate(params):
                    gradient = gradients[i] * scale + decays[i] * p
                    velocities[i] = MOMENTUM * velocities[i] + gradient
                    p -= rates[i] * velocities[i]
    return params, norms


def test_the_gradient_of_model_and_head_together_is_clipped() -> None:
    """Before momentum, weight decay and the learning rates of the parameters."""
    clip_norm, epochs = 0.3, 3
    data = make_data()
    params, norms = reference(data, clip_norm, epochs)
    assert 0 < sum(norm > clip_norm for norm in norms) < len(norms)  # some are clipped, not all

    training = make_training(epochs=epochs)
    training.head = ScaledHead()
    chosen = {"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY}
    sgd = Component(name="sgd", params=chosen)
    training.optimizer = build_optimizer(sgd, training.model, training.head)
    training.schedule = lambda epochs_done: 1.0
    training.clip_norm = clip_norm
    assert not train(training, data, lambda *_: None)
    trained = [*training.model.parameters(), *training.head.parameters()]
    for ours, theirs in zip(trained, params, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-6)


def trained(loss: str, clip_norm: float | None, **settings: object) -> dict[str, Tensor]:
    training = make_training(loss)
    torch.manual_seed(2)  # the same data each time
    training.clip_norm = clip_norm
    for name, value in settings.items():
        setattr(training, name, value)
    assert not train(training, make_data(), lambda *_: None)
    return {**training.model.state_dict(), **training.head.state_dict()}


@pytest.mark.parametrize("loss", ["center", "lgm", "triplet"])
def test_a_norm_that_is_never_reached_changes_no_bit(loss: str) -> None:
    plain, clipped = trained(loss, None), trained(loss, 1e6)
    assert all(torch.equal(plain[name], clipped[name]) for name in plain)
    assert any(not torch.equal(plain[name], value) for name, value in trained(loss, 0.1).items())


def test_with_bfloat16_the_gradients_are_clipped_in_float32() -> None:
    """Gradients of the parameters are float32, as is their norm; a step of SGD shows it."""
    training = make_training(epochs=1)
    training.autocast, training.clip_norm = torch.bfloat16, 0.01
    norms: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        assert {gradient.dtype for gradient in gradients} == {torch.float32}
        norms.append(math.sqrt(sum(float(g.double().square().sum()) for g in gradients)))

    training.optimizer.register_step_pre_hook(note)
    assert not train(training, make_data(), lambda *_: None)
    assert norms == [pytest.approx(0.01, rel=1e-3)] * 4


def test_a_compiled_step_is_clipped_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    plain = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **options: plain(function, backend="aot_eager")
    )
    expected = trained("lgm", 0.1)
    for name, value in trained("lgm", 0.1, compiled=True).items():
        torch.testing.assert_close(value, expected[name])


def test_the_centers_of_center_loss_are_not_clipped() -> None:
    """Their step is larger than the norm that gradients are clipped to."""
    training = make_training("center", epochs=1)
    training.clip_norm = 1e-6
    centers = torch.zeros(2, 2)
    after_step = training.head.after_step

    def record(features: Tensor, labels: Tensor) -> None:
        update_centers(features, labels, centers, 0.5)
        after_step(features, labels)

    training.head.after_step = record  # type: ignore[method-assign]
    assert not train(training, make_data(), lambda *_: None)
    assert torch.equal(training.head.get_buffer("centers"), centers)
    assert float(centers.norm()) > 1e-3


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_ends_the_training(value: float) -> None:
    """The loss of that step is finite: clipping must not turn its gradient into 0."""
    training = make_training(epochs=5)
    training.clip_norm = 1.0
    plain, calls = training.head.terms, 0

    def terms(features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        if calls == 2:
            features.register_hook(lambda gradient: gradient.fill_(value))
        return plain(features, labels)

    training.head.terms = terms  # type: ignore[method-assign]
    reason = train(training, make_data(), lambda *_: None)
    assert reason.startswith("the loss was not finite in epoch 1, step 3 of 4: cross_entropy nan")

"""Optimizers of torch by name, each against a plain loop with the class itself."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from lossbench.data.sampling import epoch_order
from lossbench.errors import ParameterError, RequestError
from lossbench.suite.schema import Component
from lossbench.training.checkpoints import restore, snapshot
from lossbench.training.loop import Training, train
from lossbench.training.optimizers import OPTIMIZERS, build_optimizer
from lossbench.training.schedules import SCHEDULES
from lossbench.training.seeding import stream
from lossbench.training.torch_optimizers import UNSUPPORTED, optimizer_names
from tests.training.test_clipping import ScaledHead
from tests.training.test_training import make_data, make_training

SUPPORTED = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam",
    "RMSprop", "Rprop", "SGD",
]  # fmt: skip
PARAMS: dict[str, dict[str, Any]] = {
    "ASGD": {"lr": 0.05, "lambd": 0.01, "t0": 3.0},
    "Adadelta": {"lr": 0.5, "rho": 0.8, "weight_decay": 0.01},
    "Adafactor": {"lr": 0.05, "eps": [1e-6, 1e-3], "weight_decay": 0.01},
    "Adagrad": {"lr": 0.05, "lr_decay": 0.01, "weight_decay": 0.01},
    "Adam": {"lr": 0.05, "betas": [0.8, 0.95], "amsgrad": True, "weight_decay": 0.01},
    "AdamW": {"lr": 0.05, "betas": [0.8, 0.95], "weight_decay": 0.1},
    "Adamax": {"lr": 0.05, "weight_decay": 0.01},
    "NAdam": {"lr": 0.05, "momentum_decay": 0.01, "decoupled_weight_decay": True},
    "RAdam": {"lr": 0.05, "weight_decay": 0.01},
    "RMSprop": {"lr": 0.01, "momentum": 0.9, "centered": True, "weight_decay": 0.01},
    "Rprop": {"lr": 0.01, "etas": [0.6, 1.1]},
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
}
EPOCHS = 4


def test_of_the_optimizers_of_torch_twelve_work_and_three_do_not() -> None:
    found = {
        name
        for name, each in vars(optim).items()
        if isinstance(each, type) and issubclass(each, optim.Optimizer)
    } - {"Optimizer"}
    assert optimizer_names() == SUPPORTED == sorted(found - UNSUPPORTED.keys())
    assert UNSUPPORTED.keys() == found - set(SUPPORTED) == {"LBFGS", "Muon", "SparseAdam"}
    assert (len(SUPPORTED), len(found)) == (12, 15)
    assert PARAMS.keys() == set(SUPPORTED)


def make(name: str, params: dict[str, Any]) -> Training:
    """A training whose head has a group with another learning rate and one without decay."""
    training = make_training(epochs=EPOCHS)
    training.head = ScaledHead()
    chosen = Component(name=f"torch.optim.{name}", params=params)
    training.optimizer = build_optimizer(chosen, training.model, training.head)
    training.schedule = SCHEDULES["cosine"].create(EPOCHS, warmup=1.5, warmup_from=0.1)
    return training


def state(training: Training) -> list[Tensor]:
    return [*training.model.parameters(), *training.head.parameters()]


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_training_is_that_of_a_plain_loop_with_the_class(name: str) -> None:
    """Learning rate = base * schedule * scale of the group, and no decay of the last group."""
    data, training = make_data(), make(name, PARAMS[name])
    model, head = copy.deepcopy((training.model, training.head))
    body = list(model.parameters())
    weight, bias = head.parameters()
    no_decay = {"ASGD": {"weight_decay": 0, "lambd": 0}, "Rprop": {}}.get(name, {"weight_decay": 0})
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in PARAMS[name].items()}
    groups: list[dict[str, Any]] = [
        {"params": body}, {"params": [weight]}, {"params": [bias], **no_decay}
    ]  # fmt: skip
    optimizer = getattr(optim, name)(groups, **given)
    schedulers = optim.lr_scheduler.LambdaLR(
        optimizer,
        [lambda i, s=s: s * training.schedule(i // 4 + i % 4 / 4) for s in (1.0, 3.0, 1.0)],
    )
    order_stream = stream(0, "order")
    for _ in range(EPOCHS):
        for chosen in epoch_order(data.labels, None, order_stream).split(8):
            scores = head.logits(model(data.images[chosen].permute(0, 3, 1, 2).float() / 255))
            optimizer.zero_grad()
            nn.functional.cross_entropy(scores, data.labels[chosen]).backward()
            optimizer.step()
            schedulers.step()
    before = [p.clone() for p in state(training)]
    assert not train(training, data, lambda *_: None)
    for ours, theirs, start in zip(state(training), [*body, weight, bias], before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        assert not torch.equal(ours, start)


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_resumed_training_is_bit_identical(name: str) -> None:
    data, whole, first = make_data(), make(name, PARAMS[name]), make(name, PARAMS[name])
    assert not train(whole, data, lambda *_: None)
    assert not train(first, data, lambda *_: None, until=2)
    file = io.BytesIO()
    torch.save(snapshot(first), file)
    resumed = make(name, PARAMS[name])
    restore(resumed, torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    assert not train(resumed, data, lambda *_: None)
    for ours, theirs, early in zip(state(resumed), state(whole), state(first), strict=True):
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, early)


@pytest.mark.parametrize("name", SUPPORTED)
def test_defaults_are_those_of_the_class(name: str) -> None:
    entry = OPTIMIZERS[f"torch.optim.{name}"]
    assert entry.distribution == "torch"
    built = entry.create(lr=0.25)([{"params": [nn.Parameter(torch.zeros(2))]}])
    assert type(built) is getattr(optim, name)
    assert built.defaults == getattr(optim, name)([nn.Parameter(torch.zeros(2))], 0.25).defaults
    assert entry.parameter_names[0] == "lr"
    assert not {"foreach", "fused", "capturable", "differentiable"} & set(entry.parameter_names)
    explicit = entry.resolve(entry.resolve({}))
    assert repr(explicit) == repr(entry.resolve({}))  # 0 would be another identity than 0.0
    assert entry.create(**explicit) is not None


def test_sgd_and_adamw_are_those_of_torch() -> None:
    data = make_data()
    sgd = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
    adamw = {"lr": 0.02, "betas": [0.8, 0.9], "weight_decay": 0.1}
    own = {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.1}
    for name, params, builtin, chosen in (
        ("SGD", sgd, "sgd", sgd),
        ("AdamW", adamw, "adamw", own),
    ):
        library, ours = make(name, params), make(name, params)
        component = Component(name=builtin, params=chosen)
        ours.optimizer = build_optimizer(component, ours.model, ours.head)
        for training in (library, ours):
            assert not train(training, data, lambda *_: None)
        assert all(torch.equal(*pair) for pair in zip(state(library), state(ours), strict=True))


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("Adam", {"lr": -1}, "lr: should be greater than 0, not -1"),
        ("Adam", {"beta": [0.9, 0.99]}, "beta: unknown key; did you mean 'betas'"),
        ("Adam", {"betas": [0.9]}, "betas: should "),
        ("Adam", {"betas": 0.9}, "betas: should be a list, not 0.9"),
        ("Adam", {"betas": [0.9, 1.5]}, "betas: Invalid beta parameter at index 1: 1.5"),
        ("Adam", {"eps": -1}, "eps: Invalid epsilon value: -1"),
        ("Adam", {"weight_decay": -1}, "weight_decay: Invalid weight_decay value: -1"),
        ("Adam", {"fused": True}, "fused: unknown key"),
        ("SGD", {"maximize": True}, "maximize: unknown key"),
        ("SGD", {"nesterov": True}, "nesterov: Nesterov momentum requires a momentum"),
        ("SGD", {"nesterov": 1}, "nesterov: should be a valid boolean, not 1"),
        ("Rprop", {"etas": [1.5, 1.2]}, "etas: Invalid eta values: 1.5, 1.2"),
        ("Rprop", {"weight_decay": 0.1}, "weight_decay: unknown key"),
    ],
)
def test_wrong_parameters_are_refused(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as refused:
        OPTIMIZERS[f"torch.optim.{name}"].create(**params)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LBFGS", "cannot be used here: it evaluates the loss several times in a step"),
        ("Muon", "cannot be used here: it accepts matrices only"),
        ("SparseAdam", "cannot be used here: it accepts sparse gradients only"),
        ("Adan", "unknown optimizer 'torch.optim.Adan'; did you mean 'torch.optim.Ada"),
        ("Optimizer", "unknown optimizer 'torch.optim.Optimizer'"),
    ],
)
def test_other_names_are_refused_with_the_reason(name: str, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        OPTIMIZERS[f"torch.optim.{name}"]
    assert message in str(refused.value)


def test_parameters_without_decay_have_none_where_the_optimizer_has_it() -> None:
    asgd, rprop = make("ASGD", {}).optimizer, make("Rprop", {}).optimizer
    assert [group["lambd"] for group in asgd.param_groups] == [1e-4, 1e-4, 0.0]
    assert [group["lr_scale"] for group in asgd.param_groups] == [1.0, 3.0, 1.0]
    assert all("weight_decay" not in group for group in rprop.param_groups)

"""Averaged weights, against loops in float64 over the recorded weights, and against torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from lossbench.assembly.check import check
from lossbench.data.images import ArrayImages
from lossbench.data.sampling import split_into_batches
from lossbench.losses import TrainingFacts, create_loss
from lossbench.planning.fairness import audit
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.runner.trial import measure_trial, run_trial
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError
from lossbench.suite.schema import Component
from lossbench.suite.weight_averaging import WeightAveraging
from lossbench.training.loop import Training, train
from lossbench.training.optimizers import build_optimizer
from lossbench.training.trained_weights import weights_of
from lossbench.training.weight_averaging import WeightAverage, recompute_statistics
from tests.training.test_training import make_data, make_training

NOWHERE = Path("/nonexistent/data")
EPOCHS = 4
Write = Callable[..., Path]


def make(loss: str = "softmax", chosen: WeightAveraging | None = None) -> Training:
    """A training of a network with batch normalisation."""
    training = make_training(epochs=EPOCHS)
    torch.manual_seed(0)
    training.model = nn.Sequential(
        nn.Flatten(), nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.2), nn.Linear(5, 2)
    )
    training.head = create_loss(loss, num_classes=2, feature_dim=2)
    training.head.prepare(TrainingFacts(torch.bincount(make_data().labels), EPOCHS))
    sgd = Component(name="sgd", params={"lr": 0.2, "momentum": 0.9})
    training.optimizer = build_optimizer(sgd, training.model, training.head)
    if chosen is not None:
        average = WeightAverage(chosen, training.model, training.head, EPOCHS)
        training.averaging = average
    return training


def values(training: Training, buffers: bool) -> list[Tensor]:
    """Copies of the parameters, and of the model's buffers of real numbers, in float64."""
    found = [*training.model.parameters(), *training.head.parameters()]
    if buffers:
        found += [b for b in training.model.buffers() if b.is_floating_point()]
    return [tensor.detach().double() for tensor in found]


def averaged_values(training: Training, buffers: bool) -> list[Tensor]:
    assert training.averaging is not None
    copied = copy.copy(training)
    copied.model, copied.head = training.averaging.model, training.averaging.head
    return values(copied, buffers)


def test_ema_is_the_recursion_over_all_steps() -> None:
    """The recursion has parameters and statistics, and starts after the first step."""
    decay, data = 0.7, make_data()
    training = make(chosen=WeightAveraging(name="ema", decay=decay))
    recorded: list[list[Tensor]] = []
    training.optimizer.register_step_post_hook(
        lambda *_: recorded.append(values(training, buffers=True))
    )
    assert not train(training, data, lambda *_: None)
    assert len(recorded) == 4 * EPOCHS
    expected = recorded[0]
    for step in recorded[1:]:
        expected = [decay * a + (1 - decay) * b for a, b in zip(expected, step, strict=True)]
    for ours, theirs in zip(averaged_values(training, buffers=True), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    raw = values(training, buffers=True)
    assert sum(not torch.allclose(a, b) for a, b in zip(expected, raw, strict=True)) > 6


@pytest.mark.parametrize(
    ("start", "epochs"), [(0.75, [3, 4]), (0.0, [1, 2, 3, 4]), (0.6, [3, 4]), (0.99, [4])]
)
def test_swa_is_the_mean_over_the_ends_of_epochs(start: float, epochs: list[int]) -> None:
    training = make(chosen=WeightAveraging(name="swa", start=start))
    recorded: list[list[Tensor]] = []
    measured: list[bool] = []
    data = make_data()

    def record(*_: object) -> None:
        recorded.append(values(training, buffers=False))
        measured.append(training.measured_network(data)[0] is not training.model)

    assert not train(training, data, record)
    assert measured == [epoch >= epochs[0] for epoch in range(1, EPOCHS + 1)]
    expected = [
        torch.stack([recorded[epoch - 1][i] for epoch in epochs]).mean(0)
        for i in range(len(recorded[0]))
    ]
    for ours, theirs in zip(averaged_values(training, buffers=False), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_swa_has_the_statistics_of_the_training_images() -> None:
    """Means over batches of the mean and the unbiased variance, in float64, without dropout."""
    data, training = make_data(), make(chosen=WeightAveraging(name="swa", start=0.5))
    assert not train(training, data, lambda *_: None)
    random = torch.get_rng_state()
    model, _ = training.measured_network(data)
    assert torch.equal(torch.get_rng_state(), random)
    assert not model.training
    linear, norm = model[1], model[2]  # type: ignore[index]
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    means, variances = [], []
    for batch in split_into_batches(order, training.batch_size, 2):
        x = data.images[batch].reshape(len(batch), -1).double() / 255
        z = x @ linear.weight.double().T + linear.bias.double()
        means.append(z.mean(0))
        variances.append(((z - z.mean(0)) ** 2).sum(0) / (len(z) - 1))
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(norm.running_mean.double(), torch.stack(means).mean(0), **close)
    torch.testing.assert_close(norm.running_var.double(), torch.stack(variances).mean(0), **close)
    assert norm.momentum == 0.1
    raw = training.model[2]  # type: ignore[index]
    assert not torch.allclose(raw.running_mean, norm.running_mean)
    again = copy.deepcopy(model.state_dict())
    training.averaging._statistics_of = 0  # type: ignore[union-attr]
    repeated, _ = training.measured_network(data)
    assert all(torch.equal(again[name], value) for name, value in repeated.state_dict().items())


def test_statistics_are_those_of_torch() -> None:
    data, training = make_data(), make()
    ours, theirs = copy.deepcopy(training.model), copy.deepcopy(training.model)
    theirs[3] = nn.Identity()  # type: ignore[operator]  # torch keeps dropout random
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    batches = list(split_into_batches(order, 8, 2))
    loader = (training.normalise(b) for b, _ in data.augmented(batches, [], torch.Generator()))
    swa_utils.update_bn(loader, theirs)
    ours.eval()
    recompute_statistics(ours, data, training.normalise, 8)
    torch.testing.assert_close(ours[2].state_dict(), theirs[2].state_dict())  # type: ignore[index]


@pytest.mark.parametrize("loss", ["softmax", "center", "elr", "lgm"])
@pytest.mark.parametrize("name", ["ema", "swa"])
def test_the_training_itself_is_bit_identical(loss: str, name: str) -> None:
    data = make_data()
    plain, averaging = make(loss), make(loss, WeightAveraging(name=name))  # type: ignore[arg-type]
    for training in (plain, averaging):
        torch.manual_seed(3)  # dropout
        assert not train(training, data, lambda *_, t=training: t.measured_network(data))
    for part in ("model", "head"):
        ours, theirs = getattr(averaging, part).state_dict(), getattr(plain, part).state_dict()
        assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    model, head = averaging.measured_network(data)
    assert model is not averaging.model
    assert not head.training
    for key, buffer in head.named_buffers():  # updated by the loss, not averaged
        assert torch.equal(buffer, averaging.head.get_buffer(key)), key
        assert buffer is not averaging.head.get_buffer(key)


def test_without_weight_of_the_average_it_is_the_last_weights() -> None:
    data, training = make_data(), make("center", WeightAveraging(name="ema", decay=0.0))
    assert not train(training, data, lambda *_: None)
    averaged = weights_of(*training.measured_network(data))
    last = weights_of(training.model, training.head)
    for part in ("model", "head"):
        for key, value in last[part].items():
            torch.testing.assert_close(averaged[part][key], value, rtol=0, atol=0)


@pytest.fixture
def plan_of(write_suite: Write) -> Callable[..., Plan]:
    def make_plan(*overrides: str) -> Plan:
        few = {"recipe.epochs": 4, "dataset.train_size": 200, "dataset.test_size": 100}
        given = dict(each.split("=", 1) for each in overrides)
        texts = [f"{key}={value}" for key, value in {**few, **given}.items()]
        return check(load_suite(write_suite(), texts), NOWHERE)

    return make_plan


@pytest.mark.parametrize("loss", ["softmax", "contrastive: {softmax_weight: 0}"])
@pytest.mark.parametrize("chosen", ["{name: ema, decay: 0.9}", "{name: swa, start: 0.5}"])
def test_the_average_is_measured_and_stored(
    plan_of: Callable[..., Plan], tmp_path: Path, loss: str, chosen: str
) -> None:
    """The values of later measurements on the stored weights are the same."""
    resnet = "model={name: resnet_cifar, depth: 8, width: 2}"
    plain = plan_of(f"losses=[{loss}]", resnet).trials[0]
    trial = plan_of(
        f"losses=[{loss}]", resnet, f"recipe.weight_averaging={chosen}", "evaluate=[error]"
    ).trials[0]
    assert trial.identity != plain.identity
    results = {}
    for name, each in (("plain", plain), ("average", trial)):
        (tmp_path / name).mkdir()
        results[name] = run_trial(each, data_root=NOWHERE, artifacts=tmp_path / name)
        content = results[name].model_dump_json()
        (tmp_path / name / "result.json").write_text(content, encoding="utf-8")
    for first, second in zip(results["plain"].history, results["average"].history, strict=True):
        assert first.metrics["train_loss"] == second.metrics["train_loss"]
    weights = [torch.load(tmp_path / n / "weights.pt", weights_only=True) for n in results]
    assert any(
        not torch.equal(weights[0]["model"][k], weights[1]["model"][k]) for k in weights[0]["model"]
    )
    assert results["average"].history[-1].metrics["test_error"] == pytest.approx(
        results["average"].metrics["error"]
    )
    later = trial.model_copy(
        update={"evaluate": (*trial.evaluate, trial.evaluate[0].model_copy(update={
            "name": "calibration", "params": {"bins": 15, "temperature": False},
            "metrics": ("ece", "nll"),
        }))}
    )  # fmt: skip
    whole = _with_evaluation(later, tmp_path / "whole")
    (tmp_path / "later").mkdir()
    measured = measure_trial(
        later, data_root=NOWHERE, stored=tmp_path / "average", artifacts=tmp_path / "later"
    )
    assert measured.metrics == whole
    assert not measured.failures


def _with_evaluation(trial: Trial, folder: Path) -> dict[str, float]:
    folder.mkdir()
    return dict(run_trial(trial, data_root=NOWHERE, artifacts=folder).metrics)


@pytest.mark.slow
def test_an_average_improves_a_training_with_a_large_final_rate(tmp_path: Path) -> None:
    errors: dict[str, float] = {}
    for name in ("null", "{name: ema, decay: 0.95}", "{name: swa, start: 0.5}"):
        overrides = [
            "losses=[softmax]",
            "variants={32-D: {model: {feature_dim: 32}}}",
            "recipe.epochs=12",
            "recipe.batch_size=32",
            "recipe.schedule=constant",
            "dataset.train_size=600",
            "dataset.test_size=500",
            f"recipe.weight_averaging={name}",
        ]
        trials = check(load_suite(Path("suites/digits.yaml"), overrides), NOWHERE).trials
        measured = []
        for trial in trials:  # five seeds: of one, the last weights may be good by chance
            folder = tmp_path / f"{len(errors)}-{trial.seed}"
            folder.mkdir()
            result = run_trial(trial, data_root=NOWHERE, artifacts=folder)
            measured.append(result.metrics["error"])
        errors[name] = fmean(measured)
    plain, *averaged = errors.values()
    assert max(averaged) < plain - 1, errors  # 5.6 % without, 3.2 and 3.4 % with an average


def test_a_recipe_without_average_has_the_identity_of_earlier_versions(
    plan_of: Callable[..., Plan],
) -> None:
    plain, null = plan_of(), plan_of("recipe.weight_averaging=null")
    assert "weight_averaging" not in plain.trials[0].model_dump_json()
    assert plain.trials[0].identity == null.trials[0].identity
    given = {
        plan_of(f"recipe.weight_averaging={value}").trials[0].identity
        for value in ("ema", "{name: ema, decay: 0.999}", "{name: ema, decay: 0.99}", "swa")
    }
    assert len(given) == 3
    assert plain.trials[0].identity not in given


def test_the_plan_and_the_audit_say_what_is_measured(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(
        "losses=[softmax, center]",
        "recipe.clip_norm=1",
        "variants={a: {}, b: {recipe: {weight_averaging: ema}}, c: {recipe: "
        "{weight_averaging: swa}}}",
    )
    assert plan.weight_notes == (
        "b: measured and stored is the exponential moving average of the weights (decay 0.999)",
        "c: measured and stored is the mean of the weights at the ends of the epochs from 75 % of "
        "the training on (stochastic weight averaging)",
    )
    texts = {difference.text for difference in audit(plan, plan.trials, {})}
    updated = "centers updated by the loss after each step, not by the optimizer, and without"
    assert any(f"{updated} clipping or averaging" in text for text in texts), texts
    assert any(text.endswith(f"{updated} clipping") for text in texts), texts


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("emma", "recipe.weight_averaging.name: should be 'ema' or 'swa', not 'emma'"),
        ("5", "recipe.weight_averaging: should be a name, or a mapping with a name, not 5"),
        ("{decay: 0.9}", "recipe.weight_averaging.name: missing"),
        ("{name: ema, decay: 1}", "recipe.weight_averaging.decay: should be less than 1, not 1"),
        ("{name: swa, start: -1}", "recipe.weight_averaging.start: should be greater than or"),
        ("{name: ema, start: 0.5}", "recipe.weight_averaging: start is no key of ema, which has"),
        ("{name: ema, decay: null}", "recipe.weight_averaging: decay of ema should be a number"),
        ("{name: ema, decy: 0.5}", "recipe.weight_averaging.decy: unknown key; did you mean 'dec"),
    ],
)
def test_wrong_values_are_refused(write_suite: Write, value: str, message: str) -> None:
    with pytest.raises(SuiteError) as refused:
        load_suite(write_suite(), [f"recipe.weight_averaging={value}"])
    assert message in str(refused.value)


def test_the_order_of_the_images_does_not_change_the_statistics() -> None:
    """Images sorted by their class would give batches with less variance."""
    data, training = make_data(), make()
    sorted_data = ArrayImages(*(t[data.labels.argsort()] for t in (data.images, data.labels)))
    spreads = []
    for images in (data, sorted_data):
        model = copy.deepcopy(training.model).eval()
        recompute_statistics(model, images, training.normalise, 8)
        spreads.append(model[2].running_var.mean())  # type: ignore[index]
    torch.testing.assert_close(*spreads, rtol=0.2, atol=0)

"""Plugins with a component of each kind: their identities, and messages on faulty ones."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lossbench.assembly.check import check
from lossbench.assembly.plugins import forget, installed, read_plugins
from lossbench.assembly.registries import KINDS, REGISTRIES, ComponentKind
from lossbench.errors import RequestError
from lossbench.planning.trial import Trial
from lossbench.registry import Registry
from lossbench.runner.environment import environment
from lossbench.suite.load import load_suite
from tests.assembly.every_kind import write_every_kind

Run = Callable[..., tuple[int, str, str]]
NAMES = {
    "loss": "my_loss",
    "model": "my_model",
    "augmentation": "my_augmentation",
    "evaluation": "my_metric",
    "optimizer": "my_optimizer",
    "schedule": "my_schedule",
}


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    for file in list(installed):
        forget(file)


def trials(folder: Path, *edits: tuple[str, str]) -> dict[str, Trial]:
    suite, plugin = write_every_kind(folder, *edits)
    read_plugins([plugin])
    return {trial.row: trial for trial in check(load_suite(suite), folder).trials}


@pytest.mark.parametrize(
    ("old", "new", "trained_again"),
    [
        ("/ self.heat", "* self.heat", ["my_loss"]),
        (".relu()", ".tanh()", ["my_loss", "softmax"]),
        ("-level, level + 1", "-level, level", ["my_loss", "softmax"]),
        ('parameter -= group["lr"]', 'parameter -= 2 * group["lr"]', ["my_loss", "softmax"]),
        ("(1 - epoch / epochs)", "(1.5 - epoch / epochs)", ["my_loss", "softmax"]),
        ("trained.scores.max()", "trained.scores.min()", []),
        ("class MyHead", "# a comment\nclass MyHead", []),
    ],
)
def test_an_edited_component_changes_the_trials_that_use_it(
    tmp_path: Path, old: str, new: str, trained_again: list[str]
) -> None:
    before, after = trials(tmp_path), trials(tmp_path, (old, new))
    changed = [row for row in before if before[row].identity != after[row].identity]
    assert sorted(before[row].loss.name for row in changed) == trained_again
    if "trained" in old:  # the evaluation is measured again, and only this one
        for row, trial in before.items():
            first, second = trial.measurement_identities
            assert after[row].measurement_identities[0] == first
            assert after[row].measurement_identities[1] != second


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.registry.kind)
def test_the_environment_has_the_version_of_the_package_of_each_component(
    kind: ComponentKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [trial] = [trial for trial in trials(tmp_path).values() if trial.loss.name == "my_loss"]
    assert "pydantic" not in environment(trial, "my_metric")
    name = NAMES[kind.registry.kind]
    entry = replace(kind.registry[name], distribution="pydantic")
    monkeypatch.setitem(kind.registry._entries, name, entry)
    version = importlib.metadata.version("pydantic")
    assert environment(trial, "my_metric")["pydantic"] == version
    assert ("pydantic" in environment(trial)) == (kind.registry.kind != "evaluation")


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_packages_register_components_of_each_kind_by_entry_points(
    registry: Registry[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    builtin = registry[registry.builtin_names[0]]

    class Point:
        name, value = "theirs", "thing:Theirs"
        dist = type("Dist", (), {"name": "pydantic"})

        def load(self) -> object:
            return builtin.factory

    asked = []

    def points(group: str) -> list[Point]:
        asked.append(group)
        return [Point()]

    monkeypatch.setattr(importlib.metadata, "entry_points", points)
    fresh: Registry[Any] = Registry(registry.kind, registry._group, finish=registry._finish)
    assert fresh["theirs"].distribution == "pydantic"
    assert fresh["theirs"].parameter_names == builtin.parameter_names
    assert asked == [f"lossbench.{registry.plural}"]
    with pytest.raises(RequestError, match=f"{registry.kind} of your own, add --plugin FILE.py"):
        fresh["other"]


FAULTS = [
    # code that ends the program
    ("labels)}", "labels), 'more': __import__('sys').exit(0)}", "losses.my_loss: calls sys.exit"),
    (
        "return self.layer(images.flatten(1)).relu()",
        "import sys; sys.exit(0)",
        "model: calls sys.exit;",
    ),
    (
        "def augment(images, generator):",
        "import sys\n\n    def augment(images, generator):\n        sys.exit(3)",
        "augment.my_augmentation: calls sys.exit; raise an exception instead",
    ),
    # faults that would spoil the numbers
    (".relu()", ".relu().double()", "features in float64; should be"),
    (".relu()", ".relu().detach()", "features without a gradient"),
    (
        "self.feature_dim = width",
        "self.feature_dim = width\n        torch.manual_seed(0)",
        "model: seeds torch's global random generator when it is created",
    ),
    (
        "def augment(images, generator):",
        "def augment(images, generator):\n        generator.manual_seed(0)",
        "augment.my_augmentation: it seeds the generator that it is given",
    ),
    (
        'parameter -= group["lr"] * parameter.grad',
        "pass",
        "recipe.optimizer: two steps change no parameter",
    ),
    (
        'parameter -= group["lr"] * parameter.grad',
        'self.times = getattr(self, "times", 0) + 1\n'
        '                    parameter -= group["lr"] * parameter.grad / self.times',
        "recipe.optimizer: a step after its state_dict() was loaded into a new optimizer differs",
    ),
    # loss
    ('{"ce": F', "[F", "my_parts.py: line 22: SyntaxError"),
    (
        'return {"ce": F.cross_entropy(self.logits(features), labels)}',
        "return F.cross_entropy(self.logits(features), labels)",
        "losses.my_loss: terms() returns a Tensor; should return a dictionary: name -> scalar",
    ),
    (
        "(self.logits(features), labels)",
        "(self.logits(features), labels, reduction='none')",
        "losses.my_loss: terms() returns shape (2,) for 'ce', not a scalar",
    ),
    ("return self.linear(features) /", "return self.linear(features)[0] /", "losses.my_loss: "),
    (
        '@MODELS.register("my_model")',
        '@MODELS.register("my model")',
        "model 'my model': its name should be letters, digits and underscores",
    ),
    (
        "        super().__init__(num_classes, feature_dim)\n        self.linear",
        "        super().__init__(num_classes, feature_dim)\n"
        "        self.needs = {'class_count'}\n        self.linear",
        "losses.my_loss: needs 'class_count', which does not exist; did you mean 'class_counts'?",
    ),
    # model
    (
        "class MyModel(nn.Module)",
        "class MyModel",
        "MyModel is no Module; derive it from torch.nn.Module",
    ),
    (
        "self.feature_dim = width",
        "self.dim = width",
        "model: the module needs an integer attribute feature_dim, the number D of its features",
    ),
    (
        "self.feature_dim = width",
        "self.feature_dim = 2 * width",
        "model: returns features of shape (2, 8) for 2 images; should be (2, 16)",
    ),
    (".relu()", ".relu(), images", "model: returns a tuple; should return a tensor of features"),
    (".relu()", ".relu() / 0", "model: returns features that are not finite numbers"),
    (
        "images.flatten(1)",
        "images",
        "model: does not accept the 1x8x8 images of digits: RuntimeError: mat1 and mat2 shapes",
    ),
    (
        "math.prod(image_shape)",
        "math.prof(image_shape)",
        "model: cannot be used: AttributeError: .* (my_parts.py:33)",
    ),
    (
        "self.layer(images.flatten(1)).relu()",
        "F.dropout(self.layer(images.flatten(1)))",
        "model: gives other features for the same images in eval mode; use nn.Dropout",
    ),
    (
        "def __init__(self, image_shape, *, width",
        "def __init__(self, *, width",
        "model 'my_model': MyModel should have the arguments (image_shape, *, name: float = 1.0): "
        "parameters follow the *",
    ),
    (
        "image_shape, *, width: int = 16",
        "image_shape, width=16",
        "model.width: unknown key; MyModel has it before the * of its keyword-only arguments",
    ),
    # augmentation
    (
        "return (images.cpu()",
        "return 1 / 0 * (images.cpu()",
        "augment.my_augmentation: cannot be used: ZeroDivisionError: .* (my_parts.py:43)",
    ),
    (
        ".to(images)",
        ".float() / 255",
        "augment.my_augmentation: returns pixels from 0 to 1; they should be from 0 to 255",
    ),
    (
        ".to(images)",
        ".long()",
        "augment.my_augmentation: returns int64; should return uint8, as given",
    ),
    (
        ".to(images)",
        ".to(images)[:, :, :7, :7]",
        "augment: gives images of size 1x7x7, but the model",
    ),
    (
        ".to(images)",
        ".to(images)[0]",
        "returns shape (1, 8, 8) for images of shape (8, 1, 8, 8); should be (8, 1, height, width)",
    ),
    (
        "return (images.cpu() + noise).clamp(0, 255).to(images)",
        "images += 1",
        "augment.my_augmentation: returns None; should return a tensor",
    ),
    (
        "images.shape, generator=generator)",
        "images.shape)",
        "it draws from the global random generator of torch; draw from the "
        "generator that it is given, as in torch.rand(n, generator=generator)",
    ),
    (
        "noise = torch.randint(-level, level + 1, images.shape, generator=generator)",
        "import random, numpy as np; noise = round(9 * random.random() * np.random.rand())",
        "it draws from the global random generator of numpy and random;",
    ),
    (
        "def augment(images, generator):",
        "import numpy as np\n    own = np.random.default_rng()\n"
        "    def augment(images, generator):\n"
        "        images = torch.from_numpy(own.integers(0, 256, images.shape, dtype='uint8'))",
        "two calls with the same images and the same seed of the generator give different images",
    ),
    (
        "    return augment",
        "    return augment(crop, None)",
        "augment.my_augmentation: cannot be used: ",
    ),
    (
        "    return augment",
        "    return 3",
        "augment.my_augmentation: gives an int; should give a function",
    ),
    (
        "def augment(images, generator)",
        "def augment(images)",
        "augment.my_augmentation: cannot be used: TypeError: ",
    ),
    # optimizer
    (
        "(torch.optim.Optimizer)",
        "",
        "optimizer 'my_optimizer': MyOptimizer should have the arguments (*, name: float = 1.0): "
        "parameters follow the *; or derive it from torch.optim.Optimizer",
    ),
    (
        "parameter -= group",
        "parameters -= group",
        "recipe.optimizer: cannot be used: UnboundLocalError: .* (my_parts.py:58)",
    ),
    (
        '{"lr": lr, "betas"',
        '{"rate": lr, "betas"',
        "recipe.optimizer: the optimizer has no learning rate: pass {'lr': lr, ...}",
    ),
    (
        'group["lr"] * parameter',
        "0.1 * parameter",
        "recipe.optimizer: a step does not depend on the `lr` of the parameter groups",
    ),
    ("def step(self)", "def step(self, closure)", "recipe.optimizer: cannot be used: TypeError: "),
    ("* parameter.grad", "* parameter.grad / 0", "a step makes parameters that are not finite"),
    (
        "super().__init__(params, {",
        "params = [p for g in params for p in g['params']]\n        super().__init__(params, {",
        "does not keep the parameter groups that it is given",
    ),
    ("lr=0.1, betas", "lr, betas", "argument 'lr' needs an annotation such as lr: float"),
    (
        "super().__init__(params, {",
        "assert lr > 1, 'too small'\n        super().__init__(params, {",
        "recipe.optimizer: cannot be used: AssertionError: too small (my_parts.py:",
    ),
    # schedule
    (
        "return lambda epoch: (1 - epoch / epochs) ** power",
        "return power",
        "recipe.schedule: gives a float; should give a function: finished epochs -> factor",
    ),
    (
        "(1 - epoch / epochs) ** power",
        "0.5 - epoch / epochs",
        "recipe.schedule: .* should be finite and >= 0, not -0.02 after 1.04 of 2 epochs",
    ),
    (
        "(1 - epoch / epochs) ** power",
        "math.nan",
        "should be finite and >= 0, not nan after 0 of 2 epochs",
    ),
    (
        "(1 - epoch / epochs) ** power",
        "torch.ones(())",
        "recipe.schedule: .* should be a number, not a Tensor after 0 of",
    ),
    ("(1 - epoch / epochs) ** power", "None", "should be a number, not None after 0 of 2 epochs"),
    (
        "(1 - epoch / epochs) ** power",
        "epoch / 0 * power",
        "recipe.schedule: cannot be used: ZeroDivisionError: .* (my_parts.py:",
    ),
    (
        "return lambda epoch: (1 - epoch / epochs) ** power",
        "calls = []\n    return lambda epoch: calls.append(1) or 1 / len(calls)",
        "recipe.schedule: .* differs between two calls for the same epoch",
    ),
    ("power: float = 1.0", "power=1.0", "parameter 'power' has no annotation"),
    (
        "my_schedule(epochs, *, power",
        "my_schedule(*, power",
        "schedule 'my_schedule': my_schedule should have the arguments (epochs, *, name",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), FAULTS, ids=range(len(FAULTS)))
def test_faults_give_one_message_before_anything_is_trained(
    tmp_path: Path, run: Run, old: str, new: str, message: str
) -> None:
    suite, plugin = write_every_kind(tmp_path, (old, new))
    code, out, err = run("plan", suite, "--plugin", plugin)
    assert (code, out) == (2, ""), out
    text = " ".join(err.split())
    assert "Traceback" not in text
    pattern = re.escape(message).replace(r"\.\*", ".*")
    assert re.search(pattern, text), text

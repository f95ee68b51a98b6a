"""Columns that change data, recipe or evaluations: plan, identities, problems, results."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lossbench.analysis.tables import make_tables
from lossbench.assembly.check import check
from lossbench.data import loading
from lossbench.data.dataset import Dataset
from lossbench.data.prepared import load_prepared
from lossbench.gate.baseline import Baseline
from lossbench.gate.comparability import condition_differences
from lossbench.gate.from_results import conditions_of, data_of, metrics_of
from lossbench.planning.column_text import column_texts
from lossbench.planning.plan import Plan
from lossbench.planning.selection import PlanWithResults
from lossbench.suite.columns import column_settings
from lossbench.suite.load import load_suite
from lossbench.suite.origin import SuiteError
from lossbench.suite.schema import Suite
from tests.report.synthetic_report import result_of

NOWHERE = Path("no-data")
BASE = """\
suite: small
dataset: digits
model: {name: digits_cnn, feature_dim: 2}
recipe: {epochs: 2, batch_size: 64, optimizer: {name: sgd, lr: 0.1}}
seeds: [0, 1]
reference: softmax
losses: [softmax, center]
"""
COLUMNS = """\
variants:
  base: {}
  adamw: {recipe: {optimizer: {name: adamw, lr: 0.01}, epochs: 3}}
  few: {dataset: {train_size: 100, test_size: 90}, evaluate: [error, calibration]}
"""
Make = Callable[..., Plan]


@pytest.fixture
def plan_of(tmp_path: Path) -> Make:
    def make(more: str = COLUMNS, *overrides: str) -> Plan:
        path = tmp_path / "small.yaml"
        path.write_text(BASE + more, encoding="utf-8")
        return check(load_suite(path, overrides), NOWHERE)

    return make


def test_trials_have_the_settings_of_their_column(plan_of: Make) -> None:
    plan = plan_of()
    trials = {trial.variant: trial for trial in plan.trials}
    assert trials["adamw"].recipe.optimizer.name == "adamw"
    assert len(trials["adamw"].recipe.optimizer.params) > 1
    assert trials["adamw"].recipe.epochs == 3
    assert trials["base"].recipe == plan.suite.recipe
    assert trials["few"].dataset.train_size == 100
    assert [e.name for e in trials["few"].evaluate] == ["error", "calibration"]
    assert [e.name for e in trials["base"].evaluate] == ["error"]
    assert plan.columns["few"].facts.train_images == 100
    assert sum(plan.columns["few"].facts.class_counts["test"]) == 90


def test_a_column_shares_its_trainings_with_a_suite_of_these_settings(plan_of: Make) -> None:
    trials = [t for t in plan_of().trials if t.variant in ("adamw", "few")]
    alone = [
        *plan_of(
            "", "recipe.optimizer.name=adamw", "recipe.optimizer.lr=0.01", "recipe.epochs=3"
        ).trials,
        *plan_of("", "dataset={name: digits, train_size: 100, test_size: 90}").trials,
    ]
    assert {t.identity for t in trials} == {t.identity for t in alone}
    identities = [t.identity for t in plan_of().trials]
    assert len(set(identities)) == len(identities) == 12


def test_columns_without_differences_in_them_keep_identities(plan_of: Make) -> None:
    before = {t.identity for t in plan_of("").trials}
    after = {t.identity for t in plan_of().trials if t.variant == "base"}
    assert before == after
    assert plan_of("").table_identity == plan_of().table_identity


def test_a_metric_has_the_columns_in_which_it_is_measured(plan_of: Make) -> None:
    plan = plan_of()
    results = {t.identity: result_of(t, 2.0 + t.seed) for t in plan.trials}
    for trial in plan.trials:
        if trial.variant == "few":
            result = results[trial.identity]
            names = [m.name for m in plan.metrics if m.name != "error"]
            metrics = {**result.metrics, **dict.fromkeys(names, 0.5 + trial.seed)}
            results[trial.identity] = result.model_copy(update={"metrics": metrics})
    tables = {table.metric: table for table in make_tables(PlanWithResults(plan, results))}
    assert tables["error"].variants == ("base", "adamw", "few")
    assert tables["nll"].variants == ("few",)
    assert set(tables["nll"].cells) == {("few", "softmax"), ("few", "center")}
    verdicts = tables["error"].verdicts
    assert verdicts is not None
    assert {v.variant for v in verdicts.listed} == {"base", "adamw", "few"}


def test_the_margin_of_a_column_is_that_of_its_own_test_set(plan_of: Make) -> None:
    plan = plan_of()
    results = {t.identity: result_of(t, 10.0 + t.seed) for t in plan.trials}
    [table, *_] = make_tables(PlanWithResults(plan, results))
    assert table.verdicts is not None
    margins = {v.variant: v.margin for v in table.verdicts.listed}
    expected = {"few": 90, "base": 597}
    for variant, images in expected.items():
        share = 0.105
        assert margins[variant] == pytest.approx(100 * (share * (1 - share) / images) ** 0.5)


def test_a_column_can_change_the_warm_up(plan_of: Make) -> None:
    """Without warm-up, a column has the identities of suites that do not name the key."""
    whole = plan_of("variants: {a: {recipe: {schedule: cosine}}}\n")
    columns = (
        "variants:\n  long: {}\n  none: {recipe: {schedule: {warmup: 0}}}\n"
        "  short: {recipe: {schedule: {warmup: 0.5, minimum: 0.25}}}\n"
        "  other: {recipe: {schedule: constant}}\n"
    )
    plan = plan_of(columns, "recipe.schedule={name: cosine, warmup: 1.5, minimum: 0.5}")
    params = {t.variant: t.recipe.schedule.params for t in plan.trials}
    assert params == {
        "long": {"minimum": 0.5, "warmup": 1.5},
        "none": {"minimum": 0.5},
        "short": {"minimum": 0.25, "warmup": 0.5},
        "other": {},  # another schedule has parameters of its own
    }
    texts = column_texts(plan)
    assert texts["none"] == "recipe.schedule cosine(minimum=0.5, warmup=0)"
    same = plan_of(columns, "recipe.schedule={name: cosine, warmup: 1.5}").trial(
        plan.rows[0], "none", 0
    )
    assert same.recipe == whole.trials[0].recipe
    assert same.identity == whole.trials[0].identity
    again = column_settings(Suite.model_validate_json(plan.suite.model_dump_json()), "none")
    assert again.recipe.schedule.params == {"minimum": 0.5, "warmup": 0.0}
    with pytest.raises(SuiteError, match=r"variants\.b: is the same as a"):
        plan_of("variants: {a: {}, b: {recipe: {schedule: {warmup: 0}}}}\n")


def test_differences_between_columns_are_described(plan_of: Make) -> None:
    assert column_texts(plan_of()) == {
        "base": "dataset.train_size all, dataset.test_size all, recipe.epochs 2, recipe.optimizer "
        "sgd(lr=0.1, momentum=0, nesterov=False, weight_decay=0), evaluate [error]",
        "adamw": "as base, but recipe.epochs 3, recipe.optimizer "
        "adamw(lr=0.01, beta1=0.9, beta2=0.999, weight_decay=0.01)",
        "few": "as base, but dataset.train_size 100, dataset.test_size 90, evaluate "
        "[error, calibration(bins=15, temperature=False)]",
    }
    assert column_texts(plan_of("")) == {}
    two = column_texts(plan_of("variants: {a: {}, b: {recipe: {clip_norm: 2.0}}}\n"))
    assert two == {"a": "recipe.clip_norm none", "b": "recipe.clip_norm 2"}
    ema, swa = "{name: ema, decay: 0.9}", "swa"
    three = column_texts(
        plan_of(
            f"variants: {{a: {{}}, b: {{recipe: {{weight_averaging: {ema}}}}}, "
            f"c: {{recipe: {{weight_averaging: {swa}}}}}}}\n"
        )
    )
    assert three == {
        "a": "recipe.weight_averaging none",
        "b": "recipe.weight_averaging ema(decay=0.9)",
        "c": "recipe.weight_averaging swa(start=0.75)",
    }


def test_columns_are_described_by_the_one_with_the_settings_of_the_suite(plan_of: Make) -> None:
    long = "{recipe: {epochs: 5, batch_size: 32}}"
    texts = column_texts(plan_of(f"variants:\n  long: {long}\n  base: {{}}\n"))
    assert texts["base"] == "recipe.epochs 2, recipe.batch_size 64"
    assert texts["long"] == "as base, but recipe.epochs 5, recipe.batch_size 32"
    other = "{recipe: {epochs: 5, precision: bfloat16}}"
    texts = column_texts(plan_of(f"variants:\n  long: {long}\n  other: {other}\n"))
    assert texts["long"] == "recipe.batch_size 32, recipe.precision float32"  # none is as the suite
    assert texts["other"] == "as long, but recipe.batch_size 64, recipe.precision bfloat16"
    noisy = "{dataset: {label_noise: {symmetric: 0.2}}}"
    texts = column_texts(plan_of(f"variants:\n  clean: {{}}\n  noisy: {noisy}\n"))
    assert texts == {
        "clean": "dataset.label_noise none",
        "noisy": "dataset.label_noise symmetric 0.2 seed 0",
    }


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("{}", "variants.own: is the same as base"),
        ("{recipe: {epochs: 2}}", "variants.own: is the same as base"),
        (
            "{evaluate: [calibration]}",
            "variants.own: is the same as base except for its evaluations; add them to base",
        ),
        ("{recipe: {optimizer: {lrr: 1}}}", "variants.own.recipe.optimizer.lrr: unknown"),
        ("{recipe: {optimizer: {name: adam}}}", "variants.own.recipe.optimizer: unknown optimizer"),
        ("{recipe: {schedule: {name: cosin}}}", "variants.own.recipe.schedule: unknown schedule"),
        ("{recipe: {input: {mean: [1, 2]}}}", "variants.own.recipe.input.mean: 2 numbers, but"),
        ("{dataset: mnst}", "variants.own.dataset.name: unknown data set 'mnst'"),
        ("{dataset: {train_size: 5000}}", "variants.own.dataset.train_size: 5000 images were"),
        ("{dataset: {classes: [0, 77]}}", "variants.own.dataset.classes: there is no class 77"),
        ("{evaluate: [errors]}", "variants.own.evaluate: unknown evaluation 'errors'"),
        ("{evaluate: [error, error]}", "variants.own.evaluate: error is measured twice"),
        ("{augment: [mirrors]}", "variants.own.augment: unknown augmentation"),
        ("{model: {feature_dims: 2}}", "variants.own.model.feature_dims: unknown"),
    ],
)
def test_problems_of_a_column_have_its_key(plan_of: Make, variant: str, message: str) -> None:
    with pytest.raises(SuiteError) as raised:
        plan_of(f"variants:\n  base: {{}}\n  own: {variant}\n")
    assert "small.yaml:10: " in str(raised.value)
    assert message in str(raised.value)


def test_the_metric_of_selection_is_needed_in_every_column(plan_of: Make) -> None:
    with pytest.raises(SuiteError, match=r"selection\.metric: 'nll' is not measured by `evaluate`"):
        plan_of(COLUMNS + "selection: {metric: nll}\n")


def test_a_batch_that_no_loss_can_use_is_refused_in_its_column(plan_of: Make) -> None:
    with pytest.raises(SuiteError, match="a batch of 4 does not hold two classes of 4"):
        plan_of(
            "variants: {base: {}, own: {recipe: {batch_size: 4}}}\n", "losses=[softmax, triplet]"
        )


def test_problems_at_shared_keys_name_their_columns(plan_of: Make) -> None:
    with pytest.raises(SuiteError) as raised:
        plan_of(
            "variants: {base: {}, one: {recipe: {batch_size: 4}},"
            " two: {recipe: {batch_size: 6}}}\n",
            "losses=[softmax, triplet]",
        )
    assert "in column one: a batch of 4" in str(raised.value)
    assert "in column two: a batch of 6" in str(raised.value)
    with pytest.raises(SuiteError) as raised:
        plan_of("augment: [random_crop: {padding: 1, size: 3}]\n")
    assert "in column" not in str(raised.value)  # all columns have it


def test_sizes_are_those_of_the_images_that_a_column_keeps(plan_of: Make) -> None:
    long_tail = "{dataset: {imbalance: {long_tail: 10}}}"
    with pytest.raises(SuiteError, match=r"dataset\.train_size: in column own: 600"):
        plan_of(f"variants: {{base: {{}}, own: {long_tail}}}\n", "dataset.train_size=600")
    plan = plan_of(
        "variants: {base: {}, own: {dataset: {imbalance: null, train_size: 600}}}\n",
        "dataset.imbalance={long_tail: 10}",
    )
    assert plan.columns["own"].facts.train_images == 600


def test_damaged_data_are_reported_at_the_key_of_the_column(
    plan_of: Make, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder("mine")
    (folder / "test_images.npy").unlink()
    with pytest.raises(
        SuiteError, match=r"small\.yaml:8: variants\.own\.dataset\.name: .*test_images"
    ):
        plan_of(f"variants: {{base: {{}}, own: {{dataset: {folder}}}}}\n")


def test_columns_with_the_same_trials_are_refused(
    plan_of: Make, make_folder: Callable[..., Path]
) -> None:
    with pytest.raises(SuiteError, match=r"variants\.own: has the same trials as base"):
        plan_of("variants: {base: {}, own: {dataset: {label_noise: {symmetric: 0}}}}\n")
    one, two = make_folder("one"), make_folder("two")
    with pytest.raises(SuiteError, match=r"variants\.own: has the same trials as base"):
        plan_of(f"variants: {{base: {{}}, own: {{dataset: {two}}}}}\n", f"dataset.name={one}")


@pytest.mark.parametrize(
    "shared",
    [
        "classes: ['class 0', 'class 2']",
        "label_noise: {asymmetric: {rate: 0.4, map: {'class 0': 'class 2'}, unmapped: keep}}",
        "label_noise: {from: labels.npy}",
    ],
)
def test_what_the_data_determine_is_resolved_in_every_column(
    plan_of: Make, make_folder: Callable[..., Path], shared: str
) -> None:
    folder = make_folder("mine")
    np.save(folder.parent / "labels.npy", (np.arange(60) + np.arange(60) // 50) % 3)
    shared = shared.replace("labels.npy", str(folder.parent / "labels.npy"))
    base = f"dataset={{name: {folder}, {shared}}}"
    plan = plan_of("variants: {a: {dataset: {per_class: 5}}, b: {dataset: {per_class: 9}}}\n", base)
    for variant, size in (("a", 5), ("b", 9)):
        alone = plan_of("", base, f"dataset.per_class={size}")
        identities = {t.identity for t in plan.trials if t.variant == variant}
        assert identities == {t.identity for t in alone.trials}


def test_each_data_set_is_read_once_for_all_columns(
    plan_of: Make, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(folder: Path, **options: bool) -> Dataset:
        read.append(folder.name)
        return load_prepared(folder, **options)

    monkeypatch.setattr(loading, "load_prepared", counted)
    folders = [make_folder(f"mine {k}", classes=2 + k) for k in range(6)]
    columns = [
        f"{k}-{epochs}: {{dataset: '{folder}', recipe: {{epochs: {epochs}}}}}"
        for epochs in (1, 2, 3)
        for k, folder in enumerate(folders)
    ]
    loading.close_datasets()
    plan_of(f"variants: {{{', '.join(columns)}}}\n")
    assert sorted(read) == [folder.name for folder in folders]


def test_a_map_of_labels_is_that_of_the_classes_of_each_column(
    plan_of: Make, make_folder: Callable[..., Path]
) -> None:
    noise = "{asymmetric: {rate: 0.4, map: {'class 0': 'class 1'}, unmapped: keep}}"
    base = f"dataset={{name: {make_folder('mine')}, label_noise: {noise}}}"
    plan = plan_of("variants: {base: {}, own: {dataset: {classes: [0, 1]}}}\n", base)
    alone = plan_of("", base, "dataset.classes=[0, 1]")
    own = {t.identity for t in plan.trials if t.variant == "own"}
    assert own == {t.identity for t in alone.trials}
    whole = plan.settings["base"].dataset.label_noise
    assert whole is not None
    assert whole.asymmetric is not None
    assert whole.asymmetric.map == [1, 1, 2]


def baseline_of(plan: Plan) -> Baseline:
    conditions = conditions_of(plan)
    return Baseline(
        suite="small",
        command="",
        measured="2020-01-01",
        device="cpu",
        environment={},
        data=data_of(plan),
        conditions_digest=conditions.digest,
        conditions=conditions,
        metrics=metrics_of(plan),
        cells=[],
    )


def test_conditions_of_a_baseline_are_compared_by_column(plan_of: Make) -> None:
    before = plan_of()
    baseline = Baseline.model_validate_json(baseline_of(before).model_dump_json())
    assert baseline.conditions.variants["base"].recipe is None

    def differences(plan: Plan) -> list[str]:
        return condition_differences(baseline, data_of(plan), conditions_of(plan), metrics_of(plan))

    assert differences(before) == []
    assert differences(before.narrowed("few/*")) == []
    assert differences(plan_of(COLUMNS, "variants.adamw.recipe.epochs=4")) == [
        "variants.adamw.recipe.epochs: 3 in the baseline, 4 now"
    ]
    assert differences(plan_of(COLUMNS, "variants.few.dataset.train_size=120")) == [
        "variants.few.train_size: 100 in the baseline, 120 now"
    ]
    assert differences(plan_of(COLUMNS, "recipe.batch_size=32")) == [
        "recipe.batch_size: 64 in the baseline, 32 now"
    ]
    assert differences(plan_of(COLUMNS, "recipe.epochs=5")) == [
        "variants.base.recipe.epochs: 2 in the baseline, 5 now",
        "variants.few.recipe.epochs: 2 in the baseline, 5 now",
    ]


def test_a_column_of_other_data(plan_of: Make, make_folder: Callable[..., Path]) -> None:
    folder = make_folder("mine", classes=3, side=8)
    plan = plan_of(f"variants: {{base: {{}}, mine: {{dataset: {{name: {folder}}}}}}}\n")
    mine = [t for t in plan.trials if t.variant == "mine"]
    assert {t.data_digest for t in mine} == {plan.columns["mine"].data_digest}
    assert plan.columns["mine"].data_digest != plan.columns["base"].data_digest == plan.table_digest
    assert len(plan.columns["mine"].facts.class_names) == 3
    loss = plan.rows[0].loss.model_dump_json()
    heads = {variant: plan.head_requirements[variant, loss] for variant in plan.columns}
    assert heads["mine"].parameters * 10 == heads["base"].parameters * 3
    assert conditions_of(plan).variants["mine"].data is not None
    for first, second in itertools.combinations(plan.trials, 2):
        assert first.identity != second.identity

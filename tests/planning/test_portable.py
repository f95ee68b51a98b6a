"""Plans, trials and results lose the folders of the machine and keep their identities."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lossbench.planning.plan import Plan
from lossbench.planning.planned_column import PlannedColumn
from lossbench.planning.portable import portable_plan, portable_result, portable_trial
from lossbench.planning.rows import make_rows
from lossbench.planning.trial import PlannedEvaluation
from lossbench.records import MeasurementRecord
from lossbench.suite.schema import LossEntry, Suite
from tests.report.synthetic_report import result_of


def make_plan(folder: str) -> Plan:
    """A plan whose data and weights are in a folder."""
    other = f"{folder}/others"
    suite = Suite.model_validate(
        {
            "suite": "portable",
            "dataset": {"name": f"{folder}/mine"},
            "model": {"name": "timm", "checkpoint": f"{folder}/initial.pt"},
            "recipe": {"epochs": 1, "batch_size": 4, "optimizer": "sgd"},
            "variants": {
                "a": {},
                "b": {
                    "model": {"checkpoint": f"{folder}/b.pt"},
                    "dataset": {
                        "name": f"{folder}/other",
                        "label_noise": {"from": f"{folder}/labels.npy", "digest": "d3"},
                    },
                },
            },
            "losses": ["softmax"],
            "evaluate": ["error", {"other_images": {"dataset": other}}],
            "seeds": [0],
        }
    )
    evaluations = (
        PlannedEvaluation(name="error"),
        PlannedEvaluation(
            name="other_images", params={"dataset": other}, other_digests={other: "d2"}
        ),
    )
    return Plan(
        suite,
        make_rows(suite.losses, suite),
        table_digest="d1",
        metrics=(),
        columns={
            name: PlannedColumn("d1", weights_digest=weights, evaluations=evaluations)
            for name, weights in (("a", "w1"), ("b", "w2"))
        },
        changes=(f"dataset={folder}/mine", "recipe.epochs=1/2"),
    )


@pytest.mark.parametrize("folder", ["/home/ada/data", "../data", "C:\\ada\\data"])
def test_identities_stay_and_folders_go(folder: str) -> None:
    plan = make_plan(folder)
    portable = portable_plan(plan)
    assert portable.table_identity == plan.table_identity
    for trial, before in zip(portable.trials, plan.trials, strict=True):
        assert portable_trial(before) == trial
        assert trial.identity == before.identity
        assert trial.measurement_identities == before.measurement_identities
    assert portable.suite.dataset.name == "mine"
    assert portable.suite.model.params["checkpoint"] == "initial.pt"
    assert portable.suite.variants["b"].model["checkpoint"] == "b.pt"
    assert portable.suite.variants["b"].dataset == {
        "name": "other",
        "label_noise": {"from": "labels.npy", "digest": "d3"},
    }
    assert folder not in portable.suite.model_dump_json()
    for column in portable.columns.values():
        assert column.evaluations[1].params == {"dataset": "others"}
        assert column.evaluations[1].other_digests == {"others": "d2"}
    assert portable.suite.evaluate[1].params == {"dataset": "others"}
    assert portable.changes[1] == "recipe.epochs=1/2"
    if not folder.startswith(".."):
        assert portable.changes[0] == "dataset=mine"


def test_a_measurement_is_the_same_from_another_folder() -> None:
    first, second, third = (make_plan(folder) for folder in ("/a", "/b/c", "."))
    identities = {plan.trials[0].measurement_identities for plan in (first, second, third)}
    assert len(identities) == 1
    named = PlannedEvaluation(name="x", params={"dataset": "o"}, other_digests={"o": "d2"})
    renamed = PlannedEvaluation(name="x", params={"dataset": "o"}, other_digests={"o": "d3"})
    assert named.identity("t") != renamed.identity("t")


def test_messages_lose_folders_but_nothing_else() -> None:
    trial = make_plan("/home/ada").trials[0]
    unknown = MeasurementRecord(
        identity="0" * 16,
        name="mine",
        params={"file": "/home/ada/x.npy", "rate": "1/2", "model": "hf/model"},
        metrics={},
        divergence="in /home/ada/code/mine.py: nan/inf at 3/4",
        device="cpu",
        environment={},
    )
    result = result_of(trial, 5.0).model_copy(update={"measurements": (unknown,)})
    [record] = portable_result(trial, result).measurements
    assert record.params == {"file": "x.npy", "rate": "1/2", "model": "hf/model"}
    assert record.divergence == "in mine.py: nan/inf at 3/4"


def test_paths_in_parameters_of_a_loss_are_part_of_the_identity() -> None:
    plan = make_plan("/home/ada")
    loss = LossEntry(name="mine", params={"file": "/home/ada/x.npy"})
    plan = replace(plan, rows=make_rows([loss], plan.suite))
    trial = plan.trials[0]
    assert portable_trial(trial).loss == loss.loss
    assert portable_trial(trial).identity == trial.identity

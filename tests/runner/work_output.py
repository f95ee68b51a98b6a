"""Output folder of `work`, and comparison of its archives with the files of a single trial."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossbench.archive.reading import Archive
from lossbench.planning.plan import Plan
from lossbench.planning.trial import Trial
from lossbench.records import TrialResult
from lossbench.runner.sharded_work import ShardedWork, WorkOutcome
from lossbench.runner.shards import Shard

NOWHERE = Path("/nonexistent/data")


class Folder:
    """Output folder of calls of `work`; counts the trainings in all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        self.trained: Counter[str] = Counter()
        path.mkdir()

    def work(self, plan: Plan, number: int = 1, count: int = 1, **options: Any) -> WorkOutcome:
        shard = Shard(number, count)
        made = ShardedWork(
            plan,
            shard,
            self.path,
            data_root=NOWHERE,
            device="cpu",
            log=self.lines.append,
            **options,
        )
        return made.run()

    @property
    def archives(self) -> dict[str, Archive]:
        return {i: a for a in map(Archive, self.path.glob("*.zip")) for i in a.results}

    def result(self, trial: Trial) -> TrialResult:
        return self.archives[trial.identity].results[trial.identity]

    def files(self, trial: Trial) -> dict[str, bytes]:
        return dict(self.archives[trial.identity].files(trial.identity))


def arrays_of(content: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
        return dict(loaded)


def assert_same(
    result: TrialResult, files: dict[str, bytes], expected: TrialResult, at: Path
) -> None:
    """Compare a result and its files with those of `run_trial`, to the last bit."""
    assert result.status == expected.status
    assert result.metrics == expected.metrics != {}
    assert result.weights_digest == expected.weights_digest != ""
    assert [(e.epoch, e.metrics) for e in result.history] == [
        (e.epoch, e.metrics) for e in expected.history
    ]
    own, theirs = (
        {r.identity: (r.name, r.params, r.metrics, r.artifacts) for r in each.measurements}
        for each in (result, expected)
    )
    assert own == theirs
    written = {str(path.relative_to(at)) for path in at.rglob("*") if path.is_file()}
    assert written == files.keys() - {"trial.json", "result.json"}
    for name in written - {"weights.pt"}:
        one, other = arrays_of(files[name]), arrays_of((at / name).read_bytes())
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    if "weights.pt" in files:
        one, other = (
            torch.load(source, weights_only=True)
            for source in (io.BytesIO(files["weights.pt"]), at / "weights.pt")
        )
        for part in ("model", "head"):
            assert one[part].keys() == other[part].keys()
            for key, tensor in one[part].items():
                assert torch.equal(tensor, other[part][key])

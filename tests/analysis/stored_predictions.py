"""Made-up predictions of three losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossbench.planning.plan import Plan

IMAGES = 400
BODY = "reference: softmax\nlosses: [softmax, center, lgm]\n"
RATES = {"softmax": 0.10, "center": 0.10, "lgm": 0.02}


def predictions(plan: Plan) -> Callable[[str, str], Mapping[str, Any] | None]:
    """A row errs at its rate, on images that are hard for all rows first."""
    labels = np.random.default_rng(0).integers(0, 10, IMAGES)
    trials = {t.identity: t for t in plan.trials}

    def read(identity: str, name: str) -> Mapping[str, Any] | None:
        if name != "predictions" or identity not in trials:
            return None
        trial = trials[identity]
        rng = np.random.default_rng([trial.seed, len(trial.row)])
        hardness = np.linspace(0, 2, IMAGES) * RATES[trial.row]
        return {"labels": labels, "predicted": labels + (rng.uniform(size=IMAGES) < hardness)}

    return read

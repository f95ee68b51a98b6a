"""Synthetic trials, without a plan."""

from __future__ import annotations

from lossbench.planning.trial import Trial
from lossbench.suite.schema import Component, DatasetChoice, Recipe

EPOCHS = 16
"""Default number of epochs; with early stopping the rungs are after epochs 10 and 12."""


def make_trial(
    row: str, seed: int, *, epochs: int = EPOCHS, loss: str = "lgm", variant: str = "2-D"
) -> Trial:
    """Held-out trial with early stopping."""
    recipe = Recipe(epochs=epochs, batch_size=2, optimizer=Component(name="sgd"))
    return Trial(
        suite="small",
        variant=variant,
        row=row,
        loss=Component(name=loss, params={"alpha": row}),
        model=Component(name="digits_cnn", params={"variant": variant}),
        recipe=recipe,
        augment=(),
        dataset=DatasetChoice(name="digits"),
        data_digest="",
        holdout=0.2,
        stop_early=True,
        evaluate=(),
        threads=1,
        workers=1,
        seed=seed,
    )

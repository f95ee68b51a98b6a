"""Error of the best epoch, as papers on noisy labels print it next to that of the last epoch."""

from __future__ import annotations

import math

from lossbench.evaluation.base import EVALUATIONS, IMAGES, Evaluation, Measurement, Trained
from lossbench.planning.best_epoch import BEST_ERROR, best_error
from lossbench.records import Metric


@EVALUATIONS.register(BEST_ERROR)
class BestError(Evaluation):
    """Smallest top-1 error over all epochs: the epoch is chosen on the test set itself.

    min_e error_e over the epochs e = 1, ..., E, with the error on the measured images after each
    epoch. Papers on noisy labels print it next to the error after the last epoch. It is too low:
    on average the minimum of E noisy errors is below the error of any epoch that is chosen without
    the test set, and more so with more epochs or fewer test images. Use it only to compare with
    numbers that were chosen in the same way.

    It is computed from the recorded epochs, so it can be added to a suite whose networks are
    trained, even if their weights are not stored.
    """

    needs_images = False

    def metrics(self) -> tuple[Metric, ...]:
        label = "error of the best epoch, chosen on the test set"
        return (
            Metric(name=BEST_ERROR, label=label, unit=IMAGES, group="accuracy", optimistic=True),
        )

    def __call__(self, trained: Trained) -> Measurement:
        error = best_error(trained.history, len(trained.history))
        if math.isnan(error):
            raise ValueError(
                "the errors of some epochs are not recorded; delete the run of this trial in "
                "MLflow to train it again"
            )
        return Measurement({BEST_ERROR: error})

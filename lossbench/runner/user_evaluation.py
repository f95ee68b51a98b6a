"""Run of an evaluation whose code is not part of lossbench, and which may do anything."""

from __future__ import annotations

import copy
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from lossbench.assembly.user_components import exit_as_error
from lossbench.errors import format_exception
from lossbench.evaluation import Evaluation, Measurement, Trained
from lossbench.evaluation.declarations import WrongMeasurementError, checked
from lossbench.training.trained_weights import weights_digest, weights_of


class EvaluationError(Exception):
    """Evaluations of a trained trial failed; their tracebacks are its note.

    Args:
        failures: `failures` of the trial's result.
    """

    def __init__(self, failures: Mapping[str, str]) -> None:
        super().__init__("; ".join(text.rpartition("\n")[2] for text in failures.values()))
        self.add_note("\n".join(failures.values()))


def measure_guarded(trained: Trained, evaluation: Evaluation) -> Measurement:
    """Run an evaluation, check its result, and restore the network for the evaluations after it.

    Raises:
        WrongMeasurementError: It returned something else than it declares, or it changed the
            weights of the network.
    """
    before = copy.deepcopy(weights_of(trained.model, trained.head))
    digest = weights_digest(before)
    try:
        # the features of a network that it has changed are not kept for the evaluations after it
        with exit_as_error():
            measurement = checked(evaluation, evaluation(copy.copy(trained)))
        if weights_digest(weights_of(trained.model, trained.head)) != digest:
            raise WrongMeasurementError("it changed the weights of the network")
        return measurement
    finally:
        for name, module in (("model", trained.model), ("head", trained.head)):
            module.load_state_dict(before[name])
            module.eval()


def failure_text(name: str, evaluation: Evaluation, error: Exception) -> str:
    """Traceback of a failed evaluation, and a last line with its name and the place in its file.

    Args:
        name: Name of the evaluation in the suite.
        evaluation: The evaluation.
        error: The exception that is being handled.
    """
    file = getattr(sys.modules.get(type(evaluation).__module__), "__file__", None)
    reason = format_exception(error, Path(file) if file else None)
    if isinstance(error, WrongMeasurementError):
        reason = str(error)
    return f"{''.join(traceback.format_exception(error))}\nevaluation {name}: {reason}"

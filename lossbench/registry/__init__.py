"""Registries: names of losses, models, evaluations, data sets, optimizers and so on.

The keyword-only arguments of a factory are its parameters. Their annotations define the valid
values, so a single signature gives the checks, the defaults and the output of `lossbench list`:

    @LOSSES.register("center", reference="Wen et al., ECCV 2016")
    class CenterHead(LossHead):
        def __init__(self, num_classes: int, feature_dim: int, *,
                     weight: Annotated[float, Field(ge=0)] = 0.003) -> None: ...
"""

from lossbench.registry.entry import Entry, make_entry, registering
from lossbench.registry.notation import Notation
from lossbench.registry.parameters import OMIT_DEFAULT, parameters_model, user_path
from lossbench.registry.registry import Library, Registry

__all__ = [
    "OMIT_DEFAULT",
    "Entry",
    "Library",
    "Notation",
    "Registry",
    "make_entry",
    "parameters_model",
    "registering",
    "user_path",
]

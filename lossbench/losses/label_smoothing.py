"""Label smoothing: softmax that aims at less than certainty."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, in_float32
from lossbench.losses.linear import LinearHead


@LOSSES.register("label_smoothing", reference="Szegedy et al., CVPR 2016")
class LabelSmoothingHead(LinearHead):
    """Softmax with smoothed labels: a share of each label is spread over all classes.

    L = -1/N sum_i sum_k ((1 - e) 1(k=z_i) + e/K) log softmax(W x_i + b)_k

    Args:
        num_classes: K.
        feature_dim: D.
        smoothing: e, in [0, 1). 0 is the softmax loss.

    Terms:
        cross_entropy: The mean over the batch, to the smoothed labels.

    Reference:
        Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for
        Computer Vision. CVPR 2016, Section 7.

    Deviations: none; as in the paper the spread share goes to the true class, too.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.smoothing = smoothing

    @in_float32
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        scores = self.linear(features)  # (N, K)
        loss = F.cross_entropy(scores, labels, label_smoothing=self.smoothing)
        return {"cross_entropy": loss}

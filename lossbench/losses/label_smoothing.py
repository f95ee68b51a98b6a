"""Label smoothing: cross-entropy with softened labels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, in_float32
from lossbench.losses.linear import LinearHead


@LOSSES.register(
    "label_smoothing",
    reference="Szegedy et al., CVPR 2016",
    title="Label smoothing",
    symbols={"smoothing": r"\epsilon"},
)
class LabelSmoothingHead(LinearHead):
    """Softmax loss with smoothed labels: a share of each label is spread over all classes.

    L = -1/N sum_i sum_k ((1 - e) 1(k=z_i) + e/K) log softmax(W x_i + b)_k

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        smoothing: Share e to spread, in [0, 1). 0 gives the softmax loss.

    Terms:
        cross_entropy: Mean cross-entropy of the batch with the smoothed labels.

    Reference:
        Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for
        Computer Vision. CVPR 2016, Section 7.

    Deviations: none. As in the paper, the true class receives a part of the spread share, too.
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

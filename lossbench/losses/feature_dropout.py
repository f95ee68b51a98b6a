"""Softmax cross-entropy with dropout of the features."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from lossbench.losses.base import LOSSES, in_float32
from lossbench.losses.linear import LinearHead


@LOSSES.register(
    "feature_dropout",
    reference="Srivastava et al., JMLR 2014; Kornblith et al., NeurIPS 2021",
    title="Dropout",
)
class FeatureDropoutHead(LinearHead):
    """Softmax loss on features of which a random part is set to 0.

    L = -1/N sum_i log softmax(W (m_i * x_i) / (1 - rate) + b)_{z_i}

    Each component of the masks m_i is 0 with probability `rate`, else 1. They are drawn from
    torch's global generator in training mode; in eval mode, and for the class scores, there is no
    dropout.

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        rate: Probability that a component of the features is dropped, in [0, 1). 0 gives the
            softmax loss. Kornblith et al. state rho = 1 - rate, the probability to keep it.

    Terms:
        cross_entropy: Mean cross-entropy of the batch, after dropout.

    Reference:
        Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov: Dropout: A Simple Way to Prevent
        Neural Networks from Overfitting. JMLR 2014.
        Kornblith, Chen, Lee, Norouzi: Why Do Better Loss Functions Lead to Less Transferable
        Features? NeurIPS 2021. The default is its value for ImageNet.

    Deviations: none known.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        rate: Annotated[float, Field(ge=0, lt=1)] = 0.3,
    ) -> None:
        super().__init__(num_classes, feature_dim)
        self.rate = rate

    @in_float32
    def terms(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if self.training:
            # float32 for features of any type, so that the masks do not depend on it
            drawn = torch.rand(features.shape, dtype=torch.float32, device=features.device)
            features = features * (drawn >= self.rate) / (1 - self.rate)  # (N, D)
        return {"cross_entropy": F.cross_entropy(self.linear(features), labels)}

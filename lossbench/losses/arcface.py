"""ArcFace: an additive margin on the angle."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from lossbench.losses.angular import AngularHead
from lossbench.losses.base import LOSSES


@LOSSES.register(
    "arcface",
    reference="Deng et al., CVPR 2019",
    title="ArcFace",
    symbols={"margin": "m", "scale": "s"},
)
class ArcFaceHead(AngularHead):
    """ArcFace: softmax loss on scaled cosines, with a margin added to the angle of the true class.

    L = -1/N sum_i log[ e^(s cos(theta_z + m)) / (e^(s cos(theta_z + m)) + sum_{k != z} e^(s cos theta_k)) ]
    cos theta_k = w_k^T x_i / (||w_k|| ||x_i||),  z = z_i  (Eq. 3)

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        margin: m in radians, in [0, pi/2]. 0 gives a softmax loss on scaled cosines.
        scale: s, > 0. Small networks and data sets need less than the paper's 64.

    Terms:
        cross_entropy: Mean cross-entropy of the batch, of the scores with margin.

    Reference:
        Deng, Guo, Xue, Zafeiriou: ArcFace: Additive Angular Margin Loss for Deep Face
        Recognition. CVPR 2019.

    Deviations:
        - For theta > pi - m, where cos(theta + m) would increase again, the score continues as
          cos theta - m sin m, as in the authors' code; the paper does not mention this case.
    """  # noqa: E501

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        margin: Annotated[float, Field(ge=0, le=math.pi / 2)] = 0.5,
        scale: Annotated[float, Field(gt=0)] = 64.0,
    ) -> None:
        super().__init__(num_classes, feature_dim, scale)
        self.margin = margin

    def margin_cosine(self, cos_half: Tensor, sin_half: Tensor) -> Tensor:
        cosine, sine = cos_half**2 - sin_half**2, 2 * cos_half * sin_half  # (N,)
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = cosine - self.margin * math.sin(self.margin)
        return torch.where(cosine > math.cos(math.pi - self.margin), turned, beyond)

"""CosFace and additive-margin softmax: two papers with one formula, a margin on the cosine."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from lossbench.losses.angular import AngularHead
from lossbench.losses.base import LOSSES


@LOSSES.register(
    "cosface",
    reference="Wang, Wang, et al., CVPR 2018",
    title="CosFace",
    symbols={"margin": "m", "scale": "s"},
)
class CosFaceHead(AngularHead):
    """CosFace: softmax loss on scaled cosines, with a margin subtracted from that of the true class.

    L = -1/N sum_i log[ e^(s (cos theta_z - m)) / (e^(s (cos theta_z - m)) + sum_{k != z} e^(s cos theta_k)) ]
    cos theta_k = w_k^T x_i / (||w_k|| ||x_i||),  z = z_i  (Eq. 4)

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        margin: m, in [0, 2]. 0 gives a softmax loss on scaled cosines. The paper's upper bound for K
            classes is K / (K - 1).
        scale: s, > 0. Small networks and data sets need less than the paper's 64.

    Terms:
        cross_entropy: Mean cross-entropy of the batch, of the scores with margin.

    Reference:
        Wang, Wang, Zhou, Ji, Gong, Zhou, Li, Liu: CosFace: Large Margin Cosine Loss for Deep
        Face Recognition. CVPR 2018.

    Deviations: none.
    """  # noqa: E501

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        margin: Annotated[float, Field(ge=0, le=2)] = 0.35,
        scale: Annotated[float, Field(gt=0)] = 64.0,
    ) -> None:
        super().__init__(num_classes, feature_dim, scale)
        self.margin = margin

    def margin_cosine(self, cos_half: Tensor, sin_half: Tensor) -> Tensor:
        return cos_half**2 - sin_half**2 - self.margin


@LOSSES.register(
    "am_softmax",
    reference="Wang, Cheng, Liu & Liu, IEEE SPL 2018",
    title="AM-Softmax",
    symbols={"margin": "m", "scale": "s"},
)
class AMSoftmaxHead(CosFaceHead):
    """Additive-margin softmax: the formula of CosFace, published independently, with scale 30.

    L = -1/N sum_i log[ e^(s (cos theta_z - m)) / (e^(s (cos theta_z - m)) + sum_{k != z} e^(s cos theta_k)) ]
    cos theta_k = w_k^T x_i / (||w_k|| ||x_i||),  z = z_i  (Eq. 6)

    Args:
        num_classes: K, at least 2.
        feature_dim: D, at least 1.
        margin: m, in [0, 2]. 0 gives a softmax loss on scaled cosines.
        scale: s, > 0.

    Terms:
        cross_entropy: Mean cross-entropy of the batch, of the scores with margin.

    Reference:
        Wang, Cheng, Liu, Liu: Additive Margin Softmax for Face Verification. IEEE Signal
        Processing Letters 2018.

    Deviations: none.
    """  # noqa: E501

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        *,
        margin: Annotated[float, Field(ge=0, le=2)] = 0.35,
        scale: Annotated[float, Field(gt=0)] = 30.0,
    ) -> None:
        super().__init__(num_classes, feature_dim, margin=margin, scale=scale)

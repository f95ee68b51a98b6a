"""Residual networks of torchvision for large images, without the classifier."""

from __future__ import annotations

from torch import nn

from lossbench.models.base import MODELS, Backbone, ImageShape, require_side


@MODELS.register("resnet101", reference="He et al., CVPR 2016, Sect. 4.1")
def resnet101(image_shape: ImageShape) -> Backbone:
    """ResNet-101 for ImageNet; features of 2,048 dimensions.

    Args:
        image_shape: (3, H, W), H and W at least 32.

    Raises:
        ValueError: The images are too small, or do not have 3 channels.

    Reference: He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016.

    Deviations: those of torchvision, whose network is used unchanged. The stride of a bottleneck
        is in its 3x3 convolution, in the paper in the 1x1 convolution before it. Weights are
        initialised by fan-out (He et al., ICCV 2015).
    """
    return _body("resnet101", image_shape)


@MODELS.register("resnet18", reference="He et al., CVPR 2016, Sect. 4.1")
def resnet18(image_shape: ImageShape) -> Backbone:
    """ResNet-18 for ImageNet; features of 512 dimensions.

    Args:
        image_shape: (3, H, W), H and W at least 32.

    Raises:
        ValueError: The images are too small, or do not have 3 channels.

    Reference: as for `resnet101`.

    Deviations: weights are initialised by fan-out, as in torchvision.
    """
    return _body("resnet18", image_shape)


def _body(name: str, image_shape: ImageShape) -> Backbone:
    from lossbench.data.torchvision import torchvision

    require_side(name, image_shape, 32)
    if image_shape[0] != 3:
        raise ValueError(f"{name} needs images of 3 channels, not {image_shape[0]}")
    network = getattr(torchvision.models, name)(weights=None)
    feature_dim = network.fc.in_features
    network.fc = nn.Identity()
    return Backbone(network, feature_dim)

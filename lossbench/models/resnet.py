"""Residual networks for large images: torchvision's, without the classifier."""

from __future__ import annotations

from torch import nn

from lossbench.models.base import MODELS, Backbone, ImageShape, require_side


@MODELS.register("resnet101", reference="He et al., CVPR 2016, Sect. 4.1")
def resnet101(image_shape: ImageShape) -> Backbone:
    """ResNet-101 for ImageNet; features of 2,048 dimensions.

    Args:
        image_shape: (3, H, W), H and W at least 32.

    Reference: He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016.

    Deviations: torchvision's body strides in the 3x3 convolution of a bottleneck, the paper in
        the 1x1 before it. Weights start as torchvision's do (He et al., ICCV 2015, by fan-out).
    """
    return _body("resnet101", image_shape)


@MODELS.register("resnet18", reference="He et al., CVPR 2016, Sect. 4.1")
def resnet18(image_shape: ImageShape) -> Backbone:
    """ResNet-18 for ImageNet; features of 512 dimensions. See `resnet101`."""
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

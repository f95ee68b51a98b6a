"""Import torchvision, even with a torch without CUDA.

PyPI's torchvision is built for CUDA. With a CPU-only torch its import fails with `operator
torchvision::nms does not exist`, because it registers fake kernels for two operators of a library
that cannot be loaded then. Defining the schemas of these operators first makes the import succeed:
data sets, transforms and models work, and the two operators have no implementation.
"""

from __future__ import annotations

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    _library = torch.library.Library(
        "torchvision", "DEF"
    )  # kept, because the schemas exist as long as it does
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

from torchvision.transforms.v2 import functional

__all__ = ["functional", "torchvision"]

"""Import torchvision, also beside a torch without CUDA.

PyPI's torchvision is built for CUDA. Beside a CPU-only torch its import stops at `operator
torchvision::nms does not exist`, because it registers fake kernels for two operators that its
library, which cannot be loaded then, would have defined. Defining their schemas first cures
it; data sets, transforms and models work, and the two operators stay without an implementation.
"""

from __future__ import annotations

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    _library = torch.library.Library("torchvision", "DEF")  # kept: the schemas live as long
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

from torchvision.transforms.v2 import functional

__all__ = ["functional", "torchvision"]

from __future__ import annotations

import torch

from lossbench.runner.measurement import features_are_constant


def test_identical_features_are_detected() -> None:
    features = 5 + torch.randn(100, 3)
    assert not features_are_constant(features)
    assert features_are_constant(features[:1].repeat(100, 1))
    assert features_are_constant(torch.zeros(100, 3))
    assert not features_are_constant(torch.cat([torch.zeros(99, 3), torch.ones(1, 3)]))

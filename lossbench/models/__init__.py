"""Models, one architecture one file. Importing this package fills the registry."""

from lossbench.models import digits_cnn as digits_cnn
from lossbench.models import mnist_cnn as mnist_cnn
from lossbench.models.base import MODELS

__all__ = ["MODELS"]

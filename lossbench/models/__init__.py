"""Models, one file per architecture. Importing this package fills the registry."""

from lossbench.models import cnn8 as cnn8
from lossbench.models import digits_cnn as digits_cnn
from lossbench.models import face_resnet as face_resnet
from lossbench.models import mnist_cnn as mnist_cnn
from lossbench.models import resnet as resnet
from lossbench.models import resnet_cifar as resnet_cifar
from lossbench.models import timm_backbones as timm_backbones
from lossbench.models import torchvision_backbones as torchvision_backbones
from lossbench.models import vectors as vectors
from lossbench.models import vgg13 as vgg13
from lossbench.models.base import MODELS, Backbone

__all__ = ["MODELS", "Backbone"]

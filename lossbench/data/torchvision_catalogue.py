"""Table of torchvision's classification data sets, and of those that cannot be used here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

REFERENCE = "TorchVision maintainers and contributors: TorchVision, 2016"
"""Citation of torchvision itself."""
Parts = Mapping[str, Mapping[str, Any]]
"""Part of the data set, `train`, `val` or `test` -> arguments of the class; only `all` if it has no
official split."""


class LibraryDataset(NamedTuple):
    """Data set of torchvision.

    Attributes:
        kind: Name of its class.
        parts: Its parts.
        description: Line for listings.
        reference: Paper.
        options: Further arguments of the class.
        is_folder: Whether it becomes an image folder instead of arrays.
        files: Files in the download folder, for data sets that cannot be downloaded.
    """

    kind: str
    parts: Parts
    description: str
    reference: str
    options: Mapping[str, Any] = {}
    is_folder: bool = False
    files: tuple[str, ...] = ()


def _splits(**names: str) -> Parts:
    return {part: {"split": name} for part, name in names.items()}


_TRAIN_FLAG: Parts = {"train": {"train": True}, "test": {"train": False}}
_TRAIN_TEST = _splits(train="train", test="test")
_VALIDATED = _splits(train="train", val="val", test="test")
_TRAIN_VAL = _splits(train="train", val="val")
_WHOLE: Parts = {"all": {}}

_FGVC = "Maji et al., 2013"
_CARS = (
    *("cars_train/00001.jpg", "cars_test/00001.jpg", "cars_test_annos_withlabels.mat"),
    *("devkit/cars_meta.mat", "devkit/cars_train_annos.mat"),
)
_EMNIST = {
    "balanced": "131,600 digits and letters 28x28, 47 classes",
    "byclass": "814,255 digits and letters 28x28, 62 classes",
    "bymerge": "814,255 digits and letters 28x28, 47 classes",
    "digits": "280,000 digits 28x28, 10 classes",
    "letters": "145,600 letters 28x28, 26 classes",
    "mnist": "70,000 digits 28x28, 10 classes",
}

CATALOGUE: dict[str, LibraryDataset] = {
    "CLEVRClassification": LibraryDataset(
        "CLEVRClassification",
        _TRAIN_VAL,
        "85,000 rendered scenes, by number of objects",
        "Johnson et al., CVPR 2017",
        is_folder=True,
    ),
    "Caltech101": LibraryDataset(
        "Caltech101",
        _WHOLE,
        "8,677 images of 101 classes",
        "Fei-Fei et al., CVPR workshops 2004",
        is_folder=True,
    ),
    "Caltech256": LibraryDataset(
        "Caltech256",
        _WHOLE,
        "30,607 images of 257 classes",
        "Griffin et al., 2007",
        is_folder=True,
    ),
    "Country211": LibraryDataset(
        "Country211",
        _splits(train="train", val="valid", test="test"),
        "63,300 photographs from 211 countries",
        "Radford et al., ICML 2021",
        is_folder=True,
    ),
    "DTD": LibraryDataset(
        "DTD",
        _VALIDATED,
        "5,640 textures of 47 classes; the first of its ten partitions",
        "Cimpoi et al., CVPR 2014",
        is_folder=True,
    ),
    **{
        f"EMNIST.{split}": LibraryDataset(
            "EMNIST",
            _TRAIN_FLAG,
            f"{text}; rows and columns swapped, as in its files",
            "Cohen et al., 2017",
            {"split": split},
        )
        for split, text in _EMNIST.items()
    },
    "EuroSAT": LibraryDataset(
        "EuroSAT", _WHOLE, "27,000 satellite images 64x64x3, 10 classes", "Helber et al., 2019"
    ),
    "FER2013": LibraryDataset(
        "FER2013",
        _TRAIN_TEST,
        "35,887 faces 48x48, 7 expressions",
        "Goodfellow et al., ICONIP 2013",
        files=("fer2013/fer2013.csv",),
    ),
    **{
        f"FGVCAircraft{suffix}": LibraryDataset(
            "FGVCAircraft",
            _VALIDATED,
            f"10,000 aircraft, by {level}",
            _FGVC,
            {"annotation_level": level},
            is_folder=True,
        )
        for suffix, level in (
            ("", "variant"),
            (".family", "family"),
            (".manufacturer", "manufacturer"),
        )
    },
    "FashionMNIST": LibraryDataset(
        "FashionMNIST", _TRAIN_FLAG, "70,000 articles 28x28, 10 classes", "Xiao et al., 2017"
    ),
    "Flowers102": LibraryDataset(
        "Flowers102",
        _VALIDATED,
        "8,189 flowers of 102 classes",
        "Nilsback & Zisserman, ICVGIP 2008",
        is_folder=True,
    ),
    "Food101": LibraryDataset(
        "Food101",
        _TRAIN_TEST,
        "101,000 dishes of 101 classes",
        "Bossard et al., ECCV 2014",
        is_folder=True,
    ),
    "GTSRB": LibraryDataset(
        "GTSRB",
        _TRAIN_TEST,
        "39,270 traffic signs of 43 classes",
        "Stallkamp et al., 2012",
        is_folder=True,
    ),
    **{
        f"Imagenette{suffix}": LibraryDataset(
            "Imagenette",
            _TRAIN_VAL,
            f"13,394 images of 10 classes of ImageNet{text}",
            "Howard, 2019",
            {"size": size},
            is_folder=True,
        )
        for suffix, size, text in (
            ("", "full", ""),
            (".160px", "160px", ", shorter side 160"),
            (".320px", "320px", ", shorter side 320"),
        )
    },
    "KMNIST": LibraryDataset(
        "KMNIST", _TRAIN_FLAG, "70,000 hiragana 28x28, 10 classes", "Clanuwat et al., 2018"
    ),
    "OxfordIIITPet": LibraryDataset(
        "OxfordIIITPet",
        _splits(train="trainval", test="test"),
        "7,349 cats and dogs of 37 breeds",
        "Parkhi et al., CVPR 2012",
        is_folder=True,
    ),
    "PCAM": LibraryDataset(
        "PCAM",
        _VALIDATED,
        "327,680 tissue sections 96x96x3, 2 classes; needs 10 GB of memory, gdown and h5py",
        "Veeling et al., MICCAI 2018",
    ),
    "QMNIST": LibraryDataset(
        "QMNIST", _TRAIN_FLAG, "120,000 digits 28x28, 10 classes", "Yadav & Bottou, NeurIPS 2019"
    ),
    "RenderedSST2": LibraryDataset(
        "RenderedSST2",
        _VALIDATED,
        "9,613 rendered sentences 448x448x3, 2 sentiments",
        "Radford et al., ICML 2021",
        is_folder=True,
    ),
    "SEMEION": LibraryDataset(
        "SEMEION", _WHOLE, "1,593 digits 16x16, 10 classes", "Buscema et al., 1994"
    ),
    "STL10": LibraryDataset(
        "STL10", _TRAIN_TEST, "13,000 images 96x96x3, 10 classes", "Coates et al., AISTATS 2011"
    ),
    "SUN397": LibraryDataset(
        "SUN397",
        _WHOLE,
        "108,754 scenes of 397 classes",
        "Xiao et al., CVPR 2010",
        is_folder=True,
    ),
    "SVHN": LibraryDataset(
        "SVHN", _TRAIN_TEST, "99,289 house numbers 32x32x3, 10 classes", "Netzer et al., 2011"
    ),
    "StanfordCars": LibraryDataset(
        "StanfordCars",
        _TRAIN_TEST,
        "16,185 cars of 196 models",
        "Krause et al., 3dRR 2013",
        is_folder=True,
        files=tuple(f"stanford_cars/{file}" for file in _CARS),
    ),
    "USPS": LibraryDataset("USPS", _TRAIN_FLAG, "9,298 digits 16x16, 10 classes", "Hull, 1994"),
}
"""Name after `torchvision.` -> data set."""

_LABELS = "its images do not have one label each"
_PAIRS = "it has pairs of images, or optical flow"
_VIDEOS = "it has videos"
_FORMAT = "it has no data of its own; see the guide on your own data"
_LARGE = "it is too large to be copied; make an image folder of it, with train/CLASS and val/CLASS"
UNSUPPORTED: dict[str, str] = {
    **dict.fromkeys(("CelebA", "Cityscapes", "CocoCaptions", "CocoDetection"), _LABELS),
    **dict.fromkeys(("Flickr30k", "Flickr8k", "Kitti", "SBDataset", "SBU"), _LABELS),
    **dict.fromkeys(("VOCDetection", "VOCSegmentation", "WIDERFace"), _LABELS),
    **dict.fromkeys(("CREStereo", "CarlaStereo", "ETH3DStereo", "FallingThingsStereo"), _PAIRS),
    **dict.fromkeys(("FlyingChairs", "FlyingThings3D", "HD1K", "InStereo2k"), _PAIRS),
    **dict.fromkeys(("Kitti2012Stereo", "Kitti2015Stereo", "KittiFlow"), _PAIRS),
    **dict.fromkeys(("Middlebury2014Stereo", "PhotoTour", "SceneFlowStereo"), _PAIRS),
    **dict.fromkeys(("Sintel", "SintelStereo"), _PAIRS),
    **dict.fromkeys(("HMDB51", "Kinetics", "MovingMNIST", "UCF101"), _VIDEOS),
    **dict.fromkeys(("DatasetFolder", "FakeData", "ImageFolder", "VisionDataset"), _FORMAT),
    **dict.fromkeys(("wrap_dataset_for_transforms_v2",), _FORMAT),
    **dict.fromkeys(("INaturalist", "LSUN", "LSUNClass", "Places365"), _LARGE),
    "CIFAR10": "its name here is cifar10",
    "CIFAR100": "its name here is cifar100",
    "EMNIST": f"choose one of its parts: EMNIST.{', EMNIST.'.join(sorted(_EMNIST))}",
    "ImageNet": "its name here is imagenet",
    "LFWPairs": "its name here is lfw",
    "LFWPeople": "its name here is lfw_within",
    "MNIST": "its name here is mnist",
    "Omniglot": "the classes of its two parts differ",
}
"""Names of torchvision.datasets that cannot be used -> reason."""

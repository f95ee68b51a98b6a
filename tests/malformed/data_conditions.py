"""Wrong conditions of the training data: label noise, imbalance, images per class."""

from __future__ import annotations

from tests.malformed.corpus import Case, edited


def condition(name: str, keys: str, *expected: str) -> Case:
    """Keys next to the name of the data set, in the second line of the suite."""
    first, *rest = expected
    return edited(
        name,
        "dataset: digits",
        f"dataset: {{name: digits, {keys}}}",
        f"error: bad.yaml:2: dataset.{first}",
        *rest,
    )


DATA_CONDITIONS = [
    condition("two kinds of noise", "label_noise: {symmetric: 0.2, asymmetric: 0.2}", "label_noise: should have one of 'symmetric', 'asymmetric' and 'from', not 'symmetric' and 'asymmetric'"),
    condition("no kind of noise", "label_noise: {seed: 3}", "label_noise: should have one of 'symmetric', 'asymmetric' and 'from'"),
    condition("noise as a number", "label_noise: 0.4", "label_noise: should be a mapping, not 0.4"),
    condition("an unknown kind of noise", "label_noise: {symetric: 0.4}", "label_noise.symetric: unknown key; did you mean 'symmetric'"),
    condition("all labels wrong", "label_noise: {symmetric: 1}", "label_noise.symmetric: should be less than 1, not 1"),
    condition("a negative rate", "label_noise: {symmetric: -0.1}", "label_noise.symmetric: should be greater than or equal to 0, not -0.1"),
    condition("noise not a number", "label_noise: {symmetric: .nan}", "label_noise.symmetric: should be"),
    condition("noise true", "label_noise: {asymmetric: true}", "label_noise.asymmetric: should be a rate, or a mapping with a rate and a map, not True"),
    condition("a rate of 1 for a map", "label_noise: {asymmetric: 1.5}", "label_noise.asymmetric.rate: should be less than 1, not 1.5"),
    condition("a map without a rate", "label_noise: {asymmetric: {map: mnist}}", "label_noise.asymmetric.rate: missing"),
    condition("an unknown key of a map", "label_noise: {asymmetric: {rate: 0.1, maps: mnist}}", "label_noise.asymmetric.maps: unknown key; did you mean 'map'"),
    condition("a map of another data set", "label_noise: {asymmetric: 0.2}", "label_noise.asymmetric: digits has no usual map (known: cifar10, cifar100, mnist)"),
    condition("an incomplete map", 'label_noise: {asymmetric: {rate: 0.1, map: {"3": "8"}}}', "label_noise.asymmetric.map: leaves out 9 of 10 classes: 0, 1, 2, 4, 5, 6 and 3 more", "unmapped: keep"),
    condition("a class that is none", 'label_noise: {asymmetric: {rate: 0.1, map: {"3": x}, unmapped: keep}}', "label_noise.asymmetric.map: no class is named 'x'"),
    condition("a map to a list", "label_noise: {asymmetric: {rate: 0.1, map: {3: [8]}}}", "label_noise.asymmetric.map"),
    condition("a target that is left out", 'classes: ["2", "3"], label_noise: {asymmetric: {rate: 0.1, map: mnist}}', "label_noise.asymmetric.map: `classes` leaves out classes that others are changed to: 2 -> 7, 3 -> 8"),
    condition("a key without a file", "label_noise: {symmetric: 0.1, key: worse_label}", "label_noise: 'key' is only for labels 'from' a file"),
    condition("a seed with a file", "label_noise: {from: a.npy, seed: 3}", "label_noise: 'seed' is only for labels that are drawn"),
    condition("a negative seed of noise", "label_noise: {symmetric: 0.1, seed: -1}", "label_noise.seed: should be greater than or equal to 0"),
    condition("no such file of labels", "label_noise: {from: a.npy}", "label_noise.from: ", "data/a.npy: no such file"),
    condition("a file of labels that is a suite", "label_noise: {from: ./bad.yaml}", "label_noise.from: ", "bad.yaml: should end with one of .csv"),
    condition("two kinds of imbalance", "imbalance: {long_tail: 10, step: 10}", "imbalance: should have one of 'long_tail' and 'step', not 'long_tail' and 'step'"),
    condition("no kind of imbalance", "imbalance: {}", "imbalance: should have one of 'long_tail' and 'step'"),
    condition("a ratio below 1", "imbalance: {long_tail: 0.5}", "imbalance.long_tail: should be greater than or equal to 1, not 0.5"),
    condition("an infinite ratio", "imbalance: {step: .inf}", "imbalance.step: should be a finite number"),
    condition("a class without images", "imbalance: {long_tail: 500}", "imbalance.long_tail: 500 leaves 0 of the 119 training images of class 7"),
    condition("an unknown imbalance", "imbalance: {longtail: 10}", "imbalance.longtail: unknown key; did you mean 'long_tail'"),
    condition("more than a class has", "per_class: 1000", "per_class: 1,000 are more than the 116 training images of class 8"),
    condition("no images per class", "per_class: 0", "per_class: should be greater than or equal to 1, not 0"),
    condition("two sizes", "per_class: 10, train_size: 100", "per_class: cannot be given together with train_size"),
    condition("more than an imbalance leaves", "imbalance: {step: 10}, train_size: 1000", "train_size: 1000 images were requested, but there are only 645"),
    edited("holdout labels as a share", "seeds:", "selection: {holdout_labels: 0.2}\nseeds:", "bad.yaml:8: selection.holdout_labels: should be 'noisy' or 'clean', not 0.2"),
]  # fmt: skip

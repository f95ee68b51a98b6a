"""The contract of a loss: one function per check, none of which refers to a loss by name."""

from __future__ import annotations

import re
import typing
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from lossbench.conformance.learning import densities, learning
from lossbench.conformance.numerics import autocast, finite, gradient, reach
from lossbench.conformance.subject import (
    Check,
    CheckFailedError,
    CheckSkippedError,
    K,
    N,
    Subject,
    batch,
    format_scalar,
    is_close,
    seeded_loss,
    set_sample_indices,
)
from lossbench.losses import LossHead, ParameterGroup, shares_scores
from lossbench.losses.base import Need

RESERVED_TERMS = frozenset({"loss", "error", "time_sec"})
"""Names that the training loop records itself, as `train_NAME`."""


def order(subject: Subject) -> None:
    """The loss depends on the labels, but not on the order of the batch."""
    head = subject.partly_trained().double()
    features, labels = batch()
    features = features.double()
    before = seeded_loss(head, features, labels)
    others = (labels + (torch.arange(N) < 3)) % K
    if torch.equal(before, seeded_loss(head, features, others)):
        raise CheckFailedError(f"the loss is {format_scalar(before)} for other labels as well")
    permutation = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    after = seeded_loss(head, features[permutation], labels[permutation], permutation)
    if is_close(before, after):
        return
    set_sample_indices(head, torch.arange(N))
    if not torch.equal(head(features, labels), head(features, labels)):
        raise CheckSkippedError("it draws random numbers for each sample")
    raise CheckFailedError(
        f"the loss is {format_scalar(before)}, but {format_scalar(after)} in another order"
    )


def terms(subject: Subject) -> None:
    """terms() returns named scalars, and the loss is their sum."""
    head = subject.partly_trained()
    features, labels = batch()
    torch.manual_seed(0)  # as `seeded_loss` does
    found = head.terms(features, labels)
    if not isinstance(found, dict) or not found:
        raise CheckFailedError(
            f"terms() should return a dict of scalars by name, not a {type(found).__name__}"
        )
    for name, term in found.items():
        if not isinstance(term, Tensor) or term.shape != ():
            what = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
            raise CheckFailedError(f"term {name!r} should be a scalar tensor, not {what}")
        if name in RESERVED_TERMS or not re.fullmatch(r"\w+", name):
            problem = (
                "is used by the training loop"
                if name in RESERVED_TERMS
                else "has characters other than letters, digits and _"
            )
            raise CheckFailedError(f"the name {name!r} of a term {problem}; use another one")
    loss, total = seeded_loss(head, features, labels), torch.stack(list(found.values())).sum()
    if loss.shape != () or not is_close(loss, total):
        raise CheckFailedError(
            f"the loss is {format_scalar(loss)}, but its terms add up to {format_scalar(total)}"
        )


def scores(subject: Subject) -> None:
    """terms_and_scores() returns the terms, and scores with the same posterior as logits()."""
    head = subject.partly_trained()
    features, labels = batch()
    torch.manual_seed(0)
    expected = head.terms(features, labels)
    torch.manual_seed(0)
    found, shared = head.terms_and_scores(features, labels)
    if not shares_scores(head) or shared is None:
        raise CheckSkippedError("it returns no scores with its terms")
    if found.keys() != expected.keys() or any(
        not is_close(term, expected[name]) for name, term in found.items()
    ):
        raise CheckFailedError("the terms of terms_and_scores() are not those of terms()")
    if shared.shape != (N, K):
        raise CheckFailedError(
            f"scores of {N} samples and {K} classes have shape {tuple(shared.shape)}"
        )
    posterior, wanted = shared.log_softmax(1), head.logits(features).log_softmax(1)
    if not is_close(posterior, wanted):
        difference = (posterior - wanted).abs().max()
        raise CheckFailedError(
            "the scores of terms_and_scores() should have the posterior of logits(), but their "
            f"log-probabilities differ by {format_scalar(difference)}"
        )


def purity(subject: Subject) -> None:
    """forward and logits change no state: no parameter, no buffer, no attribute."""
    head = subject.partly_trained()
    before = _all_tensors(head)
    first = seeded_loss(head, *batch())
    seeded_loss(head, *batch(seed=5))
    head.logits(batch(seed=5)[0])
    after = _all_tensors(head)
    changed = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    if torch.equal(_drawn_after(head, 1), _drawn_after(head, 2)):
        raise CheckFailedError(
            "the global random generator is in the same state after every forward: forward seeds "
            "it, which fixes all later random numbers; use a torch.Generator of the head's own"
        )
    if changed:
        raise CheckFailedError(
            f"forward or logits changed {', '.join(changed)}; updates belong in after_step"
        )
    again = seeded_loss(head, *batch())
    if not torch.equal(first, again):
        raise CheckFailedError(
            f"the loss of a batch is {format_scalar(first)}, but {format_scalar(again)} after "
            "another batch (same random seed): forward changes hidden state; updates belong in "
            "after_step"
        )


def _drawn_after(head: LossHead, seed: int) -> Tensor:
    torch.manual_seed(seed)
    head(*batch())
    return torch.rand(4)


def state(subject: Subject) -> None:
    """The state dict has all state: a head that loads it continues exactly like the original."""
    features, labels = batch()
    head, other = subject.partly_trained(), subject.fresh(seed=3)
    head.after_step(features, labels.clamp_max(1))  # classes of unequal counts
    other.load_state_dict(head.state_dict())
    expected, found = seeded_loss(head, features, labels), seeded_loss(other, features, labels)
    quantity = "loss"
    if torch.equal(expected, found):
        expected, found = head.logits(features).sum(), other.logits(features).sum()
        quantity = "sum of the logits"
    if not torch.equal(expected, found):
        saved = set(head.state_dict())
        missing = [name for name in _all_tensors(head) if name not in saved]
        hint = "some state is not in the state dict; use register_buffer"
        if missing:
            hint = f"{', '.join(missing)} is not in the state dict; use register_buffer"
        raise CheckFailedError(
            f"after load_state_dict the {quantity} is {format_scalar(found)} instead of "
            f"{format_scalar(expected)}: {hint}"
        )


def pickling(subject: Subject) -> None:
    """The head can be pickled, which sending it to another process requires."""
    import pickle

    head = subject.partly_trained()
    copy = pickle.loads(pickle.dumps(head))
    before, after = seeded_loss(head, *batch()), seeded_loss(copy, *batch())
    if not torch.equal(before, after):
        raise CheckFailedError(
            f"the loss is {format_scalar(before)}, but {format_scalar(after)} after pickling"
        )


def optimizer(subject: Subject) -> None:
    """Every learnable parameter is in exactly one parameter group."""
    head = subject.partly_trained()
    groups = head.parameter_groups()
    names = {id(p): name for name, p in head.named_parameters() if p.requires_grad}
    times: Counter[int] = Counter()
    for group in groups:
        if not isinstance(group, ParameterGroup):
            raise CheckFailedError(
                f"parameter_groups() should return ParameterGroups, not a {type(group).__name__}"
            )
        if not group.parameters or not group.lr_scale > 0:
            raise CheckFailedError("a parameter group is empty, or its lr_scale is not above 0")
        times.update(id(p) for p in group.parameters)
    missing = [name for key, name in names.items() if key not in times]
    twice = [name for key, name in names.items() if times[key] > 1]
    if missing:
        raise CheckFailedError(f"{', '.join(missing)} is in no group: it would never be trained")
    if twice:
        raise CheckFailedError(f"{', '.join(twice)} is in two groups")
    hidden = _leaves(head(*batch())) - set(names)
    if hidden:
        raise CheckFailedError(
            f"tensors that are not parameters of the head get a gradient ({len(hidden)}); if "
            "they are in a list or dict, use nn.ParameterList, so that they are trained and saved"
        )
    if set(times) - set(names):
        raise CheckFailedError("a group has a tensor that is not a learnable parameter of the head")


def logits(subject: Subject) -> None:
    """Logits are finite, one per class, and depend only on the features of their own sample."""
    head = subject.partly_trained()
    features, labels = batch()
    scores = head.logits(features)
    if scores.shape != (N, K):
        raise CheckFailedError(
            f"logits of {N} samples and {K} classes have shape {tuple(scores.shape)}"
        )
    if not torch.isfinite(scores).all():
        raise CheckFailedError(
            f"{int((~torch.isfinite(scores)).sum())} of {N * K} logits are not finite"
        )
    subset_scores = head.logits(features[:3])
    if not is_close(subset_scores, scores[:3]):
        difference = (subset_scores - scores[:3]).abs().max()
        raise CheckFailedError(
            f"the logits of three samples differ by {format_scalar(difference)} in a larger batch"
        )
    log_odds = head.log_odds(features, labels)
    if log_odds.shape != (N,) or not torch.isfinite(log_odds).all():
        raise CheckFailedError(f"log_odds() of {N} samples should be {N} finite numbers")


def schedules(subject: Subject) -> None:
    """set_progress changes the buffers that schedules() declares, and nothing else."""
    head = subject.fresh()
    declared = head.schedules()
    unknown = set(declared) - {name for name, _ in head.named_buffers()}
    if unknown:
        raise CheckFailedError(f"{', '.join(sorted(unknown))} is scheduled, but is not a buffer")
    before = _all_tensors(head)
    head.set_progress(0.7)
    after = _all_tensors(head)
    for name, tensor in after.items():
        if name not in declared and not torch.equal(tensor, before[name]):
            raise CheckFailedError(
                f"set_progress changes {name}, which schedules() does not declare"
            )
    for name, value_at in declared.items():
        wanted = torch.full_like(after[name], value_at(0.7))
        if not is_close(after[name], wanted):
            raise CheckFailedError(
                f"{name} is {format_scalar(after[name])} at progress 0.7, "
                f"not {format_scalar(wanted)}"
            )


def sizes(subject: Subject) -> None:
    """Any number of classes >= 2 and any feature dimension >= 1 is possible."""
    for classes, dimension in ((2, 1), (2, 2), (11, 3)):
        head = subject.fresh(classes, dimension)
        declared = (head.num_classes, head.feature_dim)
        if declared != (classes, dimension):
            raise CheckFailedError(
                f"num_classes and feature_dim are {declared} instead of {(classes, dimension)}: "
                "pass them to super().__init__"
            )
        features = torch.randn(6, dimension, generator=torch.Generator().manual_seed(0))
        loss, scores = seeded_loss(head, features, torch.arange(6) % 2), head.logits(features)
        if not torch.isfinite(loss).all() or scores.shape != (6, classes):
            raise CheckFailedError(
                f"with {classes} classes and {dimension} features, the loss of 6 samples is "
                f"{format_scalar(loss)} and their logits have shape {tuple(scores.shape)}"
            )


def declarations(subject: Subject) -> None:
    """The attributes that a head declares for its training have valid values."""
    head = subject.fresh()
    group = head.samples_per_class
    if group is not None and not (type(group) is int and group >= 2):
        raise CheckFailedError(
            f"samples_per_class should be None or an int of 2 or more, not {group!r}"
        )
    unknown = sorted(set(head.needs) - set(typing.get_args(Need)))
    if unknown:
        known = ", ".join(typing.get_args(Need))
        raise CheckFailedError(
            f"needs contains unknown facts: {', '.join(unknown)} (known: {known})"
        )
    if "sample_indices" in head.needs:
        head.eval()
        head.sample_indices = None
        try:
            head(*batch())
        except Exception as error:
            raise CheckFailedError(
                "in eval mode there are no sample_indices, because images are not those of the "
                f"training set, but the loss then raises {type(error).__name__}"
            ) from None
    for name in ("needs_class_means", "stops_gradients"):
        if not isinstance(getattr(head, name), bool):
            raise CheckFailedError(f"{name} should be a bool, not {getattr(head, name)!r}")
    if head.verification_distance not in ("cosine", "mahalanobis"):
        distance = head.verification_distance
        raise CheckFailedError(
            f"verification_distance should be 'cosine' or 'mahalanobis', not {distance!r}"
        )
    if head.needs_class_means and type(head).fit_class_means is LossHead.fit_class_means:
        raise CheckFailedError("needs_class_means is set, but there is no fit_class_means")


def _leaves(loss: Tensor) -> set[int]:
    """Return the ids of the leaf tensors of a loss's autograd graph."""
    found, seen, todo = set(), set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        todo += [following for following, _ in node.next_functions]
    return found


def _all_tensors(head: LossHead) -> Mapping[str, Tensor]:
    """Return copies of all tensors of a head and its modules, registered or not."""
    registered = {**dict(head.named_parameters()), **dict(head.named_buffers())}
    plain = {
        f"{prefix}.{name}" if prefix else name: value
        for prefix, module in head.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    }
    return {name: value.detach().clone() for name, value in {**registered, **plain}.items()}


CHECKS: Mapping[str, Check] = {
    "sizes": sizes,
    "terms": terms,
    "logits": logits,
    "scores": scores,
    "order": order,
    "gradient": gradient,
    "reach": reach,
    "finite": finite,
    "autocast": autocast,
    "purity": purity,
    "state": state,
    "pickling": pickling,
    "optimizer": optimizer,
    "schedules": schedules,
    "declarations": declarations,
    "densities": densities,
    "learning": learning,
}
"""Check by name, the simplest first."""

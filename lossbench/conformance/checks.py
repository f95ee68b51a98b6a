"""What every loss keeps: one function a check, none of which knows any loss by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from lossbench.conformance.learning import densities, learning
from lossbench.conformance.numerics import autocast, finite, gradient, reach
from lossbench.conformance.subject import (
    Check,
    Failure,
    K,
    N,
    NotApplicable,
    Subject,
    batch,
    close,
    number,
)
from lossbench.conformance.subject import seeded as loss_of
from lossbench.losses import LossHead, ParameterGroup

RESERVED_TERMS = frozenset({"loss", "error", "time_sec"})
"""What the training loop itself records as `train_<name>`."""


def order(subject: Subject) -> None:
    """The loss depends on the labels, but not on the order of the batch."""
    head = subject.midway().double()
    features, labels = batch()
    features = features.double()
    before = loss_of(head, features, labels)
    others = (labels + (torch.arange(N) < 3)) % K
    if torch.equal(before, loss_of(head, features, others)):
        raise Failure(f"the loss is {number(before)} for other labels, too")
    there = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    after = loss_of(head, features[there], labels[there])
    if close(before, after):
        return
    if not torch.equal(head(features, labels), head(features, labels)):
        raise NotApplicable("it draws something for each sample")
    raise Failure(f"the loss is {number(before)}, and {number(after)} in another order")


def terms(subject: Subject) -> None:
    """Terms are named scalars, and the loss is their sum."""
    head = subject.midway()
    features, labels = batch()
    torch.manual_seed(0)  # as `loss_of` does
    found = head.terms(features, labels)
    if not isinstance(found, dict) or not found:
        raise Failure(
            f"terms() should give a dict of scalars by name, not a {type(found).__name__}"
        )
    for name, term in found.items():
        if not isinstance(term, Tensor) or term.shape != ():
            what = f"shape {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
            raise Failure(f"term {name!r} should be a scalar tensor, not {what}")
        if name in RESERVED_TERMS or not re.fullmatch(r"\w+", name):
            taken = "is taken by the training loop" if name in RESERVED_TERMS else "is not a word"
            raise Failure(f"the name {name!r} of a term {taken}; use another one")
    loss, total = loss_of(head, features, labels), torch.stack(list(found.values())).sum()
    if loss.shape != () or not close(loss, total):
        raise Failure(f"the loss is {number(loss)}, but its terms add up to {number(total)}")


def purity(subject: Subject) -> None:
    """forward changes nothing: no parameter, no buffer, nothing hidden."""
    head = subject.midway()
    before = _everything(head)
    first = loss_of(head, *batch())
    loss_of(head, *batch(seed=5))
    head.logits(batch(seed=5)[0])
    after = _everything(head)
    changed = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    if torch.equal(_drawn_after(head, 1), _drawn_after(head, 2)):
        raise Failure(
            "after forward the global random generator is where it always is: forward seeds it, "
            "and with it everything that is drawn later; draw from a torch.Generator of its own"
        )
    if changed:
        raise Failure(
            f"forward or logits changed {', '.join(changed)}; updates belong in after_step"
        )
    again = loss_of(head, *batch())
    if not torch.equal(first, again):
        raise Failure(
            f"the loss of a batch is {number(first)}, and {number(again)} after another batch "
            "(same random seed): forward keeps something; updates belong in after_step"
        )


def _drawn_after(head: LossHead, seed: int) -> Tensor:
    torch.manual_seed(seed)
    head(*batch())
    return torch.rand(4)


def state(subject: Subject) -> None:
    """All state is in the state dict: a head that loads another's goes on where that one was."""
    features, labels = batch()
    head, other = subject.midway(), subject.fresh(seed=3)
    head.after_step(features, labels.clamp_max(1))  # some classes more often than others
    other.load_state_dict(head.state_dict())
    theirs, own = loss_of(head, features, labels), loss_of(other, features, labels)
    what = "loss"
    if torch.equal(theirs, own):
        theirs, own = head.logits(features).sum(), other.logits(features).sum()
        what = "sum of the logits"
    if not torch.equal(theirs, own):
        kept = set(head.state_dict())
        lost = [name for name in _everything(head) if name not in kept]
        hint = f"{', '.join(lost)} is not in it; use register_buffer" if lost else "what is lost?"
        raise Failure(
            f"after load_state_dict the {what} is {number(own)} instead of {number(theirs)}: {hint}"
        )


def pickling(subject: Subject) -> None:
    """Survives pickling, as between processes."""
    import pickle

    head = subject.midway()
    copy = pickle.loads(pickle.dumps(head))
    before, after = loss_of(head, *batch()), loss_of(copy, *batch())
    if not torch.equal(before, after):
        raise Failure(f"the loss is {number(before)}, and {number(after)} after pickling")


def optimizer(subject: Subject) -> None:
    """Every learnable parameter is in exactly one parameter group."""
    head = subject.midway()
    groups = head.parameter_groups()
    names = {id(p): name for name, p in head.named_parameters() if p.requires_grad}
    times: Counter[int] = Counter()
    for group in groups:
        if not isinstance(group, ParameterGroup):
            raise Failure(
                f"parameter_groups() should give ParameterGroups, not a {type(group).__name__}"
            )
        if not group.parameters or not group.lr_scale > 0:
            raise Failure("a parameter group is empty, or its lr_scale is not above 0")
        times.update(id(p) for p in group.parameters)
    lost = [name for key, name in names.items() if key not in times]
    twice = [name for key, name in names.items() if times[key] > 1]
    if lost:
        raise Failure(f"{', '.join(lost)} is in no group: the optimizer would never move it")
    if twice:
        raise Failure(f"{', '.join(twice)} is in two groups")
    hidden = _leaves(head(*batch())) - set(names)
    if hidden:
        raise Failure(
            f"tensors that are no parameters of the head get a gradient ({len(hidden)}): in a list "
            "or dict? use nn.ParameterList, or the optimizer and checkpoints never see them"
        )
    if set(times) - set(names):
        raise Failure("a group has a tensor that is no learnable parameter of the head")


def logits(subject: Subject) -> None:
    """Logits are a finite number for each class; each row depends on its own features alone."""
    head = subject.midway()
    features, labels = batch()
    scores = head.logits(features)
    if scores.shape != (N, K):
        raise Failure(f"{N} samples and {K} classes give logits {tuple(scores.shape)}")
    if not torch.isfinite(scores).all():
        raise Failure(f"{int((~torch.isfinite(scores)).sum())} of {N * K} logits are not finite")
    alone = head.logits(features[:3])
    if not close(alone, scores[:3]):
        off = (alone - scores[:3]).abs().max()
        raise Failure(f"the logits of three samples differ by {number(off)} in a larger batch")
    ahead = head.log_odds(features, labels)
    if ahead.shape != (N,) or not torch.isfinite(ahead).all():
        raise Failure(f"log_odds() of {N} samples should be {N} finite numbers")


def schedules(subject: Subject) -> None:
    """Progress sets the declared buffers, and nothing else."""
    head = subject.fresh()
    declared = head.schedules()
    unknown = set(declared) - {name for name, _ in head.named_buffers()}
    if unknown:
        raise Failure(f"{', '.join(sorted(unknown))} is scheduled, but is no buffer")
    before = _everything(head)
    head.set_progress(0.7)
    after = _everything(head)
    for name, tensor in after.items():
        if name not in declared and not torch.equal(tensor, before[name]):
            raise Failure(f"progress changes {name}, which schedules() does not name")
    for name, value_at in declared.items():
        wanted = torch.full_like(after[name], value_at(0.7))
        if not close(after[name], wanted):
            raise Failure(f"{name} is {number(after[name])} at 0.7, not {number(wanted)}")


def sizes(subject: Subject) -> None:
    """Any number of classes and features, from 2 and 1 upwards."""
    for classes, dimension in ((2, 1), (2, 2), (11, 3)):
        head = subject.fresh(classes, dimension)
        said = (head.num_classes, head.feature_dim)
        if said != (classes, dimension):
            raise Failure(f"made for {(classes, dimension)}, it says {said}: call super().__init__")
        features = torch.randn(6, dimension, generator=torch.Generator().manual_seed(0))
        loss, scores = head(features, torch.arange(6) % 2), head.logits(features)
        if not torch.isfinite(loss).all() or scores.shape != (6, classes):
            raise Failure(
                f"with {classes} classes and {dimension} features the loss of 6 samples is "
                f"{number(loss)}, their logits are {tuple(scores.shape)}"
            )


def declarations(subject: Subject) -> None:
    """What a head declares of itself is something that the training knows."""
    head = subject.fresh()
    group = head.samples_per_class
    if group is not None and not (type(group) is int and group >= 2):
        raise Failure(f"samples_per_class should be None or an int of 2 or more, not {group!r}")
    if not isinstance(head.wants_class_means, bool):
        raise Failure(f"wants_class_means should be a bool, not {head.wants_class_means!r}")
    if head.verification_distance not in ("cosine", "mahalanobis"):
        said = head.verification_distance
        raise Failure(f"verification_distance should be 'cosine' or 'mahalanobis', not {said!r}")
    if head.wants_class_means and type(head).fit_class_means is LossHead.fit_class_means:
        raise Failure("it wants class means, but has no fit_class_means")


def _leaves(loss: Tensor) -> set[int]:
    """The ids of what a loss's gradient ends in."""
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


def _everything(head: LossHead) -> Mapping[str, Tensor]:
    """Copies of every tensor that a head and its parts hold, registered or not."""
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
"""Every check by its name, the simplest first."""

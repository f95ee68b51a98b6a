"""Trainings that differ in nothing but their seed, trained as one batched program.

Small networks leave a GPU idle: a step is hundreds of kernels, each over before the next one is
started. S trainings in one program start as many kernels as one does. Every tensor of a model gets
a first dimension of S, and `torch.func.vmap` runs the one model over it; every member keeps its own
initialisation, order of images and augmentations, so that it ends where it would have ended alone,
up to the rounding of float sums (not with the same bits).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.func import functional_call, vmap

from lossbench.data.images import Images
from lossbench.data.sampling import batches, epoch_order, steps_per_epoch
from lossbench.losses import LossHead, total
from lossbench.training.loop import Training, misclassified

Computed = tuple[dict[str, Tensor], Tensor]
"""Of a head: its terms and the share of wrong answers, each a scalar; (S,) of all heads."""
OnEpoch = Callable[[int, Sequence[dict[str, float] | None]], None]


class UnpackableError(ValueError):
    """These trainings cannot be one program; one at a time they can."""


class Pack:
    """S trainings as one. While they are packed, their models and heads are views of its tensors.

    So what a member's model is can be seen, measured and stored at any time, and
    `release` makes the members ordinary trainings again.

    Heads that `vmap` takes are batched like the model. The others (functions of their own,
    mining, moving centers) are called one after the other, on their own parameters.

    Args:
        members: Built alike but for the seed, and at the same epoch.
        data: What all of them train on.

    Raises:
        UnpackableError: They cannot be packed.
    """

    def __init__(self, members: Sequence[Training], data: Images) -> None:
        first = members[0]
        if len({member.epochs_done for member in members}) > 1:
            raise UnpackableError("they are not at the same epoch")
        if first.team.size > 1:
            raise UnpackableError("each is trained by several workers")
        if first.compiled:
            raise UnpackableError("they are compiled")
        self.members, self.data = tuple(members), data
        self.running = [True] * len(members)
        with torch.no_grad():
            pixels = next(iter(data.central(torch.arange(2))))
            images = first.normalise(pixels)
        _try_model([member.model for member in members], images)
        self._heads_batched = _heads_agree([member.head for member in members])
        self._own: list[tuple[Tensor, Tensor]] = []  # a tensor, and the memory it had alone
        self._stacked: list[tuple[nn.Parameter, tuple[nn.Parameter, ...]]] = []
        self._model = self._stack([member.model for member in members])
        self._heads = self._stack([m.head for m in members]) if self._heads_batched else {}
        self.optimizer = self._one_optimizer()

    def _stack(self, modules: Sequence[nn.Module]) -> dict[str, Tensor]:
        """All parameters and buffers, (S, ...); the modules' own become views of them."""
        stacked: dict[str, Tensor] = {}
        for name, parameter in modules[0].named_parameters():
            own = tuple(module.get_parameter(name) for module in modules)
            leaf = nn.Parameter(torch.stack([p.detach() for p in own]), parameter.requires_grad)
            self._stacked.append((leaf, own))
            stacked[name] = leaf
        for name, _ in modules[0].named_buffers():
            stacked[name] = torch.stack([module.get_buffer(name) for module in modules])
        for name, whole in stacked.items():
            for module, view in zip(modules, whole.detach().unbind(), strict=True):
                tensor = _named(module)[name]
                self._own.append((tensor, tensor.data))
                tensor.data = view
        return stacked

    def _one_optimizer(self) -> optim.Optimizer:
        """The members' optimizer over what is stacked, and what the heads keep to themselves.

        The rules of all optimizers here are elementwise: stacked, each slice moves as alone.
        """
        optimizers = [member.optimizer for member in self.members]
        leaf_of = {id(own[0]): leaf for leaf, own in self._stacked}
        groups = []
        for same in zip(*(optimizer.param_groups for optimizer in optimizers), strict=True):
            parameters: list[Tensor] = []
            for own in zip(*(group["params"] for group in same), strict=True):
                leaf = leaf_of.get(id(own[0]))
                parameters += [*own] if leaf is None else [leaf]
            groups.append({**same[0], "params": parameters})
        kind: Any = type(optimizers[0])  # its settings stand in the groups
        optimizer: optim.Optimizer = kind(groups)
        for leaf, own in self._stacked:
            before = [m.optimizer.state.get(p) for m, p in zip(self.members, own, strict=True)]
            if before[0]:  # they go on from checkpoints
                optimizer.state[leaf] = {
                    key: torch.stack([state[key] for state in before])  # type: ignore[index]
                    if _is_slice(key, value, own[0])
                    else _copied(value)
                    for key, value in before[0].items()
                }
        if not self._heads_batched:
            for member in self.members:
                for parameter in member.head.parameters():
                    if state := member.optimizer.state.get(parameter):
                        optimizer.state[parameter] = state
        return optimizer

    def hand_back(self) -> None:
        """Give the members' optimizers what the pack's one has gathered, as views."""
        for leaf, own in self._stacked:
            state = self.optimizer.state.get(leaf)
            if not state:  # nothing is gathered without momentum, or before the first step
                continue
            for i, (member, parameter) in enumerate(zip(self.members, own, strict=True)):
                member.optimizer.state[parameter] = {
                    key: value[i] if _is_slice(key, value, leaf) else _copied(value)
                    for key, value in state.items()
                }
        if not self._heads_batched:
            for member in self.members:
                for parameter in member.head.parameters():
                    if state := self.optimizer.state.get(parameter):
                        member.optimizer.state[parameter] = state

    def release(self) -> None:
        """Make the members ordinary trainings, with tensors of their own; ends the pack."""
        self.hand_back()
        for member in self.members:
            for state in member.optimizer.state.values():
                state.update({key: _copied(value) for key, value in state.items()})
        for tensor, memory in self._own:
            tensor.data = memory.copy_(tensor.data)
        self._own.clear()

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Computed]:
        """Images (S, B, C, H, W) and labels (S, B) -> features (S, B, D) and what heads make.

        A head of a member that has stopped is not called; what it would make is nan.
        """
        first = self.members[0]
        normalised = first.normalise(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        used = first.autocast is not None
        with torch.autocast(images.device.type, first.autocast, used):
            features: Tensor = _over_members(first.model, self._model, normalised)
        if self._heads_batched:
            head = _Computes(first.head)
            tensors = {f"head.{name}": tensor for name, tensor in self._heads.items()}
            return features, _over_members(head, tensors, features, labels)
        each = [
            _Computes(member.head)(own, own_labels) if runs else None
            for member, own, own_labels, runs in zip(
                self.members, features.unbind(), labels.unbind(), self.running, strict=True
            )
        ]
        return features, _joined(each)


class _Computes(nn.Module):
    """What a step wants of a head."""

    def __init__(self, head: LossHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, labels: Tensor) -> Computed:
        terms = self.head.terms(features, labels)
        with torch.no_grad():
            wrong = misclassified(self.head.logits(features.detach()), labels).float().mean()
        return terms, wrong


def train_packed(pack: Pack, on_epoch: OnEpoch) -> list[bool]:
    """Train the epochs that are not done yet, as `train` does for one.

    After each, `on_epoch(epoch, metrics)` is called with the models in eval mode; the metrics are
    the members', in their order, each as `train` gives them. `train_time_sec` is the member's
    share: the epoch's time divided by S.

    A member whose loss was not finite ends with that epoch; from then on its metrics are None.
    Its slice is computed further, since it is part of the program, but touches no other's.

    Returns:
        Whether each member's loss stayed finite.
    """
    members, optimizer, data = pack.members, pack.optimizer, pack.data
    first, size = members[0], len(members)
    base_lr = first.optimizer.defaults["lr"]
    labels_on_cpu = data.labels.cpu()
    images_used = len(labels_on_cpu)
    least = first.team.least_batch
    steps = steps_per_epoch(images_used, first.batch_size, least)

    for epoch in range(first.epochs_done, first.epochs):
        if not any(pack.running):
            break
        started = time.perf_counter()
        for member in members:
            member.model.train()
        sums: dict[str, Tensor] = {}
        augmented = []
        for member in members:
            order = epoch_order(labels_on_cpu, member.head.samples_per_class, member.order_stream)
            own = list(batches(order, member.batch_size, least))
            augmented.append(data.augmented(own, member.augmentations, member.augment_stream))
        for step, drawn in enumerate(zip(*augmented, strict=True)):
            images = torch.stack([one[0] for one in drawn])  # (S, B, C, H, W)
            labels = torch.stack([one[1] for one in drawn])  # (S, B)
            epochs_done = epoch + step / steps
            for member in members:
                member.head.set_progress(epochs_done / member.epochs)
            for group in optimizer.param_groups:
                group["lr"] = base_lr * first.schedule(epochs_done) * group["lr_scale"]

            features, (terms, wrong) = pack.forward(images, labels)
            loss = total(terms)  # (S,)
            optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()  # no member's loss depends on another's tensors
            optimizer.step()
            for i, member in enumerate(members):
                if pack.running[i]:
                    member.head.after_step(features[i].detach(), labels[i])

            share = labels.shape[1] / images_used
            for name, value in {"loss": loss, **terms, "error": 100 * wrong}.items():
                sums[name] = sums.get(name, 0.0) + value.detach() * share

        values = {name: value.tolist() for name, value in sums.items()}
        lr = base_lr * first.schedule(epoch + (steps - 1) / steps)
        taken = time.perf_counter() - started
        told: list[dict[str, float] | None] = []
        for i, member in enumerate(members):
            member.model.eval()
            member.epochs_done = epoch + 1
            metrics = {f"train_{name}": value[i] for name, value in values.items()}
            metrics |= {"lr": lr, "train_time_sec": taken / size}
            told.append(metrics if pack.running[i] else None)
            pack.running[i] &= math.isfinite(metrics["train_loss"])
        on_epoch(epoch + 1, told)
    return list(pack.running)


def _over_members(module: nn.Module, tensors: Mapping[str, Tensor], *inputs: Tensor) -> Any:
    """The module with each member's tensors, on each member's inputs."""

    def one(own: dict[str, Tensor], *own_inputs: Tensor) -> Any:
        return functional_call(module, own, own_inputs)

    return vmap(one, randomness="error")(dict(tensors), *inputs)


def _joined(each: Sequence[Computed | None]) -> Computed:
    """(S,) of scalars; nan where there is none."""
    [known, *_] = [one for one in each if one is not None]
    missing = torch.full_like(known[1], math.nan)
    terms = {
        name: torch.stack([missing if one is None else one[0][name] for one in each])
        for name in known[0]
    }
    return terms, torch.stack([missing if one is None else one[1] for one in each])


def _named(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _stacked_copy(modules: Sequence[nn.Module]) -> dict[str, Tensor]:
    own = [_named(module) for module in modules]
    return {name: torch.stack([one[name].detach() for one in own]) for name in own[0]}


def _try_model(models: Sequence[nn.Module], images: Tensor) -> None:
    """Whether the models train alike one by one and together, on a few images; changes nothing.

    Raises:
        UnpackableError: They do not.
    """
    training = [model.training for model in models]
    dtype = next((p.dtype for p in models[0].parameters()), images.dtype)
    images = images.to(dtype)
    tensors = _stacked_copy(models)
    try:
        with torch.no_grad():
            for model in models:
                model.train()
            together = _over_members(models[0], tensors, images.expand(len(models), *images.shape))
            for i, model in enumerate(models):
                own = {name: tensor[i].clone() for name, tensor in _stacked_copy(models).items()}
                alone = functional_call(model, own, (images,))
                torch.testing.assert_close(together[i], alone, rtol=1e-2, atol=1e-3, equal_nan=True)
    except AssertionError:
        raise UnpackableError("the model computes something else under torch.func.vmap") from None
    except Exception as error:  # whatever a model's own code raises there
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise UnpackableError(f"torch.func.vmap does not take the model: {reason}") from None
    finally:
        for model, mode in zip(models, training, strict=True):
            model.train(mode)


def _heads_agree(heads: Sequence[LossHead]) -> bool:
    """Whether `vmap` takes the heads, and computes with them what each does alone.

    A head that moves its own buffers is called alone, since it may replace them.

    Raises:
        UnpackableError: They draw random numbers, which alone would be others.
    """
    first = heads[0]
    batch = 2 * max(first.samples_per_class or 1, 4)
    some = torch.Generator().manual_seed(0)
    reference = next(iter(first.parameters()), torch.empty(0))
    features = torch.randn(len(heads), batch, first.feature_dim, generator=some)
    features = features.to(reference).requires_grad_()
    labels = torch.arange(batch, device=reference.device) // 2 % first.num_classes
    state = torch.get_rng_state()
    alone = _joined([_Computes(h)(f, labels) for h, f in zip(heads, features, strict=True)])
    if not torch.equal(state, torch.get_rng_state()):
        torch.set_rng_state(state)
        raise UnpackableError("the loss draws random numbers")
    if type(first).after_step is not LossHead.after_step:
        return False
    tensors = {f"head.{name}": tensor for name, tensor in _stacked_copy(heads).items()}
    try:
        together = _over_members(
            _Computes(first), tensors, features, labels.expand(len(heads), batch)
        )
        results = [
            [*terms.values(), *torch.autograd.grad(total(terms).sum(), features), wrong]
            for terms, wrong in (together, alone)
        ]
        torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4, equal_nan=True)
    except Exception:  # whatever a head's own code raises there; the loop over heads takes all
        return False
    return True


def _is_slice(key: str, value: Any, parameter: Tensor) -> bool:
    """Whether an optimizer's value is one of each number of a parameter."""
    return isinstance(value, Tensor) and key != "step" and value.shape == parameter.shape


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value

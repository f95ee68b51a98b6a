"""Requirements of a loss head, gathered from its declarations."""

from __future__ import annotations

from lossbench.losses import LossHead
from lossbench.planning.head_requirements import HeadRequirements


def head_requirements(head: LossHead) -> HeadRequirements:
    """All differences between the training of this head and that of a linear layer."""
    names = {id(parameter): name for name, parameter in head.named_parameters()}
    groups = [(g, [names[id(p)] for p in g.parameters]) for g in head.parameter_groups()]
    scheduled = tuple(head.schedules())
    moves = any(
        getattr(type(head), name) is not getattr(LossHead, name)
        for name in ("before_step", "after_step")
    )
    own = (name for name, _ in head.named_buffers() if name not in scheduled)
    return HeadRequirements(
        parameters=sum(p.numel() for p in head.parameters() if p.requires_grad),
        lr_scales={n: float(g.lr_scale) for g, own in groups for n in own if g.lr_scale != 1},
        undecayed=tuple(name for group, own in groups for name in own if not group.decay),
        samples_per_class=head.samples_per_class,
        scheduled=scheduled,
        self_updated=tuple(own) if moves else (),
        class_means=head.needs_class_means,
        verification_distance=head.verification_distance,
        needs=tuple(sorted(head.needs)),
    )

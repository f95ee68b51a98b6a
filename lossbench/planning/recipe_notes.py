"""Sentences about a recipe that a reader of the numbers should know."""

from __future__ import annotations

from collections.abc import Iterator

from lossbench.suite.schema import Recipe


def weight_notes(recipe: Recipe) -> Iterator[str]:
    """Line on an average that is measured in place of the weights of the last step, if any."""
    if recipe.weight_averaging is not None:
        yield f"measured and stored is the {recipe.weight_averaging.description}"


def unreached_milestones(recipe: Recipe) -> Iterator[str]:
    """Warning about milestones of the learning rate that the training does not reach, if any."""
    schedule = recipe.schedule
    milestones = schedule.params["milestones"] if schedule.name == "multistep" else ()
    unreached = [milestone for milestone in milestones if milestone >= recipe.epochs]
    if unreached:
        are = "milestone {} is" if len(unreached) == 1 else "milestones {} are"
        listed = ", ".join(f"{milestone:g}" for milestone in unreached)
        yield (
            f"schedule multistep: {are.format(listed)} not before the end of the "
            f"training ({recipe.epochs} epochs), so the learning rate does not change there"
        )

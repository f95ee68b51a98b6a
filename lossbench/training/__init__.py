"""One training: the loop, optimizers, schedules, seeds."""

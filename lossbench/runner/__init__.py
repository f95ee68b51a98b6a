"""Executes trials: one in this process, many as Ray Tune jobs; the only place that imports ray."""

"""Trials as Ray Tune jobs. The only place that imports ray."""

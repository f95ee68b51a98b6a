"""Execution of trials as Ray Tune jobs, `trial` of a single one; the only importer of ray."""

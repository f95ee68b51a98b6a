"""The baseline: write it, compare results with it, decide."""

"""Trainings of the published tables, at the lowest priority; see README.md in this folder."""

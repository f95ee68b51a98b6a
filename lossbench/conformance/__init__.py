"""The contract of a loss as checks that anybody's loss can be put to."""

from lossbench.conformance.checks import CHECKS
from lossbench.conformance.subject import Finding, Subject, examine
from lossbench.conformance.target import load_target

__all__ = ["CHECKS", "Finding", "Subject", "examine", "load_target"]

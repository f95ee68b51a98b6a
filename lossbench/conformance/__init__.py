"""Contract tests: checks that every loss has to pass, including users' losses."""

from lossbench.conformance.checks import CHECKS
from lossbench.conformance.subject import CheckResult, Subject, run_checks
from lossbench.conformance.target import load_target

__all__ = ["CHECKS", "CheckResult", "Subject", "load_target", "run_checks"]

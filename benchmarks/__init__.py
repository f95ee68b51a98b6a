"""What lossbench costs beside what a user would pick instead: `python -m benchmarks`."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own lines

"""Times and memory of lossbench compared with the alternatives: `python -m benchmarks`."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silences the profiler's log

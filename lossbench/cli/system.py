"""Operating systems that lossbench runs on; imports nothing that other systems lack."""

from __future__ import annotations

import sys

from lossbench.errors import RequestError

WINDOWS_ERROR = (
    "error: lossbench does not run on Windows; install and run it in WSL, a Linux within Windows: "
    "https://learn.microsoft.com/windows/wsl/install"
)
UNTESTED_WARNING = "warning: lossbench is tested on Linux only, not on {}"


def require_supported_system() -> None:
    """Exit with one message on Windows, print a warning on other systems than Linux.

    Windows has neither SIGHUP, process groups, nor the standard library's `pwd` and `resource`.

    Raises:
        SystemExit: The system is Windows; its exit code is that of a wrong request.
    """
    if sys.platform == "win32":
        print(WINDOWS_ERROR, file=sys.stderr)
        raise SystemExit(RequestError.exit_code)
    if sys.platform != "linux":
        name = "macOS" if sys.platform == "darwin" else sys.platform
        print(UNTESTED_WARNING.format(name), file=sys.stderr)

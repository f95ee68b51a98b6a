"""The process before any verb runs: its text encoding, its outputs, and folders for caches."""

from __future__ import annotations

import codecs
import os
import pwd
import stat
import sys
import tempfile
import unicodedata
from pathlib import Path

STAND_INS = {
    "±": "+-",
    "ß": "ss",
    "–": "-",
    "—": "-",
    "−": "-",
    "×": "x",
    "·": "*",
    "≥": ">=",
    "≤": "<=",
    "→": "->",
    "…": "...",
    "✓": "+",
    "✗": "x",
    "•": "*",
    "α": "alpha",
    "λ": "lambda",
    "σ": "sigma",
    "“": '"',
    "”": '"',
    "„": '"',
    "‘": "'",
    "’": "'",
}
"""Plain characters for outputs that cannot show these."""
_ERRORS = "lossbench.plain"


def prepare_process() -> None:
    """Make text UTF-8 in files and file names, outputs tolerant, and caches writable.

    Starts the same command again where Python took another encoding from the locale: the names of
    files cannot be changed to UTF-8 later. Workers and servers get it by the environment.
    """
    if sys.getfilesystemencoding() != "utf-8":
        output = sys.stdout.encoding if sys.stdout else "utf-8"
        os.environ["PYTHONUTF8"] = "1"
        # the terminal still expects the locale's
        os.environ.setdefault("PYTHONIOENCODING", output)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    os.environ["PYTHONUTF8"] = "1"
    codecs.register_error(_ERRORS, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)
    _provide_caches()


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an output's encoding lacks: by a stand-in, the letter without accent, or ?."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_stand_in, error.object[error.start : error.end])), error.end


def _stand_in(character: str) -> str:
    if character in STAND_INS:
        return STAND_INS[character]
    # of a byte of a file name that is no UTF-8 nothing is left
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _provide_caches() -> None:
    """Give libraries a user's name and folders for their caches where there is no home.

    So it is with `docker run --user 12345`: no entry in the list of users, HOME unset or "/".
    """
    user = os.getuid()
    try:
        entry = pwd.getpwuid(user)
    except KeyError:
        os.environ.setdefault("USER", f"user{user}")  # before getpass.getuser asks for the entry
        entry = None
    home = Path(os.environ.get("HOME") or (entry.pw_dir if entry else "/nonexistent"))
    if home.is_dir() and os.access(home, os.W_OK | os.X_OK):
        return
    folder = _own_folder(user)
    if not home.is_dir():
        os.environ["HOME"] = str(folder)
    os.environ.setdefault("XDG_CACHE_HOME", str(folder / ".cache"))
    os.environ.setdefault("XDG_CONFIG_HOME", str(folder / ".config"))
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))


def _own_folder(user: int) -> Path:
    """A temporary folder that only this user can write; the same at each call, if possible."""
    path = Path(tempfile.gettempdir(), f"lossbench-{user}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="lossbench-"))
    if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077:
        return path
    return Path(tempfile.mkdtemp(prefix="lossbench-"))

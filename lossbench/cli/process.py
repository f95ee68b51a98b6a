"""Preparation of the process before any command: text encoding, outputs, cache folders."""

from __future__ import annotations

import codecs
import os
import pwd
import stat
import sys
import tempfile
import unicodedata
from pathlib import Path

REPLACEMENTS = {
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
"""Character -> ASCII text for outputs whose encoding lacks it."""
_ERRORS = "lossbench.plain"


def prepare_process() -> None:
    """Use UTF-8 for files and file names, make outputs tolerant, and provide cache folders.

    If Python took another encoding from the locale, the process is replaced by the same command
    in UTF-8 mode, because the encoding of file names cannot be changed later. Workers and servers
    inherit the mode from the environment.
    """
    if sys.getfilesystemencoding() != "utf-8":
        output = sys.stdout.encoding if sys.stdout else "utf-8"
        os.environ["PYTHONUTF8"] = "1"
        # the terminal still expects the locale's encoding
        os.environ.setdefault("PYTHONIOENCODING", output)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    os.environ["PYTHONUTF8"] = "1"
    codecs.register_error(_ERRORS, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)
    _provide_caches()


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that an output's encoding lacks, for `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_replacement, error.object[error.start : error.end])), error.end


def _replacement(character: str) -> str:
    """Return the ASCII text for a character: an entry of the table, a letter, or `?`."""
    if character in REPLACEMENTS:
        return REPLACEMENTS[character]
    # nothing is left of a byte of a file name that is not UTF-8
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _provide_caches() -> None:
    """Set a user name and cache folders for libraries if there is no home folder.

    With `docker run --user 12345`, the user has no entry in the list of users, and HOME is unset
    or "/".
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
    """Return a temporary folder that only this user can write, if possible always the same."""
    path = Path(tempfile.gettempdir(), f"lossbench-{user}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="lossbench-"))
    if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077:
        return path
    return Path(tempfile.mkdtemp(prefix="lossbench-"))

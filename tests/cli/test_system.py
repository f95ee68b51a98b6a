"""Windows is refused before anything is imported that it lacks; macOS gets a warning."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lossbench.cli.system import require_supported_system
from lossbench.errors import RequestError

ROOT = Path(__file__).resolve().parents[2]
ON_WINDOWS = """
import sys
sys.modules.update(dict.fromkeys(["fcntl", "grp", "pwd", "resource", "termios"]))
sys.platform = "win32"
import signal
del signal.SIGHUP
from {module} import {function}
sys.argv = ["lossbench", "run", "suites/digits.yaml"]
{function}()
"""


def test_windows_is_refused_with_a_hint_to_wsl(tmp_path: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, function = settings["project"]["scripts"]["lossbench"].partition(":")
    program = ON_WINDOWS.format(module=module, function=function)
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert (ended.returncode, ended.stdout) == (RequestError.exit_code, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: lossbench does not run on Windows")
    assert "WSL" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("platform", "warning"),
    [
        ("linux", ""),
        ("darwin", "warning: lossbench is tested on Linux only, not on macOS\n"),
        ("freebsd14", "warning: lossbench is tested on Linux only, not on freebsd14\n"),
    ],
)
def test_other_systems_get_a_warning(
    platform: str,
    warning: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    require_supported_system()
    assert capsys.readouterr() == ("", warning)

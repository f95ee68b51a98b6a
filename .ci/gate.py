"""Train a small part of the digits suite and check it against the committed baseline.

It uses a temporary folder and tracking database: otherwise results of earlier code would be
reused, and the user's files could change. Other processors round differently, so the
values need not be identical; too little evidence (exit code 3) is printed and passes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE = str(ROOT / "suites" / "digits.yaml")
PART = ["--only", "32-D/lgm(alpha=?)", "--seeds", "0", "--tracking-uri", "sqlite:///gate.db"]
UNDECIDED = 3

with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
    lossbench = [sys.executable, "-m", "lossbench.cli"]
    subprocess.run([*lossbench, "run", SUITE, *PART], cwd=folder, check=True)
    baseline = ["--baseline", str(ROOT / "baselines" / "digits.json")]
    checked = subprocess.run([*lossbench, "check", SUITE, *PART, *baseline], cwd=folder)
sys.exit(0 if checked.returncode == UNDECIDED else checked.returncode)

"""Run the tests, mypy and the gate in parallel.

Output of mypy and the gate is printed at the end. Arguments go to pytest.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARALLEL = {"mypy": ["mypy"], "gate": [sys.executable, str(ROOT / ".ci" / "gate.py")]}
# all tests that share Ray are in one process: see tests/conftest.py
PYTEST = ["pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not slow"]

with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    # tests that start pytest would close the default folder to tests that become another user
    os.chmod(folder, 0o755)
    PYTEST.append(f"--basetemp={folder}/pytest")
    running = {}
    for name, command in PARALLEL.items():
        with open(Path(folder) / name, "w", encoding="utf-8") as log:
            running[name] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    codes = {"pytest": subprocess.run([*PYTEST, *sys.argv[1:]], cwd=ROOT).returncode}
    for name, process in running.items():
        codes[name] = process.wait()
        print(f"\n{name}:\n{(Path(folder) / name).read_text(encoding='utf-8')}", flush=True)
print(", ".join(f"{name}: exit {code}" for name, code in codes.items()))
sys.exit(any(codes.values()))

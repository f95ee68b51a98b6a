"""Renew the documents' pictures by headless Chromium; run it where the suite was run.

python docs/screenshot.py report reports/digits docs/images/report.png
python docs/screenshot.py dashboard docs/images/dashboard.png [PORT]
"""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

LIMIT_BYTES = 200_000


def picture(address: str, path: Path, size: tuple[int, int], wait_ms: int) -> None:
    """Save what a window of this size shows, with as many colours as the limit allows."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars"]
        command += [f"--user-data-dir={folder}/profile", f"--virtual-time-budget={wait_ms}"]
        command += [f"--window-size={size[0]},{size[1]}", f"--screenshot={shot}", address]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        image = Image.open(shot).convert("RGB")
    for colors in (256, 128, 64, 32):
        file = io.BytesIO()
        image.quantize(colors).save(file, format="png", optimize=True)
        if file.tell() < LIMIT_BYTES:
            break
    path.write_bytes(file.getvalue())
    print(f"{path}: {file.tell() // 1000} kB, {colors} colours")


def dashboard(path: Path, port: str) -> None:
    """Picture the first suite's runs, as `lossbench ui` opens them."""
    command = [sys.executable, "-m", "lossbench.cli", "ui", "--port", port]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        server.stdout.readline()
        address = server.stdout.readline().split(": ", 1)[1].strip()
        picture(address, path, (1500, 1000), 60_000)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def main() -> None:
    """Take the arguments of the module's examples."""
    match sys.argv[1:]:
        case ["report", folder, path]:
            [page] = Path(folder).resolve().glob("*.html")
            picture(page.as_uri(), Path(path), (1200, 900), 5_000)
        case ["dashboard", path, *port]:
            dashboard(Path(path), port[0] if port else "5000")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()

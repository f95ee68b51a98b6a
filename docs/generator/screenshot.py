"""Take the screenshots of the documentation; run it in the folder where the suite was run.

Needs the extra `browser` and an installed Chromium.

python docs/generator/screenshot.py report reports/digits docs/images/report.png
python docs/generator/screenshot.py dashboard docs/images/dashboard.png [PORT]
"""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

LIMIT_BYTES = 200_000


@contextmanager
def open_page(address: str, width: int, height: int) -> Iterator[Page]:
    """Open an address in a window of this size."""
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(address)
        yield page
        browser.close()


def save(page: Page, path: Path) -> None:
    """Save the visible part of the page, with as many colours as the size limit allows."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colors in (256, 128, 64, 32):
        file = io.BytesIO()
        image.quantize(colors).save(file, format="png", optimize=True)
        if file.tell() < LIMIT_BYTES:
            break
    path.write_bytes(file.getvalue())
    print(f"{path}: {file.tell() // 1000} kB, {colors} colours")


def dashboard(path: Path, port: str) -> None:
    """Save a picture of the first suite's runs, as `lossbench ui` shows them."""
    command = [sys.executable, "-m", "lossbench.cli", "ui", "--port", port]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert server.stdout is not None
    try:
        server.stdout.readline()
        address = server.stdout.readline().split(": ", 1)[1].strip()
        with open_page(address, 1800, 1100) as page:
            page.get_by_text("Model metrics").wait_for(timeout=60_000)
            page.get_by_role("button", name="Close").last.click()  # MLflow's assistant
            page.add_style_tag(content=".modebar { display: none }")  # toolbar of charts
            page.wait_for_timeout(5_000)
            save(page, path)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def main() -> None:
    """Run as in the examples of the module's docstring."""
    match sys.argv[1:]:
        case ["report", folder, path]:
            [page] = Path(folder).resolve().glob("*.html")
            with open_page(page.as_uri(), 1200, 900) as shown:
                save(shown, Path(path))
        case ["dashboard", path, *port]:
            dashboard(Path(path), port[0] if port else "5000")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()

"""Take the screenshots of the documentation; run it in the folder where the suite was run.

Needs the extra `browser` and an installed Chromium.

python docs/generator/screenshot.py report reports/digits docs/images/report.png
python docs/generator/screenshot.py table docs/images/table.png [PORT]
python docs/generator/screenshot.py charts docs/images/dashboard.png [PORT]
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


@contextmanager
def dashboard(page: str, port: str) -> Iterator[str]:
    """Run `lossbench ui`; yields the first address of a kind of page, `table` or `charts`."""
    command = [sys.executable, "-m", "lossbench.cli", "ui", "--port", port]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert server.stdout is not None
    try:
        lines = iter(server.stdout.readline, "")
        yield next(line.split(": ", 1)[1].strip() for line in lines if f", {page}: " in line)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def save_dashboard(page: str, path: Path, port: str) -> None:
    """Save a picture of the run of the first suite's table, or of the charts of its trials."""
    size = {"table": (1400, 940), "charts": (1800, 820)}[page]
    with dashboard(page, port) as address, open_page(address, *size) as shown:
        shown.get_by_text({"table": "About this run", "charts": "Means over seeds"}[page]).wait_for(
            timeout=60_000
        )
        shown.wait_for_timeout(3_000)
        shown.get_by_role("button", name="Close").last.click()  # MLflow's assistant
        if page == "table":
            shown.get_by_text("Show more").first.click()
        shown.add_style_tag(content=".modebar { display: none }")  # toolbar of charts
        shown.wait_for_timeout(6_000)
        save(shown, path)


def main() -> None:
    """Run as in the examples of the module's docstring."""
    match sys.argv[1:]:
        case ["report", folder, path]:
            [page] = Path(folder).resolve().glob("*.html")
            with open_page(page.as_uri(), 1200, 900) as shown:
                save(shown, Path(path))
        case ["table" | "charts" as page, path, *port]:
            save_dashboard(page, Path(path), port[0] if port else "5000")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()

"""Pack what `lossbench work` needs on a machine without a network: wheels and prepared data.

python deploy/pack.py pack.tar.xz --data data/mnist --skip numpy

On the other machine, which has Python, torch and numpy:

mkdir pack && tar -xf pack.tar.xz -C pack && pip install --no-index --no-deps pack/wheels/*.whl
lossbench work suites/mnist.yaml --data-root pack/data --output results
"""

from __future__ import annotations

import argparse
import importlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("lossbench.cli.work", "lossbench.runner.sharded_work", "sklearn.datasets")
"""Modules that the work imports; scikit-learn has the digits."""
LEFT_OUT = ("torch", "nvidia", "triton", "pandas", "pyarrow", "narwhals")
"""Beginnings of the distributions that the other machine has, or that are not required."""
MAX_MIB = 64


def needed_distributions(skipped: Sequence[str] = ()) -> list[str]:
    """`NAME==VERSION` of the distributions that `MODULES` import, without lossbench and torch.

    Args:
        skipped: Names of further ones that the other machine has.
    """
    for module in MODULES:
        importlib.import_module(module)
    of_module = packages_distributions()
    tops = {name.partition(".")[0] for name in sys.modules}
    names = {distribution for top in tops for distribution in of_module.get(top, ())}
    return sorted(
        f"{name}=={version(name)}"
        for name in names
        if name not in ("lossbench", *skipped) and not name.startswith(LEFT_OUT)
    )


def collect_wheels(folder: Path, skipped: Sequence[str]) -> None:
    """Write the wheels of lossbench and of all that it needs, but those skipped, into a folder."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT)], check=True)
    options = ["--no-deps", "--only-binary", ":all:", "-d", str(folder)]
    subprocess.run([*pip, "download", *options, *needed_distributions(skipped)], check=True)


def stored_wheel(wheel: Path) -> bytes:
    """A wheel with its files uncompressed, which xz then makes smaller than zip does."""
    content = io.BytesIO()
    with zipfile.ZipFile(wheel) as before, zipfile.ZipFile(content, "w") as after:
        for entry in before.infolist():
            after.writestr(entry, before.read(entry), zipfile.ZIP_STORED)
    return content.getvalue()


def pack(out: Path, wheels: Path, data: Sequence[Path], max_mib: float = MAX_MIB) -> float:
    """Write wheels and data sets into one file.

    Args:
        out: File to write.
        wheels: Folder of the wheels.
        data: Folders of prepared data sets.
        max_mib: Largest size in MiB.

    Returns:
        Size in MiB.

    Raises:
        SystemExit: It is larger; the file is deleted.
    """
    with tarfile.open(out, "w:xz", preset=1) as file:
        for wheel in sorted(wheels.glob("*.whl")):
            content = stored_wheel(wheel)
            entry = tarfile.TarInfo(f"wheels/{wheel.name}")
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
        for folder in data:
            for path in sorted(path for path in folder.iterdir() if path.is_file()):
                file.add(path, f"data/{folder.name}/{path.name}")
    size = out.stat().st_size / 2**20
    if size > max_mib:
        out.unlink()
        raise SystemExit(f"{out}: {size:.1f} MiB are more than {max_mib:g}; pack fewer data sets")
    return size


def main() -> None:
    """Pack what the options name."""
    parser = argparse.ArgumentParser(description="Pack lossbench for a machine without a network.")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument(
        "--data", type=Path, action="append", default=[], help="folder of a prepared data set"
    )
    parser.add_argument(
        "--skip", action="append", default=[], help="distribution that the other machine has"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as wheels:
        collect_wheels(Path(wheels), given.skip)
        print(f"{given.out}: {pack(given.out, Path(wheels), given.data):.1f} MiB")


if __name__ == "__main__":
    main()

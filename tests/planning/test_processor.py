"""Warning about bfloat16, on faked processors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.assembly.check import check
from lossbench.planning import processor
from lossbench.planning.processor import precision_warning, processor_flags
from lossbench.suite.load import load_suite

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
MILAN = "processor\t: 0\nflags\t\t: fpu sse2 avx2 fma\n\nprocessor\t: 1\nflags\t\t: fpu\n"
GENOA = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n"
SAPPHIRE_RAPIDS = "flags : fpu avx512f amx_bf16 amx_tile\n"
GRAVITON = "processor : 0\nFeatures\t: fp asimd bf16\n"
OLD_ARM = "processor : 0\nFeatures\t: fp asimd\n"
BFLOAT16 = ["--set", "recipe.precision=bfloat16"]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def write(text: str) -> None:
        (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
        monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")

    return write


def test_flags_are_those_of_the_first_processor(fake: Callable[[str], None]) -> None:
    fake(MILAN)
    assert processor_flags() == {"fpu", "sse2", "avx2", "fma"}
    fake(OLD_ARM)
    assert processor_flags() == {"fp", "asimd"}
    fake("processor : 0\n")
    assert processor_flags() == frozenset()


@pytest.mark.parametrize(
    ("cpuinfo", "device", "override", "warned"),
    [
        (MILAN, "cpu", ["recipe.precision=bfloat16"], True),
        (OLD_ARM, "cpu", ["recipe.precision=bfloat16"], True),
        (MILAN, "cpu", [], False),
        (MILAN, "cuda", ["recipe.precision=bfloat16"], False),
        (GENOA, "cpu", ["recipe.precision=bfloat16"], False),
        (SAPPHIRE_RAPIDS, "cpu", ["recipe.precision=bfloat16"], False),
        (GRAVITON, "cpu", ["recipe.precision=bfloat16"], False),
        ("", "cpu", ["recipe.precision=bfloat16"], False),
    ],
)
def test_bfloat16_is_warned_about_on_processors_without_it(
    cpuinfo: str,
    device: str,
    override: list[str],
    warned: bool,
    write_suite: Write,
    fake: Callable[[str], None],
) -> None:
    fake(cpuinfo)
    plan = check(load_suite(write_suite(), override), Path("/nonexistent/data"))
    asked: list[str] = []

    def device_here() -> str:
        asked.append(device)
        return device

    assert (precision_warning(plan, device_here) is not None) == warned
    assert bool(asked) == (warned or device == "cuda")  # which may import torch


def test_a_system_without_a_list_of_flags_is_not_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "missing")
    assert processor_flags() == frozenset()


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("plan", ["--probe", "0"]),
        ("run", ["--max-seeds", "3"]),  # is refused, after the warning
        ("work", ["--device", "cpu", "--output", "small.yaml"]),  # is refused as well
    ],
)
def test_commands_that_train_on_this_machine_print_the_warning(
    command: str,
    options: list[str],
    run: Run,
    write_suite: Write,
    fake: Callable[[str], None],
) -> None:
    Path("small.yaml").write_text("", encoding="utf-8")
    arguments = [command, write_suite(), *BFLOAT16, "--set", "resources.gpus=0", *options]
    for cpuinfo, expected in ((MILAN, 1), (GENOA, 0)):
        fake(cpuinfo)
        _, out, err = run(*arguments)
        assert (out + err).count("this processor has no instructions for it") == expected

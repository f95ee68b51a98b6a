"""The documentation is true: code runs, suites plan, commands parse, the site builds."""

from __future__ import annotations

import ast
import io
import math
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import typer.main
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import Abort
from mkdocs.utils.meta import get_data
from rich.console import Console
from ruamel.yaml import YAML

from lossbench.assembly.check import check
from lossbench.assembly.plugins import forget, read_plugins
from lossbench.assembly.registries import REGISTRIES
from lossbench.assembly.resolved_suite import missing_data, plan_without_data, resolve_suite
from lossbench.cli.commands import load_command
from lossbench.cli.documentation import pages
from lossbench.cli.documentation.pages import without_site_parts
from lossbench.cli.main import app
from lossbench.losses import LOSSES
from lossbench.registry import registering
from lossbench.report.forest import TextForest
from lossbench.runner.trial import run_trial
from lossbench.suite.load import load_suite
from lossbench.suite.schema import Suite

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BASE = {
    "suite": "shown",
    "dataset": "digits",
    "model": {"name": "digits_cnn"},
    "recipe": {"epochs": 1, "batch_size": 64, "optimizer": {"name": "sgd", "lr": 0.1}},
    "losses": ["softmax"],
}
"""Suite that completes the parts of suites shown on a page."""

LINKING = [
    *PAGES,
    *(ROOT / name for name in ("CHANGELOG.md", "ARCHITECTURE.md", "benchmarks/README.md")),
]
LINKING += sorted((ROOT / "reports").rglob("README.md"))


@pytest.mark.parametrize("path", LINKING, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_of_the_repository(path: Path) -> None:
    """Links to pages that only the site has are in the parts for the site."""
    text = without_site_parts(path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        link = next(filter(None, target))
        if not re.match(r"https?:|mailto:|#", link):
            file = path.parent / link.partition("#")[0]
            assert file.exists(), f"{path.name}: {link}"
            assert file.resolve().is_relative_to(ROOT), f"{path.name}: {link}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_are_in_the_repository(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for named in re.findall(r"`((?:lossbench|tests|deploy|suites|docs)/[\w./-]+)`", text):
        assert "NAME" in named or (ROOT / named).exists(), f"{path.name}: {named}"


def test_docs_prints_every_page(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = run("docs")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()]
    assert names[:2] == ["index", "start"]
    written = {p.relative_to(ROOT / "docs").with_suffix("").as_posix() for p in PAGES[2:]}
    assert {*written, "reference/suite"} <= set(names)
    for name in names:
        for asked in (name, f"{name}.md", name.rpartition("/")[2]):
            code, out, _ = run("docs", asked)
            assert code == 0
            assert out.startswith("# ")
            assert "<!--" not in out
            assert "{{" not in out
    for key in ("recipe.epochs", "selection.holdout", "resources.gpus", "dataset.train_size"):
        assert f"`{key}`" in run("docs", "suite")[1]
    code, out, err = run("docs", "sutie")
    assert (code, out) == (2, "")
    assert "error: docs sutie: no such page; did you mean 'reference/suite'?" in " ".join(
        err.split()
    )


def test_messages_name_no_files_of_the_repository(run: Callable[..., tuple[int, str, str]]) -> None:
    """An installed lossbench has no docs/ folder that a help text could refer to."""
    for path in sorted((ROOT / "lossbench").rglob("*.py")):
        assert not re.search(r"\bdocs/\w+[/.]", path.read_text(encoding="utf-8")), path
    for command in ("run", "plan", "report", "check", "rank", "docs", "ui", "list", "new-loss"):
        assert "docs/" not in run(command, "--help")[1]


def test_the_wheel_contains_every_page() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    package = settings["tool"]["setuptools"]
    assert package["package-dir"]["lossbench.docs"] == "docs"
    assert "lossbench.docs" in package["packages"]
    assert "lossbench.cli.documentation" in package["packages"]
    shipped = {
        path
        for glob in package["package-data"]["lossbench.docs"]
        for path in ROOT.glob(f"docs/{glob}")
    }
    assert shipped == set(PAGES[2:])
    assert not list((ROOT / "docs").glob("*.py"))  # they would be shipped, too


MESSAGES = re.findall(
    r"^`(.+)`\n: ",
    (ROOT / "docs/guide/cluster-messages.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.mark.parametrize("shown", MESSAGES)
def test_explained_messages_are_in_the_code(shown: str) -> None:
    assert any(_reads_like(parts, shown) for parts in _message_parts()), shown


def _reads_like(parts: Sequence[str], shown: str) -> bool:
    """Whether a message with these literal parts, and values between them, can read like this.

    Only the text before the first `...` is compared.
    """
    begin, cut, _ = shown.partition("...")
    position = matched = 0
    for part in parts:
        found = begin.find(part, position)
        if found < 0:  # the cut is within this part, or within the value before it
            rest = begin[position:]
            ends_here = any(part.startswith(rest[i:]) for i in range(len(rest) - 3))
            return bool(cut) and matched > 15 and (ends_here or not re.search(r"\w \w", rest))
        position, matched = found + len(part), matched + len(part)
    return matched > 20


@cache
def _message_parts() -> set[tuple[str, ...]]:
    """Literal parts of all strings of the package."""
    parts = set()
    for path in (ROOT / "lossbench").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        texts = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
        within = {id(value) for values in texts for value in values}
        texts += [[n] for n in nodes if isinstance(n, ast.Constant) and id(n) not in within]
        for values in texts:
            literals = [value.value for value in values if isinstance(value, ast.Constant)]
            parts.add(tuple(text for text in literals if isinstance(text, str) and text))
    return parts


@dataclass(frozen=True)
class Block:
    """A fenced code block of a page."""

    page: str
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def _blocks() -> Iterator[Block]:
    for path in PAGES:
        found = re.findall(
            r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
        for number, (language, text) in enumerate(found):
            yield Block(str(path.relative_to(ROOT)), number, language, text)


BLOCKS = list(_blocks())
PYTHON = [block for block in BLOCKS if block.language == "python"]
WORKFLOW = "# .github/workflows"
SUITES = [b for b in BLOCKS if b.language == "yaml" and not b.text.startswith(WORKFLOW)]
COMMANDS = [
    (block, line.partition(" #")[0].removeprefix("- run: "))
    for block in BLOCKS
    for line in map(str.strip, block.text.replace("\\\n", " ").splitlines())
    if line.removeprefix("- run: ").startswith("lossbench ")
]


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "digits.zip" in block.text:
        shutil.copy(ROOT / "reports" / "published" / "digits" / "digits.zip", tmp_path)
    with registering("a page", lambda _: "a page"):
        exec(compile(block.text, str(block), "exec"), {"__name__": "page"})
    for registry in REGISTRIES:
        registry.unregister("a page")


@pytest.fixture
def components(request: pytest.FixtureRequest) -> Iterator[None]:
    """Components that the page of a block registers, for its suites."""
    page = request.getfixturevalue("block").page
    blocks = [b for b in PYTHON if b.page == page and ".register(" in b.text]
    with registering("a page", lambda _: "a page"):
        for block in blocks:
            exec(compile(block.text, str(block), "exec"), {"__name__": "page"})
    yield
    for registry in REGISTRIES:
        registry.unregister("a page")


@pytest.mark.usefixtures("components")
@pytest.mark.parametrize("block", SUITES, ids=str)
def test_suites_plan(block: Block, tmp_path: Path) -> None:
    shown = YAML(typ="safe").load(block.text)
    path = tmp_path / "shown.yaml"
    if "suite" in shown:
        path.write_text(block.text, encoding="utf-8")
    else:
        assert set(shown) <= set(Suite.model_fields)
        with path.open("w", encoding="utf-8") as file:
            YAML(typ="safe").dump({**BASE, **shown}, file)
    suite = load_suite(path)
    resolved = resolve_suite(suite)
    missing = missing_data(resolved, tmp_path)
    assert all("lossbench data prepare" in message for message in missing)
    plan = plan_without_data(resolved, missing) if missing else check(suite, tmp_path)
    assert plan.trials


def test_the_page_with_everything_in_one_file_can_be_followed(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    code, suite = (
        next(
            b.text for b in BLOCKS if b.page == "docs/guide/one-file.md" and b.language == language
        )
        for language in ("python", "yaml")
    )
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(suite, encoding="utf-8")
    plugin = ("--plugin", tmp_path / "mine.py")
    status, out, err = run("plan", tmp_path / "mine.yaml", *plugin)
    assert (status, err) == (0, "")
    assert "6 trials, 6 to train" in out
    read_plugins([tmp_path / "mine.py"])
    plan = check(load_suite(tmp_path / "mine.yaml", ["recipe.epochs=2"]), tmp_path)
    (tmp_path / "out").mkdir()
    result = run_trial(plan.trials[0], data_root=tmp_path, artifacts=tmp_path / "out")
    assert (result.status, result.failures, result.reason) == ("finished", {}, "")
    assert 0 < result.metrics["entropy"] < math.log(10)
    assert set(plan.trials[0].sources) == {
        *("model my_model", "augmentation my_augmentation"),
        *("optimizer my_optimizer", "schedule my_schedule"),
    }
    forget(str(tmp_path / "mine.py"))


@pytest.mark.parametrize(("block", "line"), COMMANDS, ids=[f"{b}: {line}" for b, line in COMMANDS])
def test_commands_parse(block: Block, line: str) -> None:
    """Commands, options and their values exist."""
    words = shlex.split(line)[1:]
    if words[0].startswith("--"):
        program = typer.main.get_command(app)
        assert words[0] in {option for p in program.params for option in p.opts}
        return
    name = words.pop(0)
    command = load_command(name)
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    if ">" in words:
        words = words[: words.index(">")]
    if "||" in words:
        words = words[: words.index("||")]
    command.make_context(name, words)


@pytest.mark.parametrize("name", pages.GENERATED)
def test_the_list_of_pages_has_the_titles_of_generated_pages(name: str) -> None:
    assert pages.generate_page(name).splitlines()[0] == f"# {pages.page_titles()[name]}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MkDocsConfig:
    """Configuration of the site, without drawing figures."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "generator")
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    import figures

    monkeypatch.setattr(figures, "draw", lambda name, settings: b"")
    return load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)


def test_the_site_builds(site: MkDocsConfig) -> None:
    build(site)
    made = Path(site.site_dir)
    verbs = (made / "reference/cli/index.html").read_text(encoding="utf-8")
    assert all(f"lossbench {verb}" in verbs for verb in ("run", "check", "data prepare"))
    assert "--min-effect METRIC=NUMBER" in verbs
    index = (made / "losses/index.html").read_text(encoding="utf-8")
    assert index.index(">Noisy labels<") < index.rindex('href="elr/"')
    assert "float, &gt;= 0" in (made / "losses/lgm/index.html").read_text(encoding="utf-8")
    for page in made.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "arithmatex" not in text, page  # every equation is MathML
        fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', text)
        assert not fetched, page


def test_the_forest_plot_of_the_guide_is_that_of_the_example(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs" / "generator")
    import forest

    console = Console(width=98, file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), record=True)
    console.print(TextForest(forest.example(), {}))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    guide = (ROOT / "docs/guide/read-a-verdict.md").read_text(encoding="utf-8")
    assert "\n".join(["```", *lines, "```"]) in guide
    assert forest.draw().startswith(b"\x89PNG")


def test_the_readme_names_every_outcome_of_a_verdict() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [described] = [part for part in readme.split("\n- ") if "*verdict*" in part]
    assert all(word in described for word in ("better", "worse", "equivalent", "undecided"))
    assert "paired t test" not in described


def test_a_loss_without_a_page_ends_the_build(
    site: MkDocsConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import losses

    names = losses.loss_names()
    monkeypatch.setattr(losses, "loss_names", lambda: [*names, "pageless"])
    with pytest.raises(Abort):
        build(site)
    assert "docs/losses/pageless.md: no such file" in caplog.text


def test_a_page_without_a_known_kind_ends_the_build(
    site: MkDocsConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import losses

    monkeypatch.delitem(losses.KINDS, "long tails")
    with pytest.raises(Abort):
        build(site)
    assert "docs/losses/balanced_softmax.md: kind: 'long tails' should be one of" in caplog.text


@pytest.mark.parametrize("path", sorted((ROOT / "docs/losses").glob("*.md")), ids=lambda p: p.stem)
def test_the_page_of_a_loss(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has an equation, advice, and a figure that can be drawn."""
    text, meta = get_data(path.read_text(encoding="utf-8"))
    assert "\n$$\n" in text
    assert "\n## When to use it\n" in text
    monkeypatch.syspath_prepend(ROOT / "docs" / "generator")
    import figures

    for params in meta["figure"]:
        LOSSES[path.stem].resolve(params)
    monkeypatch.setattr(figures, "SIDE", 7)
    monkeypatch.setattr(figures, "FIT_STEPS", 2)
    assert figures.draw(path.stem, meta["figure"][:1]).startswith(b"\x89PNG")

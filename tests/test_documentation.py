"""The README and the operations guide name what there is."""

import pathlib
import re

import pytest

from nodepool_tx.cli.main import VERBS
from nodepool_tx.cli.options import parse
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.tap import INTERVALS, Options

ROOT = pathlib.Path(__file__).resolve().parents[1]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_option_of_the_launcher_is_described_with_its_default() -> None:
    """And so is the environment variable that stands for it."""
    for name, _, default, *_ in Options({}).optParameters:
        row = re.search(rf"^\| `--{name}`.*$", OPERATIONS, re.MULTILINE)
        assert row is not None, f"--{name} is not described"
        if default is not None:
            assert f"{default:g}" if isinstance(default, float) else default in row[0]
    for name, variable, default, _ in INTERVALS:
        assert f"| `--{name}` | `{variable}` | {default:g} |" in OPERATIONS


def test_every_verb_is_described() -> None:
    """In the table of the command line."""
    for verb in (*VERBS, "config-validate"):
        assert re.search(rf"^\| `{verb}[ `]", OPERATIONS, re.MULTILINE), verb


def test_every_option_of_the_command_line_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that all verbs have, and those of each verb."""
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    for verb in VERBS:
        with pytest.raises(SystemExit):
            parse([verb, "--help"], {})
        known |= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert known - {"--help", "--version"} <= set(re.findall(r"--[a-z-]+", OPERATIONS))


def test_every_exit_code_is_described() -> None:
    """In the guide and in ``--help``."""
    for code in ExitCode:
        assert re.search(rf"^\| ([0-9, ]+, )?{int(code)}[ ,]", OPERATIONS, re.MULTILINE), code


def test_links_lead_somewhere() -> None:
    """Files of this repository that a page refers to exist, and so do headings."""
    for page in PAGES:
        text = page.read_text()
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith("https://"):
                continue
            path, _, heading = target.partition("#")
            if path:
                assert (page.parent / path).exists(), f"{page.name}: {target}"
            else:
                headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
                assert heading in {h.lower().replace(" ", "-") for h in headings}, target


def test_the_commands_of_the_readme_are_there() -> None:
    """The two that one begins with can be run."""
    readme = (ROOT / "README.md").read_text()
    for command in ("bin/demo", "bin/test"):
        assert f"```sh\n{command}\n```" in readme
        assert (ROOT / command).stat().st_mode & 0o111

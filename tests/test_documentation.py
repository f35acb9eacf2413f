"""The pages name what there is."""

import ast
import pathlib
import re

import pytest

from nodepool_tx.cli.commands import known_verbs, parse
from nodepool_tx.cli.outcome import ExitCode
from nodepool_tx.options import INTERVALS, Options

VERBS = [name for name, verb in known_verbs().known.items() if not verb.hidden]
ROOT = pathlib.Path(__file__).resolve().parents[1]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = (ROOT / "docs" / "command-line.md").read_text()
DEFECTS = (ROOT / "docs" / "defects.md").read_text()
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
    """In a table of the page about the command line."""
    for verb in VERBS:
        assert re.search(rf"^\| `{verb}[ `]", COMMANDS, re.MULTILINE), verb


def test_every_option_of_the_command_line_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that all verbs have, and those of each verb."""
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    for verb in VERBS:
        with pytest.raises(SystemExit):
            parse([verb, "--help"], {})
        known |= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert known - {"--help", "--version"} <= set(re.findall(r"--[a-z-]+", COMMANDS))


def test_every_exit_code_is_described() -> None:
    """In the guide and in ``--help``."""
    for code in ExitCode:
        assert re.search(rf"^\| ([0-9, ]+, )?{int(code)}[ ,]", COMMANDS, re.MULTILINE), code


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
                plain = (re.sub(r"[^\w -]", "", h.lower()) for h in headings)
                assert heading in {h.replace(" ", "-") for h in plain}, target


def test_the_commands_of_the_readme_are_there() -> None:
    """The two that one begins with can be run."""
    readme = (ROOT / "README.md").read_text()
    for command in ("bin/demo", "bin/test"):
        assert f"```sh\n{command}\n```" in readme
        assert (ROOT / command).stat().st_mode & 0o111


def _tests_in(path: pathlib.Path) -> set[str]:
    """The names of the tests of a file, as pytest has them."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        names |= {prefix + item.name for item in inner if isinstance(item, functions)}
    return names


def test_the_tests_named_for_defects_are_there() -> None:
    """Each test that protects from a defect exists under the name the list has."""
    listed = re.findall(r"`([\w/]+\.py)::(\w+(?:::\w+)?)`", DEFECTS)
    assert len(listed) > 50
    missing = {f"{path}::{name}" for path, name in listed if not (ROOT / "tests" / path).exists()}
    missing |= {
        f"{path}::{name}"
        for path, name in listed
        if (ROOT / "tests" / path).exists() and name not in _tests_in(ROOT / "tests" / path)
    }
    assert missing == set()


def test_every_defect_is_listed_once() -> None:
    """All 39; and no test is named for a defect that the list says cannot happen yet."""
    numbers = re.findall(r"^\| (\d+) \|", DEFECTS, re.MULTILINE)
    assert sorted(map(int, numbers)) == list(range(1, 40))
    there, not_yet = DEFECTS.split("## What belongs to parts that are not built yet")
    for number in re.findall(r"test_defect_(\d+)_", " ".join(_names_of_all_tests())):
        assert f"\n| {number} |" in there
        assert f"\n| {number} |" not in not_yet


def _names_of_all_tests() -> set[str]:
    return set().union(*(_tests_in(path) for path in (ROOT / "tests").rglob("test_*.py")))

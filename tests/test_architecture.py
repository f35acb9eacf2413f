"""Rules of the house that can be checked by reading the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nodepool_tx

ROOT = Path(nodepool_tx.__file__).parent
MODULES = {
    ".".join(("nodepool_tx", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}

#: What each part may use, itself and the version apart.  Arrows point one way:
#: a part never uses, even by way of others, what uses it.
MAY_USE = {
    # Know nothing of each other.
    "audit": "",
    "collecting": "",
    "config": "",
    "embedded": "",
    "events": "",
    "logs": "",
    "model": "",
    "names": "",
    "offload": "",
    "nodescan": "sharing",
    "periodic": "",
    "resources": "",
    "root": "",
    "sharing": "",
    "steady": "",
    "txzookeeper": "",
    "work": "",
    # What is in ZooKeeper, and who is given what of it.
    "store": "model txzookeeper work",
    "pools": "events model resources store txzookeeper work",
    "reports": "model",
    # Where nodes come from; drivers know all but each other.
    "providers": "config events model nodescan periodic pools store txzookeeper work",
    "providers.cloud": (
        "config events model nodescan periodic pools providers resources store txzookeeper work"
    ),
    "providers.openstack": "config events model providers providers.cloud resources sharing",
    "providers.fake": "config nodescan providers providers.cloud providers.openstack store",
    "providers.metastatic": (
        "config model pools providers providers.cloud resources store txzookeeper work"
    ),
    "providers.static": "config events model nodescan pools providers store work",
    # The launcher around them.
    "janitor": "config model periodic pools store work",
    "minready": "config model periodic store txzookeeper work",
    "reload_plan": "config events",
    "reload": "config events periodic pools providers reload_plan store work",
    "preview": "config model providers.static reload_plan store",
    "check": (
        "config maintenance model preview providers.cloud providers.metastatic providers.static "
        "store txzookeeper"
    ),
    "launcher": "config events model pools providers reload store txzookeeper work",
    "metrics": "events launcher model nodescan periodic pools providers reload store txzookeeper",
    "maintenance": "config model store work",
    "signals": "maintenance reload store",
    "auth": "audit config nodescan",
    "manhole": (
        "audit auth config explain logs model pools providers reload reports status store work"
    ),
    # What people see of it from outside.
    "history": "events",
    "status": (
        "config history launcher model periodic pools providers reload reports store txzookeeper"
    ),
    "explain": "config model pools providers resources store txzookeeper work",
    "web": "config events history model pools providers reports status store txzookeeper work",
    "leases": "audit auth config model store web work",
    # The places where everything is put together.
    "assembly": (
        "audit auth config embedded events explain history janitor launcher leases metrics "
        "minready nodescan offload options pools providers reload status store txzookeeper web"
    ),
    "tap": (
        "assembly collecting explain leases logs maintenance manhole names options root signals "
        "steady web work"
    ),
    "options": "config embedded logs",
    "cli": (
        "check config embedded explain logs maintenance model names offload pools preview "
        "providers.cloud reports resources store txzookeeper"
    ),
    # For tests, ours and others'.
    "testing": "nodescan txzookeeper",
}

#: Where it is decided which reactor runs.
MAY_IMPORT_THE_REACTOR = ("tap", "cli")


def part_of(module: str) -> str:
    """The part of the program a module belongs to."""
    parts = module.split(".")[1:]
    for length in (2, 1):
        if ".".join(parts[:length]) in MAY_USE:
            return ".".join(parts[:length])
    return parts[0] if parts else ""


def imported(tree: ast.Module) -> Iterator[str]:
    """Everything a module imports, anywhere in it; both parts of a ``from``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                ours = node.module.startswith("nodepool_tx")
                yield name if not ours or name in MODULES else node.module


def uses() -> dict[str, set[str]]:
    """Which parts each part uses."""
    found: dict[str, set[str]] = {part: set() for part in MAY_USE}
    for module, tree in TREES.items():
        for name in imported(tree):
            if name.startswith("nodepool_tx") and part_of(name) not in ("", part_of(module)):
                found.setdefault(part_of(module), set()).add(part_of(name))
    found.pop("", None)
    return found


@pytest.mark.parametrize("part", sorted(uses()))
def test_dependencies(part: str) -> None:
    """Each part uses what it may, and the table above holds no more than is true."""
    assert part in MAY_USE, f"{part} is new: say above what it may use"
    assert uses()[part] == set(MAY_USE[part].split())


def test_no_cycles() -> None:
    """No part uses what uses it."""
    order: list[str] = []

    def visit(part: str, path: tuple[str, ...]) -> None:
        assert part not in path, f"{' -> '.join((*path, part))}"
        if part not in order:
            for other in MAY_USE[part].split():
                visit(other, (*path, part))
            order.append(part)

    for part in MAY_USE:
        visit(part, ())


def test_the_reactor_is_passed_in() -> None:
    """Nothing below the places where everything is put together imports the reactor."""
    importing = {
        module for module, tree in TREES.items() if "twisted.internet.reactor" in imported(tree)
    }
    assert {part_of(module) for module in importing} <= set(MAY_IMPORT_THE_REACTOR)


def test_importing_has_no_effect() -> None:
    """Importing every module neither installs a reactor nor says anything."""
    program = (
        "import importlib, sys\n"
        f"for name in {sorted(MODULES)!r}:\n"
        "    importlib.import_module(name)\n"
        "assert 'twisted.internet.reactor' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module(module: str) -> None:
    """A module says what it is for, is short, and is not called after nothing."""
    docstring = ast.get_docstring(TREES[module])
    assert docstring, "a module begins with what it is for"
    assert len(MODULES[module].read_text().splitlines()) < 500
    assert not {"util", "utils", "common", "helper", "helpers", "misc"} & set(module.split("."))


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("module", sorted(MODULES))
def test_log_formats_are_constant(module: str) -> None:
    """What is logged is a constant text with fields, so that events can be told apart."""
    for name, call in calls(TREES[module]):
        owner, _, level = name.rpartition(".")
        levels = ("debug", "info", "warn", "error", "critical", "failure")
        if owner.rpartition(".")[2] in ("_log", "log") and level in levels:
            assert not isinstance(call.args[0], (ast.JoinedStr, ast.BinOp)), ast.unparse(call)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_time_comes_from_a_clock(module: str) -> None:
    """Nobody sleeps, and nobody but the command line asks the system for the time."""
    forbidden = {"time.sleep", "sleep"}
    if part_of(module) != "cli":
        forbidden |= {"time.time", "time.monotonic", "datetime.now", "datetime.datetime.now"}
    assert not forbidden & {name for name, _ in calls(TREES[module])}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_is_swallowed_or_put_off(module: str) -> None:
    """No bare ``except``, and nothing left to be done."""
    for node in ast.walk(TREES[module]):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None)
    source = MODULES[module].read_text()
    for mark in ("TODO", "FIXME", "XXX", "NotImplementedError"):
        assert mark not in source

"""Rules of the house that can be checked by reading the source."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nodepool_tx

ROOT = Path(nodepool_tx.__file__).parent
MODULES = {
    ".".join(("nodepool_tx", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}

#: What each part may use, itself and the version apart.  Arrows point one way:
#: a part never uses, even by way of others, what uses it.
MAY_USE = {
    # Know nothing of each other.
    "audit": "",
    "collecting": "",
    "config": "",
    "drafts": "",
    "embedded": "",
    "events": "",
    "logs": "",
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
    "model": "drafts",
    "store": "drafts model txzookeeper work",
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


@functools.cache
def read(module: str) -> tuple[ast.Module, tuple[ast.AST, ...]]:
    """The parsed source of a module, and all nodes of it: every rule looks at them."""
    tree = ast.parse(MODULES[module].read_text())
    return tree, tuple(ast.walk(tree))


def offenders(offends: Callable[[str], object]) -> list[str]:
    """The modules that do what they should not, each with what it does."""
    return [f"{module}: {found}" for module in MODULES if (found := offends(module))]


@functools.cache
def imported(module: str) -> tuple[str, ...]:
    """Everything a module imports, anywhere in it; both parts of a ``from``."""
    found: list[str] = []
    for node in read(module)[1]:
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            assert node.module
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                ours = node.module.startswith("nodepool_tx")
                found.append(name if not ours or name in MODULES else node.module)
    return tuple(found)


def uses() -> dict[str, set[str]]:
    """Which parts each part uses."""
    found: dict[str, set[str]] = {part_of(module): set() for module in MODULES}
    for module in MODULES:
        for name in imported(module):
            if name.startswith("nodepool_tx") and part_of(name) not in ("", part_of(module)):
                found[part_of(module)].add(part_of(name))
    found.pop("", None)
    return found


def test_dependencies() -> None:
    """Each part uses what it may, and the table above holds no more than is true."""
    assert uses() == {part: set(others.split()) for part, others in MAY_USE.items()}


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
    importing = {module for module in MODULES if "twisted.internet.reactor" in imported(module)}
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


def test_docstrings() -> None:
    """A module begins with what it is for."""
    assert offenders(lambda module: not ast.get_docstring(read(module)[0])) == []


def test_length_and_names() -> None:
    """A module is short, and is not called after nothing."""
    nothing = {"util", "utils", "common", "helper", "helpers", "misc"}
    assert offenders(lambda module: nothing & set(module.split("."))) == []
    lines = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert offenders(lambda module: lines[module] >= 500) == []


def dotted(node: ast.AST) -> str:
    """How something is called in the source; what is no name in it is a question mark."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


@functools.cache
def calls(module: str) -> tuple[tuple[str, ast.Call], ...]:
    """Every call with the dotted name of what is called."""
    return tuple(
        (dotted(node.func), node) for node in read(module)[1] if isinstance(node, ast.Call)
    )


def test_log_formats_are_constant() -> None:
    """What is logged is a constant text with fields, so that events can be told apart."""
    levels = ("debug", "info", "warn", "error", "critical", "failure")

    def made_up(module: str) -> Iterator[str]:
        for name, call in calls(module):
            owner, _, level = name.rpartition(".")
            logs = owner.rpartition(".")[2] in ("_log", "log") and level in levels
            if logs and isinstance(call.args[0], (ast.JoinedStr, ast.BinOp)):
                yield ast.unparse(call)

    assert offenders(lambda module: list(made_up(module))) == []


def test_time_comes_from_a_clock() -> None:
    """Nobody sleeps, and nobody but the command line asks the system for the time."""
    sleeps = {"time.sleep", "sleep"}
    tells = {"time.time", "time.monotonic", "datetime.now", "datetime.datetime.now"}

    def does(module: str) -> set[str]:
        forbidden = sleeps if part_of(module) == "cli" else sleeps | tells
        return forbidden & {name for name, _ in calls(module)}

    assert offenders(does) == []


def test_nothing_is_swallowed() -> None:
    """No bare ``except``."""

    def bare(module: str) -> list[int]:
        handlers = (node for node in read(module)[1] if isinstance(node, ast.ExceptHandler))
        return [handler.lineno for handler in handlers if handler.type is None]

    assert offenders(bare) == []


def test_nothing_is_put_off() -> None:
    """Nothing is left to be done."""
    marks = ("TODO", "FIXME", "XXX", "NotImplementedError")
    text = {module: path.read_text() for module, path in MODULES.items()}
    assert offenders(lambda module: [mark for mark in marks if mark in text[module]]) == []

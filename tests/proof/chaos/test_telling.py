"""Options, the report, and reading of logs."""

from __future__ import annotations

import json
import pathlib
from importlib.util import find_spec
from random import Random

import attrs
import pytest
import yaml

from nodepool_tx.config import load_config
from proof.chaos.books import Books, End
from proof.chaos.configs import HOSTS, WISHES, Configs
from proof.chaos.hosts import Machine
from proof.chaos.launchers import at_ensemble
from proof.chaos.options import parse
from proof.chaos.report import Run, append, plot, write_page
from proof.chaos.verdict import LogWatch, Verdict

RUN = Run(
    date="2026-11-22T22:00:00+00:00",
    seed=7,
    minutes=1.5,
    launchers=3,
    clients=30,
    faults={"network-cut": 2, "clock-hours": 1},
    requests={"served": 1200, "failed": 3, "cancelled": 4, "orphaned": 5, "spoiled": 6},
    transactions=12345,
    rests=1,
    longest_wait=51.4,
    deaths=2,
    violations=[],
)


def test_options() -> None:
    """What is said is read, and a seed is chosen when none is named."""
    options = parse(["--minutes", "2.5", "--only", "network,clock-hours", "--keep"])
    assert (options.minutes, options.only, options.keep) == (2.5, ("network", "clock-hours"), True)
    assert parse(["--seed", "7"]).seed == 7


@pytest.mark.parametrize(
    "words", [["--only", "nonsense"], ["--minutes", "0"], ["--clients", "-1"], ["--seed", "x"]]
)
def test_options_that_make_no_sense(words: list[str]) -> None:
    """They are refused."""
    with pytest.raises(SystemExit):
        parse(words)


def test_runs_add_up(tmp_path: pathlib.Path) -> None:
    """Each run is a row, and the page says what all of them came to."""
    append(tmp_path, RUN)
    append(tmp_path, attrs.evolve(RUN, seed=8, violations=["lock: words"]))
    assert [run["seed"] for run in json.loads((tmp_path / "chaos.json").read_text())] == [7, 8]
    page = (tmp_path / "chaos.md").read_text()
    assert "In all 2 runs, 3 minutes with 6 faults, 24,690 transactions checked" in page
    assert "| 7 | 1.5 | 3 | 1,200 | 3 | 4 | 5 | 6 | 51 | 12,345 | 1 | 0 |" in page
    assert "| network-cut | 4 |" in page


def test_violations_are_told_with_what_was_behind_them(tmp_path: pathlib.Path) -> None:
    """A run in which rules were broken is there with the first, their number and the verdict."""
    append(tmp_path, attrs.evolve(RUN, seed=8, violations=["lock: a|b", "more"], verdict="mended"))
    append(tmp_path, attrs.evolve(RUN, seed=9, violations=["rest: words"]))
    append(tmp_path, attrs.evolve(RUN, seed=10, verdict="helped by hand"))
    append(tmp_path, attrs.evolve(RUN, seed=11))
    path = tmp_path / "chaos.json"
    page = (tmp_path / "chaos.md").read_text()
    assert f"| {RUN.date} | 8 | lock: a\\|b | 2 | mended |" in page
    assert f"| {RUN.date} | 9 | rest: words | 1 | nobody has looked into it yet |" in page
    assert f"| {RUN.date} | 10 | none | 0 | helped by hand |" in page
    assert f"| {RUN.date} | 11 | none" not in page
    runs = json.loads(path.read_text())
    runs[1]["verdict"] = "the instrument"
    path.write_text(json.dumps(runs))
    write_page(tmp_path)
    assert "| 9 | rest: words | 1 | the instrument |" in (tmp_path / "chaos.md").read_text()


def test_plot(tmp_path: pathlib.Path) -> None:
    """What was served, what struck and when all was healed is drawn where that can be done."""
    path = tmp_path / "chaos.svg"
    can = find_spec("matplotlib") is not None
    drawn = plot(path, "a title", [1.0, 2.0, 11.0], [(3.0, "network-cut")], [(10.0, 12.0)])
    assert (drawn, path.exists()) == (can, can)


def test_a_log_is_read_once(tmp_path: pathlib.Path) -> None:
    """What nobody has foreseen is told once, with what follows, and not before its line ends."""
    path = tmp_path / "log"
    watch = LogWatch(path)
    assert watch.look() is None
    path.write_text("all is well\nTrace")
    assert watch.look() is None
    with path.open("a") as log:
        log.write("back (most recent call last)\n  here\n")
    found = watch.look()
    assert found is not None
    assert "Traceback (most recent call last)\n  here" in found
    assert watch.look() is None


def test_a_breach_is_told_with_its_trail() -> None:
    """A line for what is wrong, and one for each step that led to it."""
    verdict = Verdict()
    verdict.add("lock", "somebody did it", ["first", "second"])
    assert not verdict.good
    assert str(verdict.breaches[0]) == "lock: somebody did it\n    first\n    second"


def test_a_request_ends_once() -> None:
    """The books refuse a second end."""
    books = Books()
    account = books.begin("zuul-0", ["small"])
    books.close(account, End.SERVED)
    assert (books.open, books.ends[End.SERVED]) == ([], 1)
    with pytest.raises(AssertionError):
        books.close(account, End.FAILED)


@pytest.mark.parametrize("seed", range(20))
def test_configurations(seed: int, tmp_path: pathlib.Path) -> None:
    """Every configuration is good, and one pool in it has all labels of each wish."""
    machines = [Machine.make(None, f"127.1.0.{n}") for n in range(1, HOSTS + 1)]
    for number, machine in enumerate(machines):
        machine.port = 2200 + number
    configs = Configs(machines)
    chosen = configs.some(Random(seed)) if seed else configs.everything()
    path = tmp_path / "nodepool.yaml"
    path.write_text(yaml.safe_dump(at_ensemble(chosen, [2181, 2182])))
    config = load_config(str(path))
    pools = [pool for provider in config.providers.values() for pool in provider.pools]
    for wish in WISHES:
        assert any(set(wish) <= set(pool.labels) for pool in pools), wish

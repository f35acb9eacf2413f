"""What every test gets."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings
from twisted.logger import LogEvent, LogLevel, eventAsText, globalLogBeginner

from tests.servers.warm import warm

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without looking for garbage, and leave them out of every later search.

    Thousands of tests are kept to the end: half of what it takes to collect
    them goes into finding that out again and again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _what_is_left_of_other_modules() -> None:
    """Leave out of every later search for garbage what is still there of earlier modules.

    Worlds, caches and imports of thousands of tests stay until the end, and
    many tests search for garbage: most of their time went into that.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _programs_begin_warm() -> Iterator[None]:
    """Do not import the same again for each launcher and each command line."""
    with warm():
        yield


@pytest.fixture(scope="session", autouse=True)
def _scratch_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run in a directory of its own: trial's ``mktemp`` makes folders where it stands."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_kept_that_is_logged() -> None:
    """Begin to log, and show what is critical.

    Until somebody begins, Twisted keeps what is logged, and with it whoever
    logged it: what is left of one test would end in the middle of another.
    """
    shown = warnings.showwarning
    globalLogBeginner.beginLoggingTo([_show], discardBuffer=True, redirectStandardIO=False)
    warnings.showwarning = shown


def _show(event: LogEvent) -> None:
    if event["log_level"] is LogLevel.critical:
        sys.stderr.write(eventAsText(event, includeTimestamp=False, includeSystem=False) + "\n")

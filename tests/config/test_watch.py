"""Changed files are noticed, read once at rest, and handed on once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodepool_tx.config import Config, ConfigErrors, ConfigWatcher, Sources, load_config, watch
from nodepool_tx.config.watch import CheckResult
from tests.config.parsing import BUILT_IN

ONE = "labels: [{name: one}]\n"
TWO = "labels: [{name: two}]\n"
BAD = "labels: [{nome: one}]\n"


class Watched:
    """Two files, a watcher of them, and everything it said."""

    def __init__(self, folder: Path, **options: Any) -> None:
        folder.mkdir()
        self.path = folder / "nodepool.yaml"
        self.secure = folder / "secure.yaml"
        self.clock = Clock()
        self.said: list[Config | ConfigErrors] = []
        self._time = 1_000_000_000
        self._options = options

    def write(self, text: str, path: Path | None = None) -> None:
        """Write a file in place; its time of modification moves on."""
        path = path or self.path
        path.write_text(text)
        self._time += 1_000_000
        os.utime(path, ns=(self._time, self._time))

    def start(self, *, initial: bool = False, **options: Any) -> ConfigWatcher:
        """A watcher that runs; ``initial`` when the files were loaded before."""
        paths = (str(self.path), str(self.secure) if self.secure.exists() else None)
        defaults: dict[str, Any] = {
            "clock": self.clock,
            "interval": 1.0,
            "on_config": self.said.append,
            "on_errors": self.said.append,
            "offload": lambda parse: fail(AssertionError("nothing is that large")),
            "env": {},
            "drivers": BUILT_IN,
            "initial": load_config(*paths, env={}, drivers=BUILT_IN) if initial else None,
        }
        watcher = ConfigWatcher(*paths, **(defaults | options))
        watcher.startService()
        return watcher

    def rounds(self, number: int) -> None:
        """Let so many rounds pass."""
        for _ in range(number):
            self.clock.advance(1.0)

    def labels(self) -> list[str]:
        """What was said: labels of configurations, or that there were errors."""
        return [
            " ".join(what.labels) if isinstance(what, Config) else "errors" for what in self.said
        ]


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = Watched(Path(self.mktemp()))
        self.files.write(ONE)

    def result(self, of: Deferred[CheckResult]) -> CheckResult:
        return self.successResultOf(of)

    def test_the_start_loads(self) -> None:
        """Without a configuration from before, the start hands on the first one."""
        watcher = self.files.start()
        self.assertEqual(self.files.labels(), ["one"])
        self.assertIs(watcher.current, self.files.said[0])
        self.files.rounds(5)
        self.assertEqual(self.files.labels(), ["one"])

    def test_what_was_loaded_before_is_not_handed_on(self) -> None:
        """With a configuration from before, only what differs from it counts."""
        watcher = self.files.start(initial=True)
        self.files.rounds(5)
        self.assertEqual(self.files.said, [])
        self.assertEqual(list(watcher.current.labels), ["one"])
        self.files.write(TWO)
        self.files.rounds(5)
        self.assertEqual(self.files.labels(), ["two"])

    def test_a_change_is_read_at_rest(self) -> None:
        """A changed file is read when two looks in a row agree."""
        self.files.start(initial=True)
        self.files.rounds(3)
        self.files.write(TWO)
        self.files.rounds(1)
        self.assertEqual(self.files.labels(), [])
        self.files.rounds(1)
        self.assertEqual(self.files.labels(), ["two"])

    def test_a_file_that_is_being_written_is_left_alone(self) -> None:
        """Half of a file is never handed on, however well it reads."""
        self.files.start(initial=True)
        self.files.rounds(3)
        lines = ["labels:\n", *(f"  - name: part{number}\n" for number in range(10))]
        for number in range(1, len(lines) + 1):
            self.files.write("".join(lines[:number]))
            self.files.rounds(1)
        self.assertEqual(self.files.said, [])
        self.files.rounds(1)
        self.assertEqual(self.files.labels(), [" ".join(f"part{number}" for number in range(10))])

    def test_a_file_that_changes_while_it_is_read(self) -> None:
        """What was read while the file changed is thrown away and read again."""
        self.files.start(initial=True)
        self.files.rounds(3)
        self.files.write(BAD)
        self.files.rounds(1)
        real, texts = watch.read_sources, [TWO]

        def read_and_change(*paths: Any) -> Sources:
            sources = real(*paths)
            if texts:
                self.files.write(texts.pop())
            return sources

        # No file system changes a file at the moment a test needs.
        self.patch(watch, "read_sources", read_and_change)
        self.files.rounds(1)
        self.assertEqual(self.files.said, [])
        self.files.rounds(1)
        self.assertEqual(self.files.labels(), ["two"])

    def test_a_file_replaced_by_another(self) -> None:
        """A file moved over the old one counts even at the same time and size."""
        self.files.start(initial=True)
        self.files.rounds(3)
        before = self.files.path.stat()
        other = self.files.path.with_suffix(".new")
        other.write_text(TWO)
        os.utime(other, ns=(before.st_mtime_ns, before.st_mtime_ns))
        other.replace(self.files.path)
        self.files.rounds(2)
        self.assertEqual(self.files.labels(), ["two"])

    def test_a_touched_file_is_no_news(self) -> None:
        """A new time of modification alone hands on nothing."""
        watcher = self.files.start(initial=True)
        before = watcher.current
        for _ in range(3):
            self.files.write(ONE)
            self.files.rounds(3)
        self.assertEqual(self.files.said, [])
        self.assertIs(watcher.current, before)

    def test_a_file_away_for_a_moment(self) -> None:
        """A file that is back at the next look was never missed."""
        self.files.start(initial=True)
        self.files.rounds(3)
        self.files.path.unlink()
        self.files.rounds(1)
        self.files.write(TWO)
        self.files.rounds(2)
        self.assertEqual(self.files.labels(), ["two"])

    def test_a_file_that_is_gone(self) -> None:
        """A file that stays away is said once; its return is news even unchanged."""
        watcher = self.files.start(initial=True)
        self.files.rounds(3)
        self.files.path.unlink()
        self.files.rounds(5)
        self.assertEqual(self.files.labels(), ["errors"])
        self.assertIn("does not exist", str(watcher.last_error))
        self.assertEqual(list(watcher.current.labels), ["one"])
        self.files.write(ONE)
        self.files.rounds(5)
        self.assertEqual(self.files.labels(), ["errors", "one"])
        self.assertIsNone(watcher.last_error)

    def test_errors_are_said_once(self) -> None:
        """A bad file is reported once and the last good one stays current."""
        watcher = self.files.start(initial=True)
        self.files.write(BAD)
        self.files.rounds(10)
        self.assertEqual(self.files.labels(), ["errors"])
        self.assertIs(watcher.last_error, self.files.said[0])
        self.assertEqual(list(watcher.current.labels), ["one"])
        self.files.write(BAD.replace("nome", "nane"))
        self.files.rounds(10)
        self.assertEqual(self.files.labels(), ["errors", "errors"])
        self.files.write(TWO)
        self.files.rounds(10)
        self.assertEqual(self.files.labels(), ["errors", "errors", "two"])
        self.assertIsNone(watcher.last_error)

    def test_a_bad_file_at_the_start(self) -> None:
        """The watcher goes on without any configuration until there is one."""
        self.files.write(BAD)
        watcher = self.files.start()
        self.assertEqual(self.files.labels(), ["errors"])
        self.assertIsNone(watcher.current)
        self.files.write(ONE)
        self.files.rounds(2)
        self.assertEqual(self.files.labels(), ["errors", "one"])

    def test_the_secure_file_counts_too(self) -> None:
        """A change of the secure file alone is a new configuration."""
        self.files.write("zookeeper-servers: [{host: a}]\n", self.files.secure)
        self.files.start(initial=True)
        self.files.rounds(3)
        self.files.write("zookeeper-servers: [{host: b}]\n", self.files.secure)
        self.files.rounds(2)
        (config,) = self.files.said
        self.assertEqual([server.host for server in config.zookeeper_servers], ["b"])

    def test_check_now_does_not_wait(self) -> None:
        """Whoever asks gets what is there at once, and it is not said again."""
        watcher = self.files.start(initial=True)
        self.files.write(TWO)
        self.assertEqual(self.result(watcher.check_now()), CheckResult.LOADED)
        self.assertEqual(self.files.labels(), ["two"])
        self.assertEqual(self.result(watcher.check_now()), CheckResult.UNCHANGED)
        self.files.rounds(5)
        self.assertEqual(self.files.labels(), ["two"])

    def test_check_now_repeats_errors(self) -> None:
        """Whoever asks about a bad file is told again."""
        watcher = self.files.start(initial=True)
        self.files.write(BAD)
        self.files.rounds(3)
        self.assertEqual(self.result(watcher.check_now()), CheckResult.FAILED)
        self.files.rounds(3)
        self.assertEqual(self.files.labels(), ["errors", "errors"])

    def test_two_writes_within_a_tick_of_the_file_system(self) -> None:
        """What check_now read is read again at rest, since a second write may
        have left time, size and inode as they were."""
        watcher = self.files.start(initial=True)
        self.files.write(TWO)
        watcher.check_now()
        before = self.files.path.stat()
        self.files.path.write_text(TWO.replace("two", "six"))
        os.utime(self.files.path, ns=(before.st_mtime_ns, before.st_mtime_ns))
        self.files.rounds(2)
        self.assertEqual(self.files.labels(), ["two", "six"])

    def test_times(self) -> None:
        """The watcher knows when it looked and when it loaded."""
        watcher = self.files.start(initial=True)
        self.assertEqual((watcher.last_checked, watcher.last_loaded), (None, 0.0))
        self.files.rounds(3)
        self.assertEqual((watcher.last_checked, watcher.last_loaded), (3.0, 0.0))
        self.files.write(TWO)
        self.files.rounds(4)
        self.assertEqual((watcher.last_checked, watcher.last_loaded), (7.0, 5.0))

    def test_a_stopped_watcher(self) -> None:
        """After the stop nothing is looked at; a new start goes on."""
        watcher = self.files.start(initial=True)
        self.files.rounds(3)
        self.assertIsNone(self.successResultOf(watcher.stopService()))
        self.assertEqual(self.files.clock.getDelayedCalls(), [])
        self.files.write(TWO)
        self.files.rounds(3)
        self.assertEqual(self.files.said, [])
        watcher.startService()
        self.files.rounds(3)
        self.assertEqual(self.files.labels(), ["two"])


class TroubleTests(SynchronousTestCase):
    """Whatever goes wrong, the next round comes."""

    def setUp(self) -> None:
        self.files = Watched(Path(self.mktemp()))
        self.files.write(ONE)

    def test_a_receiver_that_raises(self) -> None:
        """An error of the receiver is logged and the watcher goes on."""

        def receive(what: object) -> None:
            self.files.said.append(what)  # type: ignore[arg-type]
            raise RuntimeError("cannot take it")

        watcher = self.files.start(on_config=receive, on_errors=receive)
        self.files.write(BAD)
        self.files.rounds(2)
        self.files.write(TWO)
        self.assertEqual(self.successResultOf(watcher.check_now()), CheckResult.LOADED)
        self.files.rounds(2)
        self.assertEqual(self.files.labels(), ["one", "errors", "two"])
        self.assertEqual(list(watcher.current.labels), ["two"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

    def test_a_look_that_raises(self) -> None:
        """A round that fails is logged and the next one comes."""
        self.files.start(initial=True)
        real, trouble = watch.read_sources, [OSError("broken"), OSError("broken")]

        def broken(*paths: Any) -> Sources:
            if trouble:
                raise trouble.pop()
            return real(*paths)

        # Reading never raises as far as we know; this is about what we do not know.
        self.patch(watch, "read_sources", broken)
        self.files.write(TWO)
        self.files.rounds(4)
        self.assertEqual(self.files.labels(), ["two"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)


class OffloadTests(SynchronousTestCase):
    """Large files are parsed elsewhere."""

    def setUp(self) -> None:
        self.files = Watched(Path(self.mktemp()))
        self.files.write(ONE)
        self.parses: list[tuple[Callable[[], Config], Deferred[Config]]] = []

    def offload(self, parse: Callable[[], Config]) -> Deferred[Config]:
        done: Deferred[Config] = Deferred()
        self.parses.append((parse, done))
        return done

    def finish(self) -> None:
        parse, done = self.parses.pop()
        try:
            config = parse()
        except ConfigErrors:
            done.errback()
        else:
            done.callback(config)

    def test_only_large_files_go_elsewhere(self) -> None:
        """A file of the limit's size is parsed in place, one byte more is not."""
        watcher = self.files.start(initial=True, offload=self.offload, inline_bytes=len(TWO))
        self.files.write(TWO)
        watcher.check_now()
        self.assertEqual((self.parses, self.files.labels()), ([], ["two"]))
        self.files.write(TWO + "\n")
        watcher.check_now()
        self.assertEqual(len(self.parses), 1)

    def test_one_parse_at_a_time(self) -> None:
        """While one runs no other begins; what changed meanwhile comes after it."""
        watcher = self.files.start(initial=True, offload=self.offload, inline_bytes=0)
        self.files.write(TWO)
        first = watcher.check_now()
        self.files.write(BAD)
        second = watcher.check_now()
        self.files.rounds(5)
        self.assertEqual(len(self.parses), 1)
        self.assertNoResult(first)
        self.finish()
        self.assertEqual(self.successResultOf(first), CheckResult.LOADED)
        self.assertEqual(self.files.labels(), ["two"])
        self.assertNoResult(second)
        self.finish()
        self.assertEqual(self.successResultOf(second), CheckResult.FAILED)
        self.assertEqual(self.files.labels(), ["two", "errors"])
        self.files.rounds(5)
        self.assertEqual(self.parses, [])

    def test_the_stop_waits_for_a_parse(self) -> None:
        """The stop is done when the parse is, and its result is dropped."""
        watcher = self.files.start(initial=True, offload=self.offload, inline_bytes=0)
        self.files.write(TWO)
        watcher.check_now()
        stopped = watcher.stopService()
        self.assertNoResult(stopped)
        self.finish()
        self.successResultOf(stopped)
        self.assertEqual(self.files.said, [])
        self.assertEqual(self.files.clock.getDelayedCalls(), [])

    def test_a_place_that_fails(self) -> None:
        """A parse that fails for another reason than errors in the file is
        reported as well, once, and can be asked for again."""
        outcomes: list[Any] = [lambda parse: fail(RuntimeError("no thread"))]
        watcher = self.files.start(
            initial=True,
            offload=lambda parse: outcomes[0](parse),
            inline_bytes=0,
        )
        self.files.write(TWO)
        self.files.rounds(5)
        self.assertEqual(self.files.labels(), ["errors"])
        self.assertIn("RuntimeError", str(watcher.last_error))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        outcomes[0] = lambda parse: succeed(parse())
        watcher.check_now()
        self.assertEqual(self.files.labels(), ["errors", "two"])

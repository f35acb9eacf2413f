"""What the embedded ZooKeeper reads and writes, and what it runs on."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from nodepool_tx.embedded.layout import Layout, Lock, StateDirBusy
from nodepool_tx.embedded.location import Location, is_attended, locate
from nodepool_tx.embedded.proc import MAIN_CLASS, ProcFs
from nodepool_tx.embedded.runtime import MissingRuntime, find_runtime

REQUIRED = ("zookeeper", "zookeeper-jute", "slf4j-api", "metrics-core", "snappy-java")


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    made = Layout(tmp_path / "state")
    made.create()
    return made


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> pathlib.Path:
    """A machine with Java and all jars; ``bin`` is its search path."""
    (tmp_path / "bin").mkdir()
    java = tmp_path / "bin" / "java"
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    for name in (*REQUIRED, "slf4j-log4j12", "log4j-1.2", "netty-common", "netty-all"):
        (tmp_path / f"{name}.jar").touch()
    return tmp_path


class TestRuntime:
    def test_found(self, machine: pathlib.Path) -> None:
        """Java and exactly the jars that are needed or wanted are found."""
        runtime = find_runtime(machine, str(machine / "bin"))
        assert runtime.java == str(machine / "bin" / "java")
        names = [pathlib.Path(jar).stem for jar in runtime.classpath]
        assert names == [*REQUIRED, "slf4j-log4j12", "log4j-1.2", "netty-common"]

    @pytest.mark.parametrize("name", REQUIRED)
    def test_no_zookeeper(self, machine: pathlib.Path, name: str) -> None:
        """A missing jar leads to the package, in one line."""
        (machine / f"{name}.jar").unlink()
        with pytest.raises(MissingRuntime, match="apt install zookeeper") as caught:
            find_runtime(machine, str(machine / "bin"))
        assert f"{name}.jar is not there" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_no_java(self, machine: pathlib.Path) -> None:
        """A missing Java leads to its package, in one line."""
        with pytest.raises(MissingRuntime, match="apt install default-jre-headless") as caught:
            find_runtime(machine, str(machine / "empty"))
        assert "\n" not in str(caught.value)

    def test_no_logging(self, machine: pathlib.Path) -> None:
        """Half a logging bridge is none."""
        (machine / "log4j-1.2.jar").unlink()
        with pytest.raises(MissingRuntime, match=r"liblog4j1\.2-java"):
            find_runtime(machine, str(machine / "bin"))
        for name in ("slf4j-reload4j", "reload4j"):
            (machine / f"{name}.jar").touch()
        assert (
            str(machine / "reload4j.jar") in find_runtime(machine, str(machine / "bin")).classpath
        )

    def test_java_home(self, machine: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """$JAVA_HOME comes before $PATH."""
        monkeypatch.setenv("JAVA_HOME", str(machine))
        assert find_runtime(machine).java == str(machine / "bin" / "java")
        monkeypatch.setenv("JAVA_HOME", str(machine / "empty"))
        assert find_runtime(machine).java != str(machine / "bin" / "java")


class TestLayout:
    def test_spelling(self, tmp_path: pathlib.Path) -> None:
        """One directory has one layout, however it is spelled."""
        (tmp_path / "link").symlink_to(tmp_path / "real")
        (tmp_path / "real").mkdir()
        spellings = ("real", "link", "real/../link/.")
        assert len({Layout(tmp_path / spelling) for spelling in spellings}) == 1

    def test_modes(self, tmp_path: pathlib.Path) -> None:
        """Everybody may see where the server is, nobody else its data."""
        before = os.umask(0o077)
        try:
            layout = Layout(tmp_path / "state")
            layout.create()
        finally:
            os.umask(before)
        assert layout.state_dir.stat().st_mode & 0o777 == 0o755
        assert layout.data_dir.stat().st_mode & 0o777 == 0o700
        assert layout.directory.stat().st_mode & 0o777 == 0o700

    def test_existing_directory(self, tmp_path: pathlib.Path) -> None:
        """The mode of a state directory that is there is its owner's business."""
        tmp_path.chmod(0o750)
        Layout(tmp_path).create()
        assert tmp_path.stat().st_mode & 0o777 == 0o750

    def test_config(self, layout: Layout) -> None:
        """The server is bound to loopback, durable, and quiet about everything else."""
        layout.write_config(20202)
        lines = layout.config_file.read_text().splitlines()
        for line in (
            "clientPort=20202",
            "clientPortAddress=127.0.0.1",
            "forceSync=yes",
            "admin.enableServer=false",
            "autopurge.purgeInterval=1",
            "4lw.commands.whitelist=conf,srvr",
            f"dataDir={layout.data_dir}",
        ):
            assert line in lines

    def test_strange_path(self, tmp_path: pathlib.Path) -> None:
        """A path that is no plain ASCII is written as Java reads it."""
        layout = Layout(tmp_path / "ü$\\ \U0001f600")
        layout.create()
        layout.write_config(20202)
        assert r"/\u00fc\u0024\u005c \ud83d\ude00/zookeeper/data" in layout.config_file.read_text()

    def test_log_tail(self, layout: Layout) -> None:
        """The end of the log is at hand, and a missing log is no trouble."""
        assert layout.log_tail() == []
        layout.log_file.write_text("".join(f"line {n} {'x' * 300}\n" for n in range(1000)))
        tail = layout.log_tail(2)
        assert [line[:8] for line in tail] == ["line 998", "line 999"]
        assert {len(line) for line in tail} == {200}


class TestLock:
    def test_exclusive(self, layout: Layout) -> None:
        """One holder at a time, and the next learns who."""
        first = Lock(layout)
        with pytest.raises(StateDirBusy, match=f"used by process {os.getpid()};"):
            Lock(layout)
        first.release()
        Lock(layout).release()

    def test_ends_with_the_process(self, layout: Layout) -> None:
        """A process that was killed holds nothing."""
        program = (
            "import os, sys\n"
            "from nodepool_tx.embedded.layout import Layout, Lock\n"
            "lock = Lock(Layout(sys.argv[1]))\n"
            "print('locked', flush=True)\n"
            "sys.stdin.read()\n"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", program, str(layout.state_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"locked\n"
            with pytest.raises(StateDirBusy, match=f"used by process {other.pid};"):
                Lock(layout)
            other.kill()
        Lock(layout).release()


class TestLocation:
    def test_round_trip(self, layout: Layout) -> None:
        """What is written is read."""
        location = Location("127.0.0.1", 20202, 77, 12.5)
        location.write(layout)
        assert Location.read(layout) == location
        assert location.address == "127.0.0.1:20202"

    @pytest.mark.parametrize(
        "text", ["", "[]", "null", "{}", '{"host": 1}', "\xff\xfe", '{"port": "x"}', "{" * 5000]
    )
    def test_rubbish(self, layout: Layout, text: str) -> None:
        """Rubbish is nothing."""
        layout.location_file.write_text(text)
        assert Location.read(layout) is None
        assert locate(layout.state_dir) is None

    def test_nothing(self, tmp_path: pathlib.Path) -> None:
        """A directory without a server has none."""
        assert locate(tmp_path / "missing") is None

    def test_process_id_used_again(self, layout: Layout) -> None:
        """A server that was not there to clean up is not found by its old process id."""
        Location("127.0.0.1", 20202, os.getpid(), 12.5).write(layout)
        assert locate(layout.state_dir) is None


class TestProcFs:
    def test_find(self, tmp_path: pathlib.Path, layout: Layout) -> None:
        """Exactly the servers on this data are found, by their command line."""
        config = os.fsencode(layout.config_file)
        main = MAIN_CLASS.encode()
        lines = {
            "7": [b"java", b"-cp", b"x", main, config],
            "10": [b"/opt/java", main, config],
            "11": [b"java", main, config + b".old"],
            "12": [b"vi", config],
            "13": [],
            "self": [b"java", main, config],
        }
        for name, words in lines.items():
            (tmp_path / "proc" / name).mkdir(parents=True)
            (tmp_path / "proc" / name / "cmdline").write_bytes(
                b"".join(word + b"\0" for word in words)
            )
        (tmp_path / "proc" / "99").mkdir()
        assert ProcFs(tmp_path / "proc").find(layout) == [7, 10]

    def test_is_gone(self, tmp_path: pathlib.Path) -> None:
        """A process is gone when it is a zombie or nothing, not when its command line is."""
        for pid, state in {"7": "R", "8": "Z", "9": "X", "10": "S"}.items():
            (tmp_path / pid).mkdir()
            (tmp_path / pid / "stat").write_text(f"{pid} (a ) R (b) {state} 1 1 1 0\n")
            (tmp_path / pid / "cmdline").touch()
        gone = [pid for pid in (7, 8, 9, 10, 11) if ProcFs(tmp_path).is_gone(pid)]
        assert gone == [8, 9, 11]

    def test_is_locked(self, tmp_path: pathlib.Path) -> None:
        """A lock that somebody holds is seen, and seeing it keeps nobody from taking it."""
        layout = Layout(tmp_path)
        assert not is_attended(tmp_path)
        lock = Lock(layout)
        assert is_attended(tmp_path)
        lock.release()
        assert not is_attended(tmp_path)
        assert not ProcFs(tmp_path / "nothing").is_locked(layout.lock_file)

    def test_signal_to_nobody(self) -> None:
        """A process that has gone meanwhile needs no signal."""
        gone = subprocess.Popen(["true"])
        gone.wait()
        ProcFs().signal(gone.pid, 15)

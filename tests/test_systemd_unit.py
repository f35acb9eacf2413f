"""The systemd unit in ``etc/`` fits the launcher's options and systemd's own rules."""

import configparser
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

from twisted.scripts.twistd import ServerOptions

from nodepool_tx.options import Options

UNIT = pathlib.Path(__file__).resolve().parents[1] / "etc" / "nodepool-launcher.service"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return parser


def test_the_launcher_knows_every_option_of_the_command() -> None:
    """Those before ``nodepool`` are twistd's, those after it ours."""
    program, *words = shlex.split(unit()["Service"]["ExecStart"])
    assert program.endswith("/bin/twistd")
    at = words.index("nodepool")
    for given, known in ((words[:at], ServerOptions()), (words[at + 1 :], Options({}))):
        assert given
        for word in given:
            name, equals, _ = word.removeprefix("--").partition("=")
            assert f"{name}{equals}" in known.longOpt, f"{word} is no option"


def test_a_stop_is_given_the_time_that_its_parts_may_take() -> None:
    """And only the launcher is asked to stop: its ZooKeeper must outlive its last words."""
    service = unit()["Service"]
    (patience,) = (
        float(word.partition("=")[2])
        for word in shlex.split(service["ExecStart"])
        if word.startswith("--stop-timeout=")
    )
    assert float(service["TimeoutStopSec"]) >= 10 * patience
    assert service["KillMode"] == "mixed"


def test_what_the_sample_has_written_can_be_written() -> None:
    """The directories exist and belong to the launcher; all else is read-only for it."""
    service = unit()["Service"]
    assert service["ProtectSystem"] == "strict"
    sample = (UNIT.parent / "nodepool.yaml.sample").read_text()
    for path in re.findall(r"(?:audit-log|host-key): (/\S+)", sample):
        directories = (
            f"/var/lib/{service['StateDirectory']}",
            f"/var/log/{service['LogsDirectory']}",
        )
        assert path.startswith(tuple(f"{directory}/" for directory in directories)), path
    assert "audit-log: /var/log/" in sample


def test_systemd_accepts_the_unit(tmp_path: pathlib.Path) -> None:
    """Where its checker is installed; elsewhere every key is one that it is known to accept."""
    text = UNIT.read_text()
    program = shlex.split(unit()["Service"]["ExecStart"])[0]
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(program, sys.executable))
    checker = shutil.which("systemd-analyze")
    if checker is None:
        assert unit().sections() == ["Unit", "Service", "Install"]
        return
    answer = subprocess.run(
        [checker, "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in answer.stderr.splitlines() if UNIT.name in line]
    assert complaints == []

"""Our web lists and those of Nodepool 11's own application, on what Nodepool 11 wrote."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.daemons import Endpoint
from tests.functional.launcher.process import LauncherProcess
from tests.interop.tree import Tree, eventually

PROGRAM = Path(__file__).with_name("web_program.py")

AGE = re.compile(r"\b(\d\d):(\d\d):(\d\d):(\d\d)\b")

#: Seconds that ages may differ by, as one answers after the other.
LATER = 10

LISTS = (
    "/image-list",
    "/dib-image-list",
    "/image-status",
    "/node-list",
    "/request-list",
    "/label-list",
)
ONE_NODE = "/node-list?node_id=0000000001"


@attrs.frozen
class Said:
    """An answer of either."""

    status: int
    headers: Mapping[str, str]
    text: str


class Reference:
    """Nodepool 11's application."""

    def __init__(self, endpoint: Endpoint) -> None:
        files = (str(file) for file in (endpoint.ca, endpoint.cert, endpoint.key))
        python = str(environment(NODEPOOL) / "python")
        hosts = f"{endpoint.host}:{endpoint.port}"
        self._process = subprocess.Popen(
            [python, "-I", str(PROGRAM), hosts, *files],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        while (line := self._line()) != "written":
            assert line, "Nodepool's program has ended"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def get(self, path: str, headers: Mapping[str, str]) -> Said:
        assert self._process.stdin is not None
        print(json.dumps([path, headers]), file=self._process.stdin, flush=True)
        status, found, text = json.loads(self._line())
        return Said(status, {name.lower(): value for name, value in found.items()}, text)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Ours:
    """A launcher of ours beside it."""

    def __init__(self, endpoint: Endpoint, directory: Path) -> None:
        self.launcher = LauncherProcess(directory, simulated=None)
        self.launcher.write(
            {
                **endpoint.settings(),
                "webapp": {"port": 0, "listen_address": "127.0.0.1"},
                "labels": [],
                "providers": [],
            }
        )
        self.launcher.start()
        serving = eventually(
            "serving", lambda: re.search(r"serving HTTP on \S+ port (\d+)", self.launcher.log)
        )
        self._port = int(serving[1])
        eventually("ready", lambda: self.get("/ready", {}).status == 200)

    def get(self, path: str, headers: Mapping[str, str]) -> Said:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            connection.request("GET", path, headers=dict(headers))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Said(answer.status, found, answer.read().decode())
        finally:
            connection.close()


@attrs.frozen
class Both:
    """The two, side by side on one farm."""

    theirs: Reference
    ours: Ours

    def get(self, path: str, accept: str | None = None) -> tuple[Said, Said]:
        headers = {} if accept is None else {"Accept": accept}
        return self.theirs.get(path, headers), self.ours.get(path, headers)


@pytest.fixture(scope="module")
def both(
    endpoint: Endpoint, tree: Tree, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    reference = Reference(endpoint)
    ours: Ours | None = None
    try:
        ours = Ours(endpoint, tmp_path_factory.mktemp("ours"))
        yield Both(reference, ours)
    finally:
        if ours is not None:
            ours.launcher.leave_nothing()
        reference.close()


def ages(text: str) -> list[int]:
    """All ages in a text, in seconds."""
    found = []
    for match in AGE.finditer(text):
        days, hours, minutes, seconds = map(int, match.groups())
        found.append(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    return found


def same_text(theirs: str, ours: str) -> None:
    """The same but for the order of rows, and ages that are a little older."""
    theirs_lines, ours_lines = (sorted(text.splitlines()) for text in (theirs, ours))
    plain = [[AGE.sub("age", line) for line in lines] for lines in (theirs_lines, ours_lines)]
    assert sorted(plain[1]) == sorted(plain[0])
    for before, after in zip(sorted(ages(theirs)), sorted(ages(ours)), strict=True):
        assert -1 <= after - before <= LATER


def sortable(row: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in row.items() if key != "age"})


@pytest.mark.parametrize("path", [*LISTS, ONE_NODE, "/node-list?node_id=none"])
def test_text(both: Both, path: str) -> None:
    """Each list is the same table."""
    theirs, ours = both.get(path)
    assert (ours.status, theirs.status) == (200, 200)
    same_text(theirs.text, ours.text)
    shown = len(theirs.text.splitlines())
    assert shown > 4 or path.endswith("none"), "there was something to compare"


@pytest.mark.parametrize("path", [*LISTS, ONE_NODE, "/node-list?node_id=none"])
def test_json(both: Both, path: str) -> None:
    """Each list has the same objects, keys in the same order, values of the same types."""
    theirs, ours = both.get(path, "application/json")
    rows = [sorted(json.loads(said.text), key=sortable) for said in (theirs, ours)]
    assert [list(row) for row in rows[1]] == [list(row) for row in rows[0]]
    for expected, found in zip(*rows, strict=True):
        if isinstance(expected.get("age"), str):
            assert abs(ages(found["age"])[0] - ages(expected["age"])[0]) <= LATER
            expected, found = {**expected, "age": ""}, {**found, "age": ""}
        assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize(
    "query",
    [
        "/node-list?fields=id,state,locked",
        "/node-list?fields=state,id,age",
        "/node-list?fields=id,nonsense",
        "/node-list?fields=",
        "/image-list?fields=image,age",
        "/image-status?fields=image,build_request_age",
        "/label-list?fields=label",
        "/request-list?fields=id&node_id=x",
    ],
)
def test_fields(both: Both, query: str) -> None:
    """The same columns are shown."""
    theirs, ours = both.get(query)
    same_text(theirs.text, ours.text)


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "text/*",
        "text/plain",
        "application/json",
        "application/*",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "application/json;q=0.5, text/plain;q=0.4",
        "application/json;q=0.5, text/plain",
        "application/json, text/plain",
        "application/json, */*;q=0.1",
        "text/html;q=0, */*",
        "APPLICATION/JSON",
    ],
)
def test_forms(both: Both, accept: str | None) -> None:
    """Both choose the same form for what a client accepts, and say so with the same headers."""
    theirs, ours = both.get("/label-list", accept)
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    for name in ("access-control-allow-origin", "cache-control"):
        parts = [sorted(said.headers[name].split(", ")) for said in (ours, theirs)]
        assert parts[0] == parts[1]
    for name in ("last-modified", "expires"):
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", ours.headers[name])
        assert name in theirs.headers


def test_unchanged(both: Both) -> None:
    """Both say that nothing has changed to a client that has seen it."""
    theirs, ours = both.get("/label-list")
    for said, side in ((theirs, both.theirs), (ours, both.ours)):
        seen = {"If-Modified-Since": said.headers["expires"]}
        again = side.get("/label-list", seen)
        assert again.status == 304, side
        assert again.text == ""
    tag = {"If-None-Match": ours.headers["etag"]}
    assert both.ours.get("/label-list", tag).status == 304
    assert both.ours.get("/label-list", {"If-None-Match": '"other"'}).status == 200


def test_ready_and_nothing(both: Both) -> None:
    """Readiness has the same words; what is not there is not found."""
    theirs, ours = both.get("/ready")
    assert (ours.status, ours.text) == (theirs.status, theirs.text) == (200, "OK")
    for path in ("/nonsense", "/node-list/", "/api"):
        assert [said.status for said in both.get(path)] == [404, 404]

"""Our `nodepool` and Nodepool 11's show and do the same, on what Nodepool 11 wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.daemons import Endpoint
from nodepool_tx.store import image_paths, paths
from tests.interop import reference_tools
from tests.interop.test_images import everything
from tests.interop.tree import Tree

PROGRAM = Path(__file__).with_name("command_line_program.py")
OURS = "import sys; from nodepool_tx.cli.main import main; sys.exit(main())"
TIMEOUT = 60

#: Seconds that ages may differ by, as one command runs after the other.
LATER = 30

AGE = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")

Images = dict[str, Any]


@attrs.frozen
class Farm:
    """What Nodepool 11 wrote, and both command lines."""

    endpoint: Endpoint
    tree: Tree
    config: Path

    def ours(self, *words: str, code: int = 0) -> str:
        """What our command prints."""
        done = subprocess.run(
            [sys.executable, "-c", OURS, "-c", str(self.config), *words],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == code, (words, done.stderr)
        return done.stdout

    def theirs(self, *words: str) -> str:
        """What Nodepool 11's command prints."""
        return reference_tools.command(self.config, *words)

    def classes(self, do: str) -> Images:
        """Let Nodepool 11's classes do something; what they know of images then."""
        files = (self.endpoint.ca, self.endpoint.cert, self.endpoint.key)
        hosts = f"{self.endpoint.host}:{self.endpoint.port}"
        python = str(environment(NODEPOOL) / "python")
        done = subprocess.run(
            [python, "-I", str(PROGRAM), do, hosts, *map(str, files)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: Images = json.loads(done.stdout)
        return found

    def images(self) -> dict[str, bytes]:
        """All of the tree that is about images."""
        return everything(self.tree, paths.IMAGES)

    def json(self, *words: str) -> Any:
        return json.loads(self.ours(*words, "--format", "json"))


@pytest.fixture
def farm(endpoint: Endpoint, tree: Tree, tmp_path: Path) -> Farm:
    tree.clear()
    config = tmp_path / "nodepool.yaml"
    content = {
        **endpoint.settings(),
        "labels": [],
        "diskimages": [{"name": "debian"}, {"name": "alma", "pause": True}, {"name": "new"}],
        "providers": [{"name": "rack", "driver": "static", "pools": []}],
    }
    config.write_text(json.dumps(content))
    farm = Farm(endpoint, tree, config)
    farm.classes("write")
    return farm


def tables(printed: str) -> list[list[list[str]]]:
    """The rows of each table, the headers first."""
    found: list[list[list[str]]] = []
    within = False
    for line in printed.splitlines():
        if line.startswith("+") and not within:
            found.append([])
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        # Between two tables there is something else.
        within = line.startswith(("|", "+"))
    return found


def seconds(text: str) -> int | None:
    """An age in seconds; None for what is none."""
    match = AGE.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, rest = map(int, match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def compare(ours: str, theirs: str) -> int:
    """See that both are the same, in whatever order of the rows; how many rows there are."""
    rows = 0
    for mine, yours in zip(tables(ours), tables(theirs), strict=True):
        assert mine[0] == yours[0]
        assert len(mine) == len(yours)
        for left, right in zip(sorted(mine[1:]), sorted(yours[1:]), strict=True):
            rows += 1
            for header, one, other in zip(mine[0], left, right, strict=True):
                age, later = seconds(one), seconds(other)
                if age is None or later is None:
                    # For a server that is not there yet, Nodepool 11's info has this word.
                    assert one == other or (one, other, header) == ("", "None", "Server ID")
                else:
                    assert abs(age - later) <= LATER, header
    return rows


LISTS = {
    ("list",): 5,
    ("list", "--detail"): 5,
    ("request-list",): 2,
    ("image-list",): 3,
    ("dib-image-list",): 4,
    ("image-status",): 3,
    ("info", "sky"): 4,
}


def test_lists(farm: Farm) -> None:
    """Every list has the same headers and values, field by field."""
    # One node and the image being built are locked, as their users do.
    node, image = paths.node_lock("0000000002"), image_paths.builds_lock("old")
    with farm.tree.client.Lock(node), farm.tree.client.Lock(image):
        printed = farm.ours("list")
        assert printed.count(" locked ") == 1, printed
        with ThreadPoolExecutor(2) as both:
            for words, rows in LISTS.items():
                ours = both.submit(farm.ours, *words)
                theirs = both.submit(farm.theirs, *words)
                assert compare(ours.result(), theirs.result()) == rows, words


def test_copies(farm: Farm, tmp_path: Path) -> None:
    """What one exports the other imports, with the same tree; the next upload has a new number."""
    mine, yours = tmp_path / "ours.json", tmp_path / "theirs.json"
    farm.ours("export-image-data", str(mine))
    farm.theirs("export-image-data", str(yours))
    assert json.loads(mine.read_text()) == json.loads(yours.read_text())
    assert mine.stat().st_mode & 0o777 == 0o600
    copied = {path: data.encode() for path, data in json.loads(mine.read_text()).items()}
    assert len(copied) == 4 + 4 + 1 - 1
    farm.tree.clear()
    farm.theirs("import-image-data", str(mine))
    by_them = farm.images()
    theirs = farm.classes("upload-next")
    farm.tree.clear()
    farm.ours("import-image-data", str(yours))
    by_us = farm.images()
    assert by_us == by_them
    assert {path: data for path, data in by_us.items() if path in copied} == copied
    ours = farm.classes("upload-next")
    numbers = [
        sorted(
            upload for build in images["debian"]["builds"].values() for upload in build["uploads"]
        )
        for images in (ours, theirs)
    ]
    assert numbers[0] == numbers[1]
    assert numbers[0][-1] == "sky/0000000003"
    # Again, with everything there: nothing changes.
    before = farm.images()
    farm.ours("import-image-data", str(yours))
    assert farm.images() == before


def test_wishes_of_ours(farm: Farm) -> None:
    """What we ask of builders and mark for removal is there for Nodepool 11's classes."""
    before = farm.classes("read")
    ((build_id, build),) = (
        item for item in before["debian"]["builds"].items() if item[1]["state"] == "ready"
    )
    farm.ours("image-pause", "debian")
    farm.ours("image-unpause", "alma")
    farm.ours("image-build", "new")
    farm.ours("image-build", "alma", code=1)
    farm.ours(
        *("image-delete", "--provider", "sky", "--image", "debian"),
        *("--build-id", build_id, "--upload-id", "0000000001"),
    )
    farm.ours("dib-image-delete", f"debian-{build_id}")
    after = farm.classes("read")
    assert [after[name]["paused"] for name in ("debian", "alma", "new")] == [True, False, False]
    assert [after[name]["wanted"] for name in ("debian", "alma", "new")] == [True, False, True]
    marked = after["debian"]["builds"][build_id]
    assert marked["state_time"] > build["state_time"]
    upload = marked["uploads"].pop("sky/0000000001")
    wanted = build["uploads"].pop("sky/0000000001")
    assert upload == {**wanted, "state": "deleting", "state_time": upload["state_time"]}
    assert marked == {**build, "state": "deleting", "state_time": marked["state_time"]}


def test_wishes_of_theirs(farm: Farm) -> None:
    """What Nodepool 11 asks of builders and marks for removal is there for us."""
    farm.classes("mark")
    status = {row["image"]: row for row in farm.json("image-status")}
    assert [status[name]["paused"] for name in ("debian", "alma")] == [True, False]
    assert [status[name]["build_request"] for name in ("debian", "alma")] == [None, "pending"]
    farm.theirs("image-unpause", "debian")
    builds = farm.json("dib-image-list")
    assert {row["state"] for row in builds if row["image"] == "debian"} == {"deleting", "failed"}


def test_what_is_locked(farm: Farm) -> None:
    """The lock of Nodepool 11's builder keeps our hands off, and ours lets go of it again."""
    path = next(path for path in farm.images() if path.endswith("/sky/images/0000000001"))
    _, _, _, image, _, build_id, *_ = path.split("/")
    words = ("image-delete", "--provider", "sky", "--image", image, "--build-id", build_id)
    with farm.tree.client.Lock(f"{path}/lock"):
        farm.ours(*words, "--upload-id", "0000000001", code=1)
        assert json.loads(farm.images()[path])["state"] == "ready"
        erased = farm.ours("erase", "sky", "--force", code=1)
        assert "0 uploads of 1 builds, 2 nodes" in erased
    farm.ours(*words, "--upload-id", "0000000001")
    assert json.loads(farm.images()[path])["state"] == "deleting"
    assert farm.tree.contenders(f"{path}/lock") == []


def test_erasing(farm: Farm, tmp_path: Path) -> None:
    """Both leave the same behind of a provider's images, and none of its nodes."""
    copy = tmp_path / "images.json"
    farm.ours("export-image-data", str(copy))
    left = []
    for erase in (farm.theirs, farm.ours):
        if left:
            farm.classes("write")
        farm.tree.client.delete(paths.IMAGES, recursive=True)
        farm.ours("import-image-data", str(copy))
        others = farm.tree.nodes(provider="rack")
        assert len(farm.tree.nodes(provider="sky")) == 2
        erase("erase", "sky", "--force")
        assert farm.tree.nodes(provider="sky") == {}
        assert farm.tree.nodes(provider="rack") == others
        left.append(farm.images())
        assert any("/providers/sea/" in path for path in left[-1])
        assert not any("/providers/sky" in path for path in left[-1])
    assert left[0] == left[1]

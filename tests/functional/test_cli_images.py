"""The verbs about images with a real ZooKeeper, clouds over HTTP, terminals, pipes and kills."""

from __future__ import annotations

import json
import os
import pathlib
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from kazoo.client import KazooClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from nodepool_tx.providers.cloud.interface import BUILD_ID
from nodepool_tx.providers.fake.images import Image
from nodepool_tx.store import image_paths, paths
from tests.servers.simulated_openstack import OpenStackServer, write_clouds_yaml
from tests.servers.zookeeper import shared_server

PROGRAM = "import sys; from nodepool_tx.cli.main import main; sys.exit(main())"
CHROOT = f"/cli-images-{os.getpid()}"

BUILD = json.dumps({"state": "ready", "state_time": 1.5})
UPLOAD = json.dumps({"state": "ready", "state_time": 1.5, "external_id": "known"})
NODE = json.dumps({"state": "ready", "state_time": 1.5, "provider": "sky", "type": ["debian"]})


@attrs.frozen
class Place:
    """A part of a ZooKeeper, and a configuration that leads there."""

    directory: pathlib.Path
    zookeeper: KazooClient

    def write_config(self, **more: Any) -> None:
        server = {"host": "127.0.0.1", "port": shared_server().port, "chroot": CHROOT}
        config = {"zookeeper-servers": [server], "labels": [], "providers": [], **more}
        (self.directory / "nodepool.yaml").write_text(json.dumps(config))

    def words(self, *words: str) -> list[str]:
        return ["-c", PROGRAM, "-c", str(self.directory / "nodepool.yaml"), *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *self.words(*words)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def fill(self, builds: int) -> dict[str, str]:
        """A copy with so many builds, each with an upload."""
        found = {}
        for number in range(builds):
            build = f"{number:032x}"
            found[paths.image_build("debian", build)] = BUILD
            found[paths.image_upload("debian", build, "sky", f"{number % 7:010}")] = UPLOAD
        return found

    def there(self) -> dict[str, str]:
        """All records about images."""
        found = {}

        def walk(path: str) -> None:
            if image_paths.place_of(path) is not None:
                found[path] = self.zookeeper.get(path)[0].decode()
            for name in self.zookeeper.get_children(path):
                walk(f"{path}/{name}")

        if self.zookeeper.exists(paths.IMAGES):
            walk(paths.IMAGES)
        return found


def open_place(directory: pathlib.Path) -> Place:
    server = KazooClient(f"{shared_server().address}")
    server.start()
    server.delete(CHROOT, recursive=True) if server.exists(CHROOT) else None
    server.ensure_path(CHROOT)
    server.stop()
    server.close()
    zookeeper = KazooClient(f"{shared_server().address}{CHROOT}")
    zookeeper.start()
    place = Place(directory, zookeeper)
    place.write_config()
    return place


def close_place(place: Place) -> None:
    place.zookeeper.delete("/nodepool", recursive=True)
    place.zookeeper.stop()
    place.zookeeper.close()


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Place]:
    place = open_place(tmp_path)
    yield place
    close_place(place)


def test_an_import_that_is_killed_is_finished_by_another(place: Place) -> None:
    """Every build is there whole or not at all, and in the end all of them are."""
    copy = place.fill(300)
    file = place.directory / "images.json"
    file.write_text(json.dumps(copy))
    job = subprocess.Popen(
        [sys.executable, *place.words("import-image-data", str(file))], stderr=subprocess.DEVNULL
    )
    builds = image_paths.builds("debian")
    while not (place.zookeeper.exists(builds) and len(place.zookeeper.get_children(builds)) > 20):
        assert job.poll() is None
        time.sleep(0.001)
    job.kill()
    job.wait(10)
    part = place.there()
    assert 20 < len(part) < len(copy)
    assert len(part) % 2 == 0
    assert part.items() <= copy.items()
    done = place.run("import-image-data", str(file))
    assert done.returncode == 0, done.stderr
    half = len(part) // 2
    assert f"there already: {half} builds, {half} uploads, 0 pauses" in done.stderr
    assert place.there() == copy
    # And out again, through a pipe.
    done = place.run("export-image-data", "/dev/stdout")
    assert (done.returncode, json.loads(done.stdout)) == (0, copy)


def at_terminal(place: Place, typed: bytes, *words: str) -> tuple[int, bytes]:
    """Type something when asked; exit code, and all that the terminal showed."""
    ours, theirs = pty.openpty()
    job = subprocess.Popen(
        [sys.executable, *place.words(*words)], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while b"[y/N]" not in seen:
        ready, _, _ = select.select([ours], [], [], 30)
        assert ready, seen
        seen += os.read(ours, 4096)
    os.write(ours, typed)
    code = job.wait(30)
    while select.select([ours], [], [], 0.2)[0]:
        try:
            seen += os.read(ours, 4096)
        except OSError:
            break
    os.close(ours)
    return code, seen


def test_erasing_at_a_terminal(place: Place) -> None:
    """It is asked there, once; only a yes erases, and the end of the input is none."""
    place.zookeeper.create(
        paths.image_upload("debian", "b1", "sky", "0000000001"), UPLOAD.encode(), makepath=True
    )
    place.zookeeper.create(f"{paths.NODES}/", NODE.encode(), sequence=True, makepath=True)
    for typed in (b"n\n", b"\n", b"\x04"):
        code, seen = at_terminal(place, typed, "erase", "sky")
        assert code == 1, seen
        assert b"nothing was erased" in seen
    assert len(place.zookeeper.get_children(paths.NODES)) == 1
    code, seen = at_terminal(place, b"yes\n", "erase", "sky")
    assert code == 0, seen
    assert b"erased of provider sky: 1 uploads of 1 builds, 1 nodes" in seen
    assert place.zookeeper.get_children(paths.NODES) == []
    assert not place.zookeeper.exists(image_paths.provider("debian", "b1", "sky"))


class AlienTests(TestCase):
    """``alien-image-list`` over HTTP, with credentials from a clouds.yaml."""

    timeout = 60

    def setUp(self) -> None:
        self.directory = pathlib.Path(self.mktemp())
        self.directory.mkdir(parents=True)
        self.place = open_place(self.directory)
        self.addCleanup(close_place, self.place)
        clouds = {name: OpenStackServer(reactor) for name in ("sky", "sea")}
        self.clouds = clouds
        for name in clouds:
            self.addCleanup(lambda name=name: Deferred.fromCoroutine(self.stop(name)))
        write_clouds_yaml(self.directory / "clouds.yaml", clouds)
        providers = [{"name": name, "driver": "openstack", "cloud": name} for name in clouds]
        self.place.write_config(providers=providers)

    async def stop(self, name: str) -> None:
        if name in self.clouds:
            await self.clouds.pop(name).stop()

    async def aliens(self) -> tuple[Any, str, int]:
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            self.place.words("alien-image-list", "--format", "json"),
            {**os.environ, "OS_CLIENT_CONFIG_FILE": str(self.directory / "clouds.yaml")},
        )
        return json.loads(out), err.decode(), code

    def add(self, cloud: str, image_id: str, **properties: str) -> None:
        images = self.clouds[cloud].cloud.images
        images.add(Image(image_id, f"name-{image_id}", 0.0, 0.0, properties=properties))

    async def test_over_http(self) -> None:
        """All pages are read; images without a build, and known ones, are no aliens."""
        for number in range(60):
            self.add("sky", f"alien-{number:02}", **{BUILD_ID: "b9"})
            self.add("sky", f"plain-{number:02}")
        self.add("sea", "known", **{BUILD_ID: "b1"})
        self.place.zookeeper.create(
            paths.image_upload("debian", "b1", "sea", "0000000001"), UPLOAD.encode(), makepath=True
        )
        rows, err, code = await self.aliens()
        self.assertEqual(code, 0, err)
        self.assertEqual([row["image_id"] for row in rows], [f"alien-{n:02}" for n in range(60)])
        self.assertEqual({row["provider"] for row in rows}, {"sky"})

    async def test_a_cloud_that_is_down(self) -> None:
        """It is named, the other is listed, and the exit code is 1."""
        self.add("sky", "alien", **{BUILD_ID: "b9"})
        await self.stop("sea")
        rows, err, code = await self.aliens()
        self.assertEqual((code, [row["image_id"] for row in rows]), (1, ["alien"]))
        self.assertIn("provider sea: ", err)

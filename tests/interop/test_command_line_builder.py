"""A builder of Nodepool 11 at work does what our command line asks of it, and loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.clouds import cloud_environment
from benchmarks.daemons import Endpoint
from nodepool_tx.store import paths
from nodepool_tx.store.image_paths import ImagePlace, build_request, place_of
from tests.interop.test_command_line import OURS, TIMEOUT
from tests.interop.test_images import everything
from tests.interop.tree import Tree, eventually

BUILDER = Path(__file__).with_name("builder_program.py")

#: Stands for disk-image-create: takes its options and makes the file and its sums.
CREATE = """\
#!/bin/sh
while [ "$1" != -o ]; do shift; done
echo "$2" > "$2.qcow2"
echo 0 > "$2.qcow2.md5"
echo 0 > "$2.qcow2.sha256"
mkdir -p "$2.d"
"""


def configuration(endpoint: Endpoint, folder: Path) -> dict[str, Any]:
    images = folder / "images"
    images.mkdir()
    create = folder / "create"
    create.write_text(CREATE)
    create.chmod(0o755)
    label = {"name": "debian", "diskimage": "debian", "min-ram": 1024}
    return {
        **endpoint.settings(),
        "images-dir": str(images),
        "build-log-dir": str(folder),
        "labels": [{"name": "debian"}],
        "diskimages": [{"name": "debian", "formats": ["qcow2"], "dib-cmd": str(create)}],
        "providers": [
            {
                "name": "toy",
                "driver": "fake",
                "cloud": "fake",
                "region-name": "fake-region",
                "diskimages": [{"name": "debian"}],
                "pools": [{"name": "main", "max-servers": 1, "labels": [label]}],
            }
        ],
    }


class Farm:
    """Our command line beside a builder."""

    def __init__(self, tree: Tree, config: Path) -> None:
        self.tree = tree
        self.config = config

    def ours(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", OURS, "-c", str(self.config), *words],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def ready(self, upload: bool) -> set[ImagePlace]:
        """The builds, or the uploads, that are ready."""
        return {
            place
            for path, data in everything(self.tree, paths.IMAGES).items()
            if (place := place_of(path)) is not None and place.build_id is not None
            if (place.upload_id is not None) is upload and b'"ready"' in data
        }

    def wanted(self) -> bool:
        return self.tree.client.exists(build_request("debian")) is not None

    def listed(self, verb: str) -> Any:
        return json.loads(self.ours(verb, "--format", "json"))


def _is_up(builder: subprocess.Popen[bytes], log: Path) -> bool:
    printed = log.read_text()
    assert builder.poll() is None, printed
    return "started" in printed


def test_a_builder(endpoint: Endpoint, tree: Tree, tmp_path: Path) -> None:
    """It waits while paused, builds when asked, and removes what is marked."""
    tree.clear()
    config = tmp_path / "nodepool.yaml"
    config.write_text(json.dumps(configuration(endpoint, tmp_path)))
    farm = Farm(tree, config)
    farm.ours("image-pause", "debian")
    farm.ours("image-build", "debian")
    python = str(environment(NODEPOOL) / "python")
    with (tmp_path / "log").open("wb") as log:
        builder = subprocess.Popen(
            [python, "-I", str(BUILDER), str(config)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **cloud_environment(tmp_path)},
        )
    try:
        eventually("a builder", lambda: _is_up(builder, tmp_path / "log"))
        # It looks every 0.2 s, and the command takes longer than that.
        (status,) = farm.listed("image-status")
        assert (status["paused"], status["build_request"]) == (True, "pending")
        assert farm.ready(upload=False) == set()

        farm.ours("image-unpause", "debian")
        eventually("what was asked for", lambda: not farm.wanted())
        eventually("an upload", lambda: farm.ready(upload=True) or None)
        builds = farm.ready(upload=False)

        farm.ours("image-build", "debian")
        eventually("that being all", lambda: not farm.wanted())
        (newest,) = farm.ready(upload=False) - builds
        name = f"debian-{newest.build_id}"

        def uploads() -> list[str]:
            found = [
                place for place in farm.ready(upload=True) if place.build_id == newest.build_id
            ]
            return sorted(str(place.upload_id) for place in found)

        (first,) = eventually("its upload", lambda: uploads() or None)
        farm.ours(
            *("image-delete", "--provider", "toy", "--image", "debian"),
            *("--build-id", str(newest.build_id), "--upload-id", first),
        )
        (second,) = eventually(
            "a new upload in its place",
            lambda: [number for number in uploads() if number != first] or None,
        )
        assert second > first
        gone = paths.image_upload("debian", str(newest.build_id), "toy", first)
        eventually("its record gone", lambda: tree.client.exists(gone) is None)

        (file,) = (tmp_path / "images").glob(f"{name}.qcow2")
        farm.ours("dib-image-delete", name)
        path = paths.image_build("debian", str(newest.build_id))
        eventually("its record gone", lambda: tree.client.exists(path) is None)
        eventually("its files gone", lambda: not file.exists())
        assert name not in {row["id"] for row in farm.listed("dib-image-list")}
    finally:
        builder.terminate()
        builder.wait(30)

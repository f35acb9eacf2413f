"""Images that Nodepool 11's own classes write are read here, and the other way round."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import attrs
from kazoo.exceptions import NoNodeError
from twisted.internet.task import Clock

from benchmarks.cached_venvs import NODEPOOL, environment
from benchmarks.daemons import Endpoint
from nodepool_tx.model import ImageState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_image_build, encode_image_upload
from nodepool_tx.store.store import Store
from nodepool_tx.testing.zookeeper import MemoryZookeeper
from tests.interop.tree import Tree

PROGRAM = Path(__file__).with_name("images_program.py")
TIMEOUT = 60


def reference(endpoint: Endpoint, do: str) -> dict[str, dict[str, Any]]:
    """What Nodepool 11 has in ZooKeeper after it has done what it was told."""
    python = environment(NODEPOOL) / "python"
    files = (str(file) for file in (endpoint.ca, endpoint.cert, endpoint.key))
    hosts = f"{endpoint.host}:{endpoint.port}"
    done = subprocess.run(
        [str(python), "-I", str(PROGRAM), do, hosts, *files],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def everything(tree: Tree, path: str) -> dict[str, bytes]:
    """A part of the tree with its data, parents first."""
    try:
        data, _ = tree.client.get(path)
        names = tree.client.get_children(path)
    except NoNodeError:
        return {}
    found = {path: data or b""}
    for name in names:
        found |= everything(tree, f"{path}/{name}")
    return found


def store_with(znodes: dict[str, bytes]) -> Store:
    """A store that sees these znodes."""
    clock = Clock()
    zookeeper = MemoryZookeeper(clock)
    for path, data in znodes.items():
        if zookeeper.inspector.stat(path) is None:
            zookeeper.inspector.create(path, data)
    client = zookeeper.client()
    store = Store(client, clock)
    store.startService()
    client.connect()
    zookeeper.inspector.settle(clock)
    assert store.current
    return store


def seen(store: Store) -> dict[str, dict[str, Any]]:
    """What our table knows, in the reference's form."""
    images = store.images
    uploads = [upload for name in ("sky", "sea") for upload in images.uploads_of(name)]
    newest = {name: images.newest("debian", name) for name in ("sky", "sea")}
    return {
        "builds": {
            f"{build.image} {build.id}": json.loads(encode_image_build(build))
            for build in images.builds()
        },
        "uploads": {
            f"{u.image} {u.build_id} {u.provider} {u.id}": json.loads(encode_image_upload(u))
            for u in uploads
        },
        "newest": {
            f"debian {name}": upload and [upload.build_id, upload.id]
            for name, upload in newest.items()
        },
    }


def test_images(tree: Tree, endpoint: Endpoint) -> None:
    """Builds, uploads and the newest of them are the same to both, whoever wrote them."""
    tree.clear()
    theirs = reference(endpoint, "write")
    assert (len(theirs["builds"]), len(theirs["uploads"])) == (2, 4)
    store = store_with(everything(tree, paths.IMAGES))
    assert seen(store) == theirs
    assert store.images.unreadable == {}
    # The newest goes, as when somebody deletes it, and another comes that we write.
    newest = store.images.newest("debian", "sky")
    assert newest is not None
    gone = attrs.evolve(newest, state=ImageState.DELETING, extra={"of": "ours"})
    for upload in (gone, attrs.evolve(newest, provider="sea", state_time=newest.state_time + 1)):
        path = paths.image_upload(upload.image, upload.build_id, upload.provider, upload.id)
        tree.client.ensure_path(path)
        tree.client.set(path, encode_image_upload(upload))
    read = reference(endpoint, "read")
    assert seen(store_with(everything(tree, paths.IMAGES))) | {"uploads": {}} == read | {
        "uploads": {}
    }
    assert read["newest"]["debian sea"] == [newest.build_id, newest.id]
    assert read["newest"]["debian sky"] != [newest.build_id, newest.id]

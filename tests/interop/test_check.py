"""``nodepool check`` on a busy farm that Nodepool 11's launcher and ours serve together."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from benchmarks.daemons import OURS, REFERENCE, Endpoint, Launcher, StaticNodes, configuration
from benchmarks.requester import request_body
from tests.functional.launcher.process import command_line
from tests.interop.tree import Tree

LABELS = ("mine", "yours", "shared")
PATIENCE = 40.0


class Crowd:
    """Clients in threads that ask, lock, use and give back as Zuul does, until told to stop."""

    def __init__(self, tree: Tree, count: int) -> None:
        self._client: KazooClient = tree.client
        self._over = threading.Event()
        self.served = 0
        self.faults: list[BaseException] = []
        self._threads = [threading.Thread(target=self._live, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _live(self, seed: int) -> None:
        rng = random.Random(seed)
        try:
            while not self._over.is_set():
                self._job(rng)
        except BaseException as e:
            self.faults.append(e)

    def _job(self, rng: random.Random) -> None:
        labels = [rng.choice(LABELS) for _ in range(rng.choice((1, 1, 2)))]
        if set(labels) == {"mine", "yours"}:
            # Nobody has both.
            labels = labels[:1]
        path = self._client.create(
            "/nodepool/requests/100-", request_body(labels), sequence=True, makepath=True
        )
        if rng.random() < 0.1:
            time.sleep(rng.random() * 0.1)
            self._client.delete(path)
            return
        answer = self._answer(path)
        locks = [self._client.Lock(f"/nodepool/nodes/{name}/lock", "x") for name in answer["nodes"]]
        for lock in locks:
            assert lock.acquire(timeout=30)
        self._client.delete(path)
        for state in ("in-use", "used"):
            for name in answer["nodes"]:
                data, _ = self._client.get(f"/nodepool/nodes/{name}")
                body = json.loads(data) | {"state": state, "state_time": time.time()}
                self._client.set(f"/nodepool/nodes/{name}", json.dumps(body).encode())
            time.sleep(rng.random() * 0.2)
        for lock in locks:
            lock.release()
        self.served += 1

    def _answer(self, path: str) -> dict[str, list[str]]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            body = json.loads(self._client.get(path)[0])
            if body["state"] == "fulfilled":
                return dict(body)
            assert body["state"] != "failed", body
            time.sleep(0.02)
        raise AssertionError(f"{path} is not answered")

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE + 30)


@pytest.fixture
def crowd(endpoint: Endpoint, tree: Tree, tmp_path: Path) -> Iterator[tuple[Crowd, Path]]:
    def config(provider: str, own: str, first: int) -> dict[str, object]:
        nodes = [StaticNodes(own, 4, first=first), StaticNodes("shared", 4, first=first + 4)]
        found = configuration(endpoint, nodes, provider)
        found["labels"] = [{"name": label} for label in LABELS]
        return found

    ours, theirs = config("ours", "mine", 0), config("theirs", "yours", 20)
    with (
        Launcher(OURS, ours, tmp_path / "ours") as mine,
        Launcher(REFERENCE, theirs, tmp_path / "theirs") as yours,
    ):
        tree.wait_ready("ours", 8, mine)
        tree.wait_ready("theirs", 8, yours)
        # What a look sees of both providers is compared with one file.
        both = {**ours, "providers": [*ours["providers"], *theirs["providers"]]}  # type: ignore
        path = tmp_path / "both.yaml"
        path.write_text(json.dumps(both, default=str))
        crowd = Crowd(tree, 8)
        yield crowd, path
        crowd.stop()


def test_nothing_is_wrong(crowd: tuple[Crowd, Path]) -> None:
    """Nor is it after a repair: neither launcher, nor what each leaves for a while, is broken."""
    clients, config = crowd
    for words in ((), ("--repair", "--yes"), ()):
        before = clients.served
        done = subprocess.run(
            command_line("-c", str(config), "check", "--format", "json", *words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stdout + done.stderr
        end = time.monotonic() + PATIENCE
        while clients.served < before + 20:
            assert not clients.faults, clients.faults
            assert time.monotonic() < end
            time.sleep(0.1)

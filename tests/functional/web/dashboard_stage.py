"""A launcher, its ZooKeeper, and a browser that looks at the launcher's dashboard."""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from nodepool_tx.model import Maintenance, Node, NodeRequest, NodeState, RequestState
from nodepool_tx.store import paths
from nodepool_tx.store.codec import encode_node, encode_request
from nodepool_tx.store.maintenance import encode_maintenance
from tests.functional.launcher.process import LauncherProcess
from tests.functional.launcher.settings import at_zookeeper
from tests.functional.web.browser import Browser
from tests.functional.zk_clients import fresh_root, kazoo
from tests.servers.zookeeper import free_ports, shared_server

__all__ = ["Stage", "staged"]

#: What a word of Nodepool 11's own launcher looks like in a node's record.
ELSEWHERE = "elsewhere"


class Stage:
    """What a test of the dashboard works with.

    :ivar config: in force, without ZooKeeper and web server.
    :ivar zk: a client whose ``/`` is the launcher's.
    """

    def __init__(
        self, directory: pathlib.Path, config: Mapping[str, Any], zk: KazooClient, root: str
    ) -> None:
        self.config = dict(config)
        self.zk = zk
        self.root = root
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}/"
        self._surroundings = at_zookeeper(
            {"webapp": {"port": port, "listen_address": "127.0.0.1"}},
            shared_server().port,
            chroot=root,
        )
        self.launcher = LauncherProcess(directory)
        self.configure(config)
        self.browser: Browser

    # -- the launcher

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write a configuration, which the launcher notices."""
        self.launcher.write({**config, **self._surroundings})

    def start(self, patience: float = 30.0) -> None:
        """Start the launcher; blocks until it serves."""
        self.launcher.start()
        deadline = time.monotonic() + patience
        while True:
            with contextlib.suppress(OSError):
                if self.ask("api/status")["zookeeper"]["state"] == "connected":
                    return
            assert self.launcher.running, self.launcher.log
            assert time.monotonic() < deadline, self.launcher.log
            time.sleep(0.05)

    def ask(self, path: str) -> Any:
        """What the launcher answers."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    # -- ZooKeeper, as somebody else writes it

    def put_node(self, node_id: str, **fields: Any) -> None:
        """Write a node of a launcher elsewhere, or write it again."""
        self.put_nodes([(node_id, fields)])

    def put_nodes(self, nodes: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Write many at a time: ids, and fields other than the usual."""
        now = time.time()
        records = [
            Node(
                id=node_id,
                **{
                    "state": NodeState.READY,
                    "state_time": now,
                    "created_time": now,
                    "provider": ELSEWHERE,
                    "pool": "main",
                    "type": ("elsewhere-label",),
                    "hostname": f"{node_id}.example.org",
                    "launcher": ELSEWHERE,
                    **fields,
                },
            )
            for node_id, fields in nodes
        ]
        known = set(self.zk.get_children(paths.NODES))
        for begin in range(0, len(records), 500):
            transaction = self.zk.transaction()
            for record in records[begin : begin + 500]:
                write = transaction.set_data if record.id in known else transaction.create
                write(paths.node(record.id), encode_node(record))
            for outcome in transaction.commit():
                if isinstance(outcome, Exception):
                    raise outcome

    def put_request(self, *labels: str, **fields: Any) -> str:
        """Ask for nodes; the request's id."""
        now = time.time()
        request = NodeRequest(
            **{
                "state": RequestState.REQUESTED,
                "state_time": now,
                "created_time": now,
                "node_types": labels,
                "requestor": "tests",
                **fields,
            }
        )
        path: str = self.zk.create(
            f"{paths.REQUESTS}/100-", encode_request(request), sequence=True, makepath=True
        )
        return path.rpartition("/")[2]

    def put_maintenance(self, record: Maintenance) -> None:
        """Take a host out of service."""
        assert record.host is not None
        self.zk.create(paths.maintenance_of_host(record.host), encode_maintenance(record))

    def remove(self, path: str) -> None:
        """Remove a record; fine if it is gone."""
        with contextlib.suppress(NoNodeError):
            self.zk.delete(path, recursive=True)

    # -- the page

    def visit(self, fragment: str = "") -> None:
        """Open the dashboard anew, and wait until it is live."""
        self.browser.driver.get("about:blank")
        self.browser.complaints()
        self.browser.driver.get(self.url + fragment)
        self.until_live()

    def until_live(self) -> None:
        self.wait("the page is live", lambda: self.text("#connection") == "live")

    def wait(self, what: str, look: Callable[[], Any], patience: float = 20.0) -> Any:
        """Look until there is something to see; what it is."""
        waiting = WebDriverWait(
            self.browser.driver, patience, poll_frequency=0.05, ignored_exceptions=()
        )
        message = f"never: {what}"
        return waiting.until(lambda _: look(), message)

    def find(self, selector: str) -> list[WebElement]:
        found: list[WebElement] = self.browser.driver.find_elements(By.CSS_SELECTOR, selector)
        return found

    def text(self, selector: str) -> str:
        """The text in sight of the first such element; empty if there is none."""
        found = self.browser.run(
            "const found = document.querySelector(arguments[0]); return found && found.innerText;",
            selector,
        )
        return str(found or "")

    def texts(self, selector: str) -> list[str]:
        """The texts of all such elements, at one moment."""
        found: list[str] = self.browser.run(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)",
            selector,
        )
        return found


@contextlib.contextmanager
def staged(directory: pathlib.Path, config: Mapping[str, Any]) -> Iterator[Stage]:
    """All of it, running; ended at the end, whatever happens."""
    with contextlib.ExitStack() as stack:
        root = fresh_root()
        steward = kazoo(shared_server())
        stack.callback(steward.close)
        stack.callback(steward.stop)
        steward.ensure_path(root)
        zk = kazoo(shared_server(), root)
        stack.callback(zk.close)
        stack.callback(zk.stop)
        stage = Stage(directory, config, zk, root)
        stack.callback(stage.launcher.leave_nothing)
        stage.start()
        stage.browser = Browser()
        stack.callback(stage.browser.quit)
        yield stage

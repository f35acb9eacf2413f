"""Nodepool's own web application on data of its own; runs in its environment.

Answers each line of standard input, a JSON list of path and headers, with a line of JSON.
"""

import json
import pathlib
import sys

import webob
from webob import dec

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from command_line_program import write
from nodepool import webapp
from nodepool.zk import ZooKeeperClient
from nodepool.zk import zookeeper as zk
from nodepool.zk.components import PoolComponent


class Launcher:
    """What the application asks of a launcher."""

    ready = True

    def __init__(self, zookeeper):
        self.zookeeper = zookeeper

    def getZK(self):
        return self.zookeeper


def farm(client, zookeeper):
    """Everything the lists show, with locks held and a pool registered."""
    write(zookeeper)
    pool = PoolComponent(client, "nl01.example.org", version="11.0.0")
    pool.content.update(
        id="nl01-PoolWorker.rack-main-0f",
        name="main",
        provider_name="rack",
        supported_labels=["debian", "debian-large", "namespace"],
    )
    pool.register()
    for node_id in ("0000000002", "0000000003"):
        zookeeper.lockNode(zookeeper.getNode(node_id), blocking=False)
    for request in zookeeper.nodeRequestIterator():
        if request.state == zk.PENDING:
            zookeeper.lockNodeRequest(request, blocking=False)


def main():
    """Serve standard input until it ends."""
    hosts, ca, cert, key = sys.argv[1:]
    client = ZooKeeperClient(hosts, tls_cert=cert, tls_key=key, tls_ca=ca)
    client.connect()
    zookeeper = zk.ZooKeeper(client, enable_cache=False)
    farm(client, zookeeper)
    application = webapp.WebApp(Launcher(zookeeper), port=0, listen_address="127.0.0.1")
    application.cache.expiry = -1
    served = dec.wsgify(application.app)
    print("written", flush=True)
    for line in sys.stdin:
        path, headers = json.loads(line)
        request = webob.Request.blank(path, headers=headers)
        response = request.get_response(served)
        answer = [response.status_int, dict(response.headers), response.text]
        print(json.dumps(answer), flush=True)
    client.disconnect()


if __name__ == "__main__":
    main()

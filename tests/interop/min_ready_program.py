"""Has Nodepool's launcher ask for its stock; runs in Nodepool's environment."""

import json
import sys
from types import SimpleNamespace

from nodepool.launcher import NodePool
from nodepool.zk import ZooKeeperClient
from nodepool.zk import zookeeper as zk


class Keeper(NodePool):
    """Only the part that keeps stock, with an image for every label."""

    def __init__(self, client, wanted):
        self.zk = zk.ZooKeeper(client)
        labels = {
            name: SimpleNamespace(name=name, min_ready=count) for name, count in wanted.items()
        }
        self.config = SimpleNamespace(labels=labels)
        self._submittedRequests = {}

    def labelImageIsAvailable(self, label):
        return True


def main():
    """Ask once, and print every request there is then, with whether it is ephemeral."""
    wanted, hosts, ca, cert, key = sys.argv[1:]
    client = ZooKeeperClient(hosts, tls_cert=cert, tls_key=key, tls_ca=ca)
    client.connect()
    Keeper(client, json.loads(wanted)).createMinReady()
    found = {}
    for name in client.client.get_children("/nodepool/requests"):
        data, stat = client.client.get(f"/nodepool/requests/{name}")
        found[name] = {"data": json.loads(data), "ephemeral": bool(stat.ephemeralOwner)}
    print(json.dumps(found))
    client.disconnect()


if __name__ == "__main__":
    main()

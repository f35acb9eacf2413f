"""Prints the components that Nodepool's own registry sees; runs in Nodepool's environment."""

import json
import sys

from nodepool.zk import ZooKeeperClient
from nodepool.zk.components import ComponentRegistry


def main():
    """Connect, read everything once, print it by kind."""
    hosts, ca, cert, key = sys.argv[1:]
    client = ZooKeeperClient(hosts, tls_cert=cert, tls_key=key, tls_ca=ca)
    client.connect()
    registry = ComponentRegistry(client)
    found = {kind: [c.content for c in components] for kind, components in registry.all()}
    print(json.dumps({"components": found, "model_api": registry.model_api}))
    client.disconnect()


if __name__ == "__main__":
    main()

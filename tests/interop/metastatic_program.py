"""Makes a backing node as Nodepool does, and recovers its table; runs in Nodepool's environment."""

import json
import sys
from types import SimpleNamespace

from nodepool.driver.metastatic.adapter import MetastaticAdapter, MetastaticInstance
from nodepool.zk import ZooKeeperClient
from nodepool.zk import zookeeper as zk


def adapter_for(store):
    """The adapter of the provider `meta`, as its launcher has one."""
    adapter = MetastaticAdapter(SimpleNamespace(name="meta", rate=0))
    adapter._setProvider(SimpleNamespace(_zk=store))
    return adapter


def new_node(store, provider, label):
    node = zk.Node()
    node.provider, node.pool, node.type = provider, "main", [label]
    node.state = zk.BUILDING
    store.storeNode(node)
    return node


def write(store):
    """Two nodes on one backing node, with everything that a launcher would have written."""
    adapter = adapter_for(store)
    label = SimpleNamespace(name="small", backing_label="big", max_parallel_jobs=3)
    nodes = [new_node(store, "meta", "small") for _ in range(2)]
    given = [adapter._allocateBackingNode(label, node.id) for node in nodes]
    big = new_node(store, "elsewhere", "big")
    big.state, big.interface_ip, big.host_keys = zk.READY, "192.0.2.5", ["ssh-ed25519 big"]
    store.storeNode(big)
    (request,) = store.nodeRequestIterator()
    request.state, request.nodes = zk.FULFILLED, [big.id]
    store.storeNodeRequest(request)
    adapter._checkBackingNodeRequests()
    big = store.getNode(big.id)
    for node, (_, slot) in zip(nodes, given, strict=True):
        metadata = {
            "nodepool_node_id": node.id,
            "nodepool_pool_name": "main",
            "nodepool_provider_name": "meta",
        }
        instance = MetastaticInstance(big, slot, node, metadata)
        node.external_id, node.slot = instance.external_id, instance.slot
        node.driver_data, node.state = instance.driver_data, zk.READY
        store.storeNode(node)


def read(store):
    """The table that a launcher recovers when it starts."""
    adapter = adapter_for(store)
    adapter._init()
    return {
        record.node_id: {
            "label": label,
            "slots": record.allocated_nodes,
            "failed": record.failed,
            "launched": record.launched,
        }
        for label, records in adapter.backing_node_records.items()
        for record in records
    }


def main():
    """Do what the first argument says and print the table then."""
    do, hosts, ca, cert, key = sys.argv[1:]
    client = ZooKeeperClient(hosts, tls_cert=cert, tls_key=key, tls_ca=ca)
    client.connect()
    store = zk.ZooKeeper(client, enable_cache=False)
    if do == "write":
        write(store)
    print(json.dumps(read(store)))
    client.disconnect()


if __name__ == "__main__":
    main()

"""Nodes, requests and images as Nodepool's own classes write and read them, in its environment."""

import json
import sys

from nodepool.zk import ZooKeeperClient
from nodepool.zk import zookeeper as zk

#: Nodes that differ in all that lists show; None leaves what a new node has.
NODES = (
    {},
    {
        "state": zk.READY,
        "provider": "rack",
        "pool": "main",
        "type": ["debian", "debian-large"],
        "external_id": "7b1c-ünïcode",
        "public_ipv4": "198.51.100.7",
        "private_ipv4": "10.0.0.7",
        "public_ipv6": "2001:db8::7",
        "hostname": "n7.example.org",
        "az": "nova",
        "username": "zuul",
        "connection_port": 2222,
        "launcher": "nl01-PoolWorker.rack-main-0f",
        "comment": "for tests",
        "driver_data": {"slot": 1},
    },
    {
        "state": zk.IN_USE,
        "provider": "rack",
        "pool": "main",
        "type": ["debian"],
        "allocated_to": "100-0000000000",
        "user_data": json.dumps({"job": "unit"}),
        "connection_port": 5986,
        "requestor": "zuul-1",
    },
    {
        "state": zk.HOLD,
        "provider": "sky",
        "pool": "main",
        "type": ["namespace"],
        "external_id": "ns-1",
        "hold_job": "tenant project job ref",
        "comment": "somebody debugs",
        "connection_port": {"name": "ns-1", "token": "secret"},
    },
    {"state": zk.DELETING, "provider": "sky", "pool": None, "type": [], "connection_port": None},
)
REQUESTS = (
    {"state": zk.REQUESTED, "node_types": ["debian"], "requestor": "zuul-1"},
    {
        "state": zk.PENDING,
        "node_types": ["debian", "namespace"],
        "nodes": ["0000000001", "0000000003"],
        "declined_by": ["nl01-PoolWorker.rack-main-0f", "nl02-PoolWorker.sky-main-0e"],
        "relative_priority": 3,
        "requestor": "zuul-2",
        "event_id": "9f8e",
    },
)


def made(thing, fields):
    """The thing with its state set before all else, which begins its age."""
    thing.state = fields.get("state", zk.INIT if isinstance(thing, zk.Node) else zk.REQUESTED)
    for key, value in fields.items():
        setattr(thing, key, value)
    return thing


def write(zookeeper):
    """What a farm has, of every kind."""
    for fields in NODES:
        zookeeper.storeNode(made(zk.Node(), fields))
    client = zookeeper.kazoo_client
    for priority, fields in zip(("200", "100"), REQUESTS, strict=True):
        # Those of Nodepool itself end with its session; Zuul's do not.
        request = made(zk.NodeRequest(), fields).serialize()
        path = f"{zookeeper.REQUEST_ROOT}/{priority}-"
        client.create(path, request, sequence=True, makepath=True)
    builds = {}
    for image, state in (
        ("debian", zk.READY),
        ("debian", zk.FAILED),
        ("alma", zk.READY),
        ("old", zk.BUILDING),
    ):
        build = zk.ImageBuild(image)
        build.state = state
        build.builder, build.builder_id = "nb01", "0c0c"
        build.formats = ["raw", "qcow2"] if state == zk.READY else []
        builds[image, state] = zookeeper.storeBuild(image, build)
    debian = builds["debian", zk.READY]
    for provider, state, external_id in (
        ("sky", zk.READY, "aaaa"),
        ("sky", zk.READY, "bbbb"),
        ("sky", zk.UPLOADING, None),
        ("sea", zk.FAILED, None),
    ):
        upload = zk.ImageUpload(username="debian")
        upload.state, upload.external_id = state, external_id
        upload.external_name = f"debian-{external_id}" if external_id else None
        upload.format = "qcow2"
        zookeeper.storeImageUpload("debian", debian, provider, upload)
    # So the numbers have a gap, and go on behind what is there.
    zookeeper.deleteUpload("debian", debian, "sky", "0000000000")
    # A place for uploads without any.
    empty = zookeeper.storeImageUpload("alma", builds["alma", zk.READY], "sky", upload)
    zookeeper.deleteUpload("alma", builds["alma", zk.READY], "sky", empty)
    zookeeper.setImagePaused("alma", True)
    zookeeper.submitBuildRequest("debian")


def mark(zookeeper):
    """What its commands do to images, by its classes."""
    zookeeper.setImagePaused("debian", True)
    zookeeper.setImagePaused("alma", False)
    zookeeper.submitBuildRequest("alma")
    zookeeper.removeBuildRequest("debian")
    build = zookeeper.getMostRecentBuilds(1, "debian", zk.READY)[0]
    build.state = zk.DELETING
    zookeeper.storeBuild("debian", build, build.id)


def upload_next(zookeeper):
    """One more upload, as a builder's next."""
    build = zookeeper.getMostRecentBuilds(1, "debian", zk.READY)[0]
    upload = zk.ImageUpload()
    upload.state = zk.UPLOADING
    zookeeper.storeImageUpload("debian", build.id, "sky", upload)


def read(zookeeper):
    """What its classes know of images."""
    found = {}
    for image in zookeeper.getImageNames():
        builds = {}
        for build in zookeeper.getBuilds(image):
            uploads = {
                f"{provider}/{upload.id}": upload.toDict()
                for provider in zookeeper.getBuildProviders(image, build.id)
                for upload in zookeeper.getUploads(image, build.id, provider)
            }
            builds[build.id] = {**build.toDict(), "uploads": uploads}
        found[image] = {
            "paused": zookeeper.getImagePaused(image),
            "wanted": zookeeper.hasBuildRequest(image),
            "builds": builds,
        }
    return found


def main():
    """Do what the first argument says, and print what is known of images then."""
    do, hosts, ca, cert, key = sys.argv[1:]
    client = ZooKeeperClient(hosts, tls_cert=cert, tls_key=key, tls_ca=ca)
    client.connect()
    zookeeper = zk.ZooKeeper(client, enable_cache=False)
    if do != "read":
        {"write": write, "mark": mark, "upload-next": upload_next}[do](zookeeper)
    print(json.dumps(read(zookeeper)))
    client.disconnect()


if __name__ == "__main__":
    main()

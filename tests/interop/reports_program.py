"""Prints Nodepool's lists of given records; runs in Nodepool's environment."""

import json
import sys
from types import SimpleNamespace

from nodepool import status
from nodepool.zk import zookeeper as zk


class Records:
    """What the lists ask Nodepool's ZooKeeper classes for."""

    enable_cache = True

    def __init__(self, given):
        self._given = given

    def nodeIterator(self, cached_ids):
        for name, fields, contenders in self._given["nodes"]:
            node = zk.Node.fromDict(fields, name)
            node.lock_contenders = contenders
            yield node

    def nodeRequestIterator(self, cached_ids):
        for name, fields in self._given["requests"]:
            yield zk.NodeRequest.fromDict(fields, name)

    def getCachedBuilds(self):
        return [zk.ImageBuild.fromDict(f, image, name) for image, name, f in self._given["builds"]]

    def getCachedImages(self):
        return [SimpleNamespace(image_name=name, paused=True) for name in self._given["paused"]]

    def getCachedImageUploads(self):
        return [
            zk.ImageUpload.fromDict(fields, build, provider, image, name)
            for image, build, provider, name, fields in self._given["uploads"]
        ]

    def getImageNames(self):
        return sorted(self._given["images"])

    def getImagePaused(self, name):
        return name in self._given["paused"]

    def getBuildRequest(self, name):
        asked = self._given["images"][name]
        return asked and zk.ImageBuildRequest(name, *asked)

    def getRegisteredPools(self):
        return [SimpleNamespace(supported_labels=labels) for labels in self._given["pools"]]


LISTS = {
    "node-list": status.node_list,
    "request-list": status.request_list,
    "dib-image-list": status.dib_image_list,
    "image-list": status.image_list,
    "image-status": status.image_status,
    "label-list": status.label_list,
}


def main():
    given = json.load(sys.stdin)
    status.time = SimpleNamespace(time=lambda: given["now"])
    records = Records(given)
    json.dump(
        {
            name: [
                status.output(show(records), "json"),
                status.output(show(records), "pretty"),
                status.output(show(records), "pretty", given["fields"]),
            ]
            for name, show in LISTS.items()
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()

"""Writes images as Nodepool's builder does, and reads them; runs in Nodepool's environment."""

import json
import sys

from nodepool.zk import ZooKeeperClient
from nodepool.zk import zookeeper as zk


def write(images):
    """Two builds of one image, three uploads, one of them with its locks held."""
    build = zk.ImageBuild()
    build.state = zk.READY
    build.builder, build.builder_id = "nb01", "4b9b4f9c"
    build.formats = ["raw", "qcow2"]
    build.username, build.python_path, build.shell_type = "debian", "auto", "sh"
    first = images.storeBuild("debian", build)
    begun = zk.ImageBuild()
    begun.state = zk.BUILDING
    second = images.storeBuild("debian", begun)
    for state, build_id, provider in (
        (zk.READY, first, "sky"),
        (zk.READY, first, "sky"),
        (zk.UPLOADING, second, "sky"),
        (zk.FAILED, first, "sea"),
    ):
        upload = zk.ImageUpload(username="debian", python_path="/usr/bin/python3")
        upload.state = state
        upload.external_id, upload.external_name = f"id-{state}", f"name-{state}"
        upload.format = "qcow2"
        images.storeImageUpload("debian", build_id, provider, upload)
    images.setImagePaused("debian", True)
    images.submitBuildRequest("debian")


def locked(images, work):
    """Do something under every lock that a builder takes, so that their znodes exist."""
    newest = images.getMostRecentImageUpload("debian", "sky")
    with (
        images.imageBuildLock("debian"),
        images.imageBuildIdLock("debian", newest.build_id),
        images.imageUploadLock("debian", newest.build_id, "sky"),
        images.imageUploadNumberLock(newest),
    ):
        return work()


def read(images):
    """Every build and upload by path, and which upload is the newest of each provider."""
    builds, uploads, newest = {}, {}, {}
    for image in images.getImageNames():
        for build in images.getBuilds(image):
            builds[f"{image} {build.id}"] = build.toDict()
            for provider in images.getBuildProviders(image, build.id):
                for upload in images.getUploads(image, build.id, provider):
                    key = f"{image} {build.id} {provider} {upload.id}"
                    uploads[key] = upload.toDict()
                found = images.getMostRecentImageUpload(image, provider)
                newest[f"{image} {provider}"] = found and [found.build_id, found.id]
    return {"builds": builds, "uploads": uploads, "newest": newest}


def main():
    """Do what the first argument says and print what there is then."""
    do, hosts, ca, cert, key = sys.argv[1:]
    client = ZooKeeperClient(hosts, tls_cert=cert, tls_key=key, tls_ca=ca)
    client.connect()
    images = zk.ZooKeeper(client, enable_cache=False)
    if do == "write":
        write(images)
        print(json.dumps(locked(images, lambda: read(images))))
    else:
        print(json.dumps(read(images)))
    client.disconnect()


if __name__ == "__main__":
    main()

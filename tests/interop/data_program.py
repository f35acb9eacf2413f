"""Writes and reads records with Nodepool's own classes, as it is told; runs in its environment.

A line of JSON on standard input is a call, `[name, argument]`; a line on
standard output the answer.  Its session, and what goes with it, lasts until
standard input ends.
"""

import json
import sys
import traceback

from nodepool import status
from nodepool.exceptions import ZKLockException
from nodepool.zk import ZooKeeperClient
from nodepool.zk import components as registry
from nodepool.zk import zookeeper as zk

CLASSES = {
    "node": zk.Node,
    "request": zk.NodeRequest,
    "build": zk.ImageBuild,
    "upload": zk.ImageUpload,
}
COMPONENTS = registry.ComponentRegistry.COMPONENT_CLASSES

#: Fields that `toDict` leaves out if there is nothing to say.
OPTIONAL = {"build": ("builder", "builder_id", "formats")}


def made(kind, fields):
    """A new thing; None for fields leaves all as it comes."""
    thing = CLASSES[kind]()
    thing.state = fields["state"]
    for name, value in fields.items():
        setattr(thing, name, value)
    if "state_time" in fields:
        thing.state_time = fields["state_time"]
    return thing


def attributes(kind, thing):
    """Every field that is written, by the name of the attribute that it is read into."""
    names = {*thing.toDict(), *OPTIONAL.get(kind, ())} - {"ssh_port"}
    return {name: getattr(thing, name) for name in names}


def parsed(kind, text):
    """What it makes of data; a text is the name of what goes wrong."""
    if kind in COMPONENTS:
        return COMPONENTS[kind].fromDict(None, "", json.loads(text)).content
    thing = CLASSES[kind]()
    try:
        thing.updateFromDict(json.loads(text))
    except Exception as error:
        return type(error).__name__
    return attributes(kind, thing)


class Program:
    def __init__(self, client):
        self.client = client
        self.store = zk.ZooKeeper(client, enable_cache=False)
        self.registered = []
        self.held = []

    def serialize(self, records):
        """The data of things that are made with these fields."""
        return [self._serialized(kind, fields) for kind, fields in records]

    def _serialized(self, kind, fields):
        if kind not in COMPONENTS:
            return made(kind, fields).serialize().decode()
        component = COMPONENTS[kind](None, fields["hostname"])
        component.content.update(fields)
        return json.dumps(component.content, sort_keys=True)

    def parse(self, records):
        return [parsed(kind, text) for kind, text in records]

    def write(self, records):
        """Store one of each; answers the paths, and the fields as they are then."""
        return [self._write(kind, fields) for kind, fields in records]

    def _write(self, kind, fields):
        if kind in COMPONENTS:
            component = COMPONENTS[kind](self.client, fields.pop("hostname"), fields.pop("version"))
            component.content.update(fields)
            component.register()
            self.registered.append(component)
            return [component.path, component.content]
        place = {
            name: fields.pop(name) for name in ("image", "build", "provider") if name in fields
        }
        if kind == "request" and "id" in fields:
            # As its client makes it: for good, and at the priority in the name.
            prefix = f"{self.store.REQUEST_ROOT}/{fields.pop('id')}-"
            request = made(kind, fields)
            path = self.store.kazoo_client.create(
                prefix, request.serialize(), sequence=True, makepath=True
            )
            return [path, attributes(kind, request)]
        thing = made(kind, fields)
        if kind == "node":
            self.store.storeNode(thing)
            path = self.store._nodePath(thing.id)
        elif kind == "build":
            build = self.store.storeBuild(place["image"], thing)
            path = self.store._imageBuildIdPath(place["image"], build)
        elif kind == "upload":
            where = place["image"], place["build"], place["provider"]
            upload = self.store.storeImageUpload(*where, thing)
            path = f"{self.store._imageUploadPath(*where)}/{upload}"
        else:
            self.store.storeNodeRequest(thing)
            path = self.store._requestPath(thing.id)
        return [path, attributes(kind, thing)]

    def flags(self, images):
        for image in images:
            self.store.submitBuildRequest(image)
            self.store.setImagePaused(image, True)

    def read(self, _):
        """Everything, as its launcher has it from its caches, and as its commands read it."""
        cached = zk.ZooKeeper(self.client, enable_cache=True)
        for cache in (cached._node_cache, cached._request_cache, cached._image_cache):
            cache.ensureReady()
            cache._event_queue.join()
            cache._playback_queue.join()
        found = {True: self._read(cached, True), False: self._read(self.store, False)}
        for cache in (cached._node_cache, cached._request_cache, cached._image_cache):
            cache.stop()
        known = registry.ComponentRegistry(self.client)
        components = {each.path: dict(each.content) for _, every in known.all() for each in every}
        return {
            "cached": {**found[True], **components},
            "read": {**found[False], **components},
            "listed": self._listed(),
            "flags": {
                image: [
                    self.store.getImagePaused(image),
                    getattr(self.store.getBuildRequest(image), "state_time", None),
                ]
                for image in self.store.getImageNames()
            },
        }

    def _read(self, store, cached):
        found = {}
        for node in store.nodeIterator(cached=cached, cached_ids=cached):
            found[store._nodePath(node.id)] = attributes("node", node)
        for request in store.nodeRequestIterator(cached=cached, cached_ids=cached):
            found[store._requestPath(request.id)] = attributes("request", request)
        if cached:
            builds = [(build._image_name, build) for build in store.getCachedBuilds()]
            uploads = store.getCachedImageUploads()
        else:
            builds = [
                (name, each) for name in store.getImageNames() for each in store.getBuilds(name)
            ]
            uploads = [
                upload
                for name, build in builds
                for provider in store.getBuildProviders(name, build.id)
                for upload in store.getUploads(name, build.id, provider)
            ]
        for name, build in builds:
            found[store._imageBuildIdPath(name, build.id)] = attributes("build", build)
        for upload in uploads:
            where = upload.image_name, upload.build_id, upload.provider_name
            found[f"{store._imageUploadPath(*where)}/{upload.id}"] = attributes("upload", upload)
        return found

    def _listed(self):
        """How many rows its commands print."""
        nodes, _ = status.node_list(self.store)
        requests, _ = status.request_list(self.store)
        builds, _ = status.dib_image_list(self.store)
        uploads, _ = status.image_list(self.store)
        return [len(list(rows)) for rows in (nodes, requests, builds, uploads)]

    def paths(self, names):
        """Where it keeps locks and more of things with these names."""
        node, request, image, build, provider, upload, election = names
        store = self.store
        return {
            "node": store._nodePath(node),
            "node lock": store._nodeLockPath(node),
            "request": store._requestPath(request),
            "request lock": store._requestLockPath(request),
            "image": store._imagePath(image),
            "pause": store._imagePausePath(image),
            "build request": store._imageBuildRequestPath(image),
            "builds": store._imageBuildsPath(image),
            "builds lock": store._imageBuildLockPath(image),
            "build": store._imageBuildIdPath(image, build),
            "build lock": store._imageBuildIdLockPath(image, build),
            "providers": store._imageProviderPath(image, build),
            "uploads": store._imageUploadPath(image, build, provider),
            "uploads lock": store._imageUploadLockPath(image, build, provider),
            "upload lock": store._imageUploadNumberLockPath(image, build, provider, upload),
            "election": store._electionPath(election),
            "components": registry.COMPONENTS_ROOT,
        }

    def _locks(self, names):
        node, request, image, build, provider, upload = names[:-1]
        return {
            "node lock": lambda: self._node_lock(node),
            "request lock": lambda: self._request_lock(request),
            "builds lock": lambda: self.store._getImageBuildLock(image, blocking=False),
            "build lock": lambda: self.store._getImageBuildIdLock(image, build, blocking=False),
            "uploads lock": lambda: self.store._getImageUploadLock(
                image, build, provider, blocking=False
            ),
            "upload lock": lambda: self.store._getImageUploadNumberLock(
                image, build, provider, upload, blocking=False
            ),
        }

    def _node_lock(self, node_id):
        node = self.store.getNode(node_id)
        self.store.lockNode(node, blocking=False, identifier="its own word")
        return node.lock

    def _request_lock(self, request_id):
        request = self.store.getNodeRequest(request_id)
        self.store.lockNodeRequest(request, blocking=False)
        return request.lock

    def hold(self, names):
        """Take every lock there is, and answer which of them it got."""
        got = {}
        for lock, take in self._locks(names).items():
            try:
                self.held.append(take())
            except ZKLockException:
                got[lock] = False
            else:
                got[lock] = True
        return got

    def release(self, _):
        while self.held:
            self.held.pop().release()


def main():
    hosts, ca, cert, key = sys.argv[1:]
    client = ZooKeeperClient(hosts, tls_cert=cert, tls_key=key, tls_ca=ca)
    client.connect()
    program = Program(client)
    for line in sys.stdin:
        name, argument = json.loads(line)
        try:
            answer = [True, getattr(program, name)(argument)]
        except Exception:
            answer = [False, traceback.format_exc()]
        print(json.dumps(answer), flush=True)
    client.disconnect()


if __name__ == "__main__":
    main()

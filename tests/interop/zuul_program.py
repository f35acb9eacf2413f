"""Zuul's own nodepool client behind a pipe; runs in Zuul's virtual environment, not in ours.

It has two ZooKeeper sessions, as a real Zuul has: the scheduler's, which asks, watches,
revises and cancels, and the executor's, which locks nodes, uses, holds and returns them.  Each
line on its input is a JSON object: `do` names one of the functions of :class:`Zuul`, the rest
are its arguments.  Each line of its output is `{"result": …}` or `{"error": …}`.
"""

import json
import sys
import time
import traceback
import types
import uuid

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from zuul import model
from zuul.nodepool import Nodepool
from zuul.zk import ZooKeeperClient
from zuul.zk.event_queues import PipelineResultEventQueue

SYSTEM, TENANT, PIPELINE, PROJECT, JOB = "interop", "tenant", "check", "project", "job"


class Zuul:
    """The functions that can be called through the pipe."""

    def __init__(self, hosts, ca, cert, key):
        # Zuul keeps a trace span in each request; a tracer that records nothing has none.
        trace.set_tracer_provider(TracerProvider())
        self._clients = [
            ZooKeeperClient(hosts, tls_cert=cert, tls_key=key, tls_ca=ca, timeout=10)
            for _ in range(2)
        ]
        for client in self._clients:
            client.connect()
        self._scheduler = Nodepool(self._clients[0], SYSTEM, None, scheduler=True)
        self._executor = Nodepool(self._clients[1], SYSTEM, None)
        self._scheduler.zk_nodepool.register()
        self._events = PipelineResultEventQueue(self._clients[0], TENANT, PIPELINE)
        self._nodesets = {}
        self._answered = set()
        self._holds = {}
        while not self._scheduler.election_won:
            time.sleep(0.01)

    def request(self, labels, relative_priority=0, provider=None, priority=100):
        """Ask for nodes; answers the request's id."""
        nodeset = model.NodeSet()
        for index, label in enumerate(labels):
            nodeset.addNode(model.Node([f"node-{index}"], label))
        job = types.SimpleNamespace(nodeset=nodeset, uuid=uuid.uuid4().hex, name=JOB)
        request = self._scheduler.requestNodes(
            uuid.uuid4().hex, job, TENANT, PIPELINE, provider, priority, relative_priority
        )
        self._nodesets[request.id] = nodeset
        return request.id

    def wait(self, request, timeout):
        """Wait for the event that a request is answered; answers its state or None."""
        deadline = time.monotonic() + timeout
        while request not in self._answered:
            for event in self._events:
                self._answered.add(event.request_id)
                self._events.ack(event)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.01)
        return self.state(request)

    def state(self, request):
        """The state of a request as it now is, None if it is gone."""
        found = self._executor.zk_nodepool.getNodeRequest(request)
        return None if found is None else found.state

    def accept(self, request):
        """Lock the nodes and delete the request; answers the nodes in the order asked."""
        found = self._executor.zk_nodepool.getNodeRequest(request)
        nodeset = self._nodesets[request]
        self._executor.acceptNodes(found, nodeset)
        return [node.toDict(internal_attributes=True) for node in nodeset.getNodes()]

    def use(self, request):
        """Set an accepted request's nodes in use."""
        self._executor.useNodeSet(self._nodesets[request], TENANT, PROJECT)

    def give_back(self, request):
        """Set an accepted request's nodes used and unlock them."""
        build = types.SimpleNamespace(uuid=uuid.uuid4().hex)
        self._executor.returnNodeSet(self._nodesets[request], build, TENANT, PROJECT, 1.0)

    def hold(self, request, reason):
        """Hold an accepted request's nodes, as for a failed job; then let go of them."""
        hold = model.HoldRequest()
        hold.tenant, hold.project, hold.job, hold.ref_filter = TENANT, PROJECT, JOB, ".*"
        hold.reason = reason
        self._executor.zk_nodepool.storeHoldRequest(hold)
        build = types.SimpleNamespace(uuid=uuid.uuid4().hex)
        self._executor.holdNodeSet(self._nodesets[request], hold, build, 1.0)
        self.give_back(request)
        self._holds[request] = hold
        return self._executor.zk_nodepool.heldNodeCount([TENANT, PROJECT, JOB, ".*"])

    def release_hold(self, request):
        """Delete the hold, which sets its nodes used."""
        self._executor.zk_nodepool.deleteHoldRequest(self._holds.pop(request), None)

    def revise(self, request, relative_priority):
        """Change the relative priority of a waiting request; answers the one it then has."""
        cached = self._scheduler.zk_nodepool.getNodeRequest(request, cached=True)
        self._scheduler.reviseRequest(cached, relative_priority)
        return self._executor.zk_nodepool.getNodeRequest(request).relative_priority

    def cancel(self, request):
        """Withdraw a request."""
        self._scheduler.cancelRequest(self._scheduler.zk_nodepool.getNodeRequest(request))

    def launchers(self):
        """The labels of each pool that Zuul sees registered."""
        pools = self._executor.zk_nodepool.getRegisteredLaunchers()
        return {pool.id: sorted(pool.supported_labels) for pool in pools}

    def abandon(self):
        """End the executor's session with whatever it has locked, and begin a new one."""
        self._clients[1].disconnect()
        self._clients[1].connect()


def main():
    """Serve until the input ends."""
    zuul = Zuul(*sys.argv[1:])
    print(json.dumps({"result": "ready"}), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = {"result": getattr(zuul, call.pop("do"))(**call)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

"""Zuul's own nodepool client behind a pipe; runs in Zuul's virtual environment, not in ours.

It has two ZooKeeper sessions, as a real Zuul has: the scheduler's, which asks, watches,
revises and cancels, and the executor's, which locks nodes, uses, holds and returns them.  Each
line on its input is a JSON object: `do` names one of the functions of :class:`Zuul`, the rest
are its arguments.  Each line of its output is `{"result": …}` or `{"error": …}`.
"""

import json
import random
import sys
import time
import traceback
import types
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from zuul import model
from zuul.nodepool import Nodepool
from zuul.zk import ZooKeeperClient
from zuul.zk.event_queues import PipelineResultEventQueue

SYSTEM, TENANT, PIPELINE, PROJECT, JOB = "interop", "tenant", "check", "project", "job"


class Statistics:
    """Takes what Zuul sends to statsd; the sums of counters by name."""

    def __init__(self):
        self.sums = Counter()

    def incr(self, key, value=1, **names):
        """Count."""
        self.sums[key.format(**names)] += value

    def timing(self, key, value):
        """Times are not looked at."""

    def pipeline(self):
        """What is counted together."""
        return self

    def send(self):
        """It was counted."""


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
        self._statistics = Statistics()
        self._scheduler = Nodepool(self._clients[0], SYSTEM, self._statistics, scheduler=True)
        self._executor = Nodepool(self._clients[1], SYSTEM, self._statistics)
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
            nodeset.addNode(model.Node([f"node-{index}", f"alias-{index}"], label))
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

    def hold(self, request, reason, expiration=None):
        """Hold an accepted request's nodes, as for a failed job; then let go of them.

        It expires after so many seconds, if any are given.
        """
        hold = model.HoldRequest()
        hold.tenant, hold.project, hold.job, hold.ref_filter = TENANT, PROJECT, JOB, ".*"
        hold.reason, hold.node_expiration = reason, expiration
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

    def statistics(self):
        """What Zuul has counted so far, by the names that it has in statsd."""
        return dict(self._statistics.sums)

    def fields(self, request):
        """A request as it is stored."""
        return self._executor.zk_nodepool.getNodeRequest(request).toDict()

    def load(self, count, at_once, wishes, cancelled, revised, seed, patience):
        """Do so many jobs, so many of them at a time; answers what came of them."""
        return Load(self, wishes, cancelled, revised, seed).run(count, at_once, patience)

    def launchers(self):
        """The labels of each pool that Zuul sees registered."""
        pools = self._executor.zk_nodepool.getRegisteredLaunchers()
        return {pool.id: sorted(pool.supported_labels) for pool in pools}

    def abandon(self):
        """End the executor's session with whatever it has locked, and begin a new one."""
        self._clients[1].disconnect()
        self._clients[1].connect()


class Load:
    """Requests by the hundred: a scheduler's loop, and executors beside it.

    `cancelled` is the share of requests that are withdrawn, half of them at once and half when
    they were answered; `revised` that of those whose relative priority changes as they wait.
    """

    EXECUTORS = 8

    def __init__(self, zuul, wishes, cancelled, revised, seed):
        self._zuul = zuul
        self._wishes = wishes
        self._cancelled = cancelled
        self._revised = revised
        self._random = random.Random(seed)
        self._open = {}
        self._jobs = {}
        self._holders = {}
        self._counts = Counter()
        self._wrong = []

    def run(self, count, at_once, patience):
        """Ask until all were asked; fails if nothing happens for so many seconds."""
        began = heard = time.monotonic()
        with ThreadPoolExecutor(self.EXECUTORS) as executors:
            while count or self._open or self._jobs:
                progress = self._finish()
                while count and len(self._open) + len(self._jobs) < at_once:
                    count -= 1
                    self._ask()
                for event in self._zuul._events:
                    progress = True
                    self._zuul._events.ack(event)
                    self._answered(event.request_id, executors)
                if progress:
                    heard = time.monotonic()
                elif time.monotonic() - heard > patience:
                    waiting = {name: self._zuul.state(name) for name in self._open}
                    raise TimeoutError(f"nothing in {patience} s for {waiting}")
                time.sleep(0.002)
        seconds = time.monotonic() - began
        return {"counts": self._counts, "wrong": self._wrong[:20], "seconds": seconds}

    def _ask(self):
        zuul, chance = self._zuul, self._random.random()
        labels = self._random.choice(self._wishes)
        name = zuul.request(labels, relative_priority=self._random.randrange(5))
        self._counts["asked"] += 1
        self._counts["nodes asked"] += len(labels)
        if chance < self._cancelled / 2:
            zuul.cancel(name)
            self._counts["cancelled waiting"] += 1
            return
        self._open[name] = chance < self._cancelled
        if self._cancelled <= chance < self._cancelled + self._revised:
            self._revise(name)

    def _revise(self, name):
        request = self._zuul._scheduler.zk_nodepool.getNodeRequest(name, cached=True)
        if request is None or request.state != model.STATE_REQUESTED:
            self._counts["answered before it was revised"] += 1
            return
        done = self._zuul._scheduler.reviseRequest(request, self._random.randrange(5, 10))
        self._counts["locked when to be revised" if done is False else "revised"] += 1

    def _answered(self, name, executors):
        if name not in self._open:
            return  # cancelled at the same time
        if self._open.pop(name):
            self._zuul._scheduler.cancelRequest(
                self._zuul._scheduler.zk_nodepool.getNodeRequest(name)
            )
            self._counts["cancelled answered"] += 1
        else:
            self._jobs[name] = executors.submit(self._job, name)

    def _job(self, name):
        """What an executor does; answers how many nodes it has had."""
        nodes = self._zuul.accept(name)
        for node in nodes:
            other = self._holders.setdefault(node["hostname"], name)
            if other != name:
                self._wrong.append(f"{node['id']} was given to {name} while {other} had it")
        self._check(name, nodes)
        self._zuul.use(name)
        for node in nodes:
            del self._holders[node["hostname"]]
        self._zuul.give_back(name)
        return len(nodes)

    def _check(self, name, nodes):
        for index, (node, asked) in enumerate(
            zip(nodes, self._zuul._nodesets[name].getNodes(), strict=True)
        ):
            wanted = {
                "allocated_to": name,
                "type": [asked.label],
                "name": f"node-{index}",
                "tenant_name": TENANT,
                "requestor": SYSTEM,
                "connection_type": "ssh",
                "host_keys": [],
            }
            for key, value in wanted.items():
                if node.get(key) != value:
                    self._wrong.append(f"{key} of {node['id']} is {node.get(key)}, not {value}")
        if len({(node["provider"], node["pool"]) for node in nodes}) != 1:
            self._wrong.append(f"the nodes of {name} are of several pools")

    def _finish(self):
        ended = [name for name, job in self._jobs.items() if job.done()]
        for name in ended:
            job = self._jobs.pop(name)
            self._zuul._nodesets.pop(name)
            if job.exception() is not None:
                self._wrong.append("".join(traceback.format_exception(job.exception())))
            else:
                self._counts["served"] += 1
                self._counts["nodes"] += job.result()
        return bool(ended)


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

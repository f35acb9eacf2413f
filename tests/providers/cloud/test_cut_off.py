"""Launches that are cut off at any moment: nothing is forgotten and nothing is made twice."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nodepool_tx.model import Node, NodeState
from nodepool_tx.providers.cloud.memory_cloud import Timing
from nodepool_tx.store import paths
from tests.providers.cloud.world import Launcher, World, WorldTestCase, cloud_provider

#: The moments at which a launch can be cut off: seconds after its beginning.
#: It answers slowly, so that there is a moment in every call.
MOMENTS = (
    *(0.0, 0.25, 0.5, 1.0, 1.25, 1.5, 2.0, 2.5, 5.0, 20.0),
    *(30.5, 31.0, 31.25, 31.5, 31.75, 32.0, 32.25, 32.5, 33.0, 60.0),
)


class SlowWorldTestCase(WorldTestCase):
    """A cloud in which every call takes a second."""

    def make_world(self) -> World:
        return World(Timing(answer=1.0, boot=30.0, delete=10.0))

    def ordered(self, launcher: Launcher) -> str:
        service = launcher.provide(cloud_provider())
        self.world.wait(15)
        return self.world.order(service)

    def assert_one_node(self, node_id: str) -> None:
        """There is one node, ready and in nobody's hands, with the one server there is."""
        nodes, servers = self.world.nodes(), self.world.cloud.servers
        self.assertEqual(list(nodes), [node_id])
        self.assertEqual(nodes[node_id].state, NodeState.READY)
        self.assertEqual(list(servers), [nodes[node_id].external_id])
        self.assertFalse(self.world.locked(node_id))

    def again(self, cut: Callable[[Launcher], None], *, servers: int) -> None:
        """Cut a launch off at each moment; a successor makes the node all the same.

        :param servers: how many may have been made for it in all.
        """
        for moment in MOMENTS:
            self.world.close()
            self.world = world = self.make_world()
            launcher = world.launcher("l1")
            node_id = self.ordered(launcher)
            world.wait(moment, step=0.25)
            cut(launcher)
            world.launcher("l2").provide(cloud_provider())
            world.wait(300)
            try:
                self.assert_one_node(node_id)
                self.assertLessEqual(world.cloud.made, servers)
                self.assertEqual(world.failures, [])
            except BaseException as e:
                raise AssertionError(f"cut off after {moment} s") from e
            if moment != MOMENTS[-1]:
                self.stop_all()

    def stop_all(self) -> None:
        for launcher in self.world.launchers:
            stopped = launcher.stop()
            self.world.wait(15)
            self.successResultOf(stopped)
        self.world.launchers.clear()


class Restarts(SlowWorldTestCase):
    def test_stopped(self) -> None:
        """A launcher that stops leaves its launches to the next, who goes on with each."""

        def stop(launcher: Launcher) -> None:
            stopped = launcher.stop()
            self.world.wait(12, step=0.25)
            self.successResultOf(stopped)
            self.world.launchers.remove(launcher)

        self.again(stop, servers=1)

    def test_killed(self) -> None:
        """A launcher that is killed leaves what it had written and what the cloud shows."""

        def kill(launcher: Launcher) -> None:
            self.world.inspector.suspend(launcher.client)
            launcher.root.stopService()
            self.world.wait(20)
            launcher.client.close()
            self.world.launchers.remove(launcher)
            self.world.settle()

        self.again(kill, servers=1)

    def test_hanging(self) -> None:
        """A launcher that hangs, and goes on without its session, does no harm."""
        zombies: list[Launcher] = []

        def hang(launcher: Launcher) -> None:
            self.world.kill(launcher)
            zombies.append(launcher)

        self.again(hang, servers=1)
        for zombie in zombies:
            zombie.root.stopService()
        self.world.wait(15)

    def test_session_lost(self) -> None:
        """A launcher whose session ends goes on in the next, by itself."""
        for moment in MOMENTS:
            self.world.close()
            self.world = world = self.make_world()
            launcher = world.launcher("l1")
            node_id = self.ordered(launcher)
            world.wait(moment, step=0.25)
            world.inspector.expire(launcher.client)
            world.wait(400)
            try:
                self.assert_one_node(node_id)
                self.assertEqual(world.failures, [])
            except BaseException as e:
                raise AssertionError(f"cut off after {moment} s") from e
            if moment != MOMENTS[-1]:
                self.stop_all()

    def test_connection_lost(self) -> None:
        """A connection that is lost for a while holds up what is written, and nothing else."""
        for moment in MOMENTS:
            self.world.close()
            self.world = world = self.make_world()
            launcher = world.launcher("l1")
            node_id = self.ordered(launcher)
            world.wait(moment, step=0.25)
            world.inspector.suspend(launcher.client, executes=1)
            world.wait(8.0)
            world.inspector.resume(launcher.client)
            world.wait(300)
            try:
                self.assert_one_node(node_id)
                self.assertEqual(world.cloud.made, 1)
                self.assertEqual(world.failures, [])
            except BaseException as e:
                raise AssertionError(f"cut off after {moment} s") from e
            if moment != MOMENTS[-1]:
                self.stop_all()


class LostNodes(SlowWorldTestCase):
    def test_node_removed(self) -> None:
        """What was made for a node that somebody removes is deleted, whenever that is."""
        for moment in MOMENTS:
            self.world.close()
            self.world = world = self.make_world()
            launcher = world.launcher("l1")
            node_id = self.ordered(launcher)
            world.wait(moment, step=0.25)
            world.inspector.delete_tree(paths.node(node_id))
            world.wait(200)
            try:
                self.assertEqual((world.nodes(), dict(world.cloud.servers)), ({}, {}))
                self.assertEqual(world.failures, [])
            except BaseException as e:
                raise AssertionError(f"removed after {moment} s") from e
            if moment != MOMENTS[-1]:
                self.stop_all()

    def test_node_removed_is_told(self) -> None:
        """That a node was removed under our hands is said once, with what happens now."""
        node_id = self.ordered(self.world.launcher())
        self.world.wait(10)
        self.world.inspector.delete_tree(paths.node(node_id))
        self.world.wait(60)
        self.assertTrue(self.world.said(f"the launch of node {node_id} of cloud is cut off"))
        self.assertTrue(self.world.said("what was made for it is deleted"))

    def test_contender_removed(self) -> None:
        """A node whose lock somebody takes from us is taken up again."""
        for moment in MOMENTS:
            self.world.close()
            self.world = world = self.make_world()
            launcher = world.launcher("l1")
            node_id = self.ordered(launcher)
            world.wait(moment, step=0.25)
            for path in world.inspector.dump(f"{paths.node_lock(node_id)}/"):
                world.inspector.delete(path)
            world.wait(400)
            try:
                self.assert_one_node(node_id)
                self.assertEqual(world.failures, [])
            except BaseException as e:
                raise AssertionError(f"taken after {moment} s") from e
            if moment != MOMENTS[-1]:
                self.stop_all()

    def test_set_to_deleting(self) -> None:
        """A node that somebody sets to be deleted while we make it is deleted."""
        for moment in MOMENTS:
            self.world.close()
            self.world = world = self.make_world()
            launcher = world.launcher("l1")
            node_id = self.ordered(launcher)
            world.wait(moment, step=0.25)
            world.change_node(node_id, state=NodeState.DELETING)
            world.wait(200)
            try:
                self.assertEqual((world.nodes(), dict(world.cloud.servers)), ({}, {}))
                self.assertEqual(world.failures, [])
            except BaseException as e:
                raise AssertionError(f"set after {moment} s") from e
            if moment != MOMENTS[-1]:
                self.stop_all()

    def test_made_unreadable(self) -> None:
        """A node whose record is made unreadable is left alone, and its launch ends."""
        node_id = self.ordered(self.world.launcher())
        self.world.wait(10)
        self.world.inspector.set(paths.node(node_id), b"{garbage")
        self.world.wait(100)
        self.assertEqual(len(self.world.cloud.servers), 1)
        self.assertFalse(self.world.locked(node_id))
        self.world.inspector.delete_tree(paths.node(node_id))
        self.world.wait(200)
        self.assertEqual(dict(self.world.cloud.servers), {})


class Stopping(SlowWorldTestCase):
    def test_answer_on_its_way(self) -> None:
        """The answer to a server being asked for is waited for, so that its id is written."""
        launcher = self.world.launcher()
        node_id = self.ordered(launcher)
        self.world.wait(0.5)
        self.assertEqual((self.world.cloud.made, self.world.node(node_id).external_id), (1, None))
        stopped = launcher.stop()
        self.world.wait(0.25)
        self.assertNoResult(stopped)
        self.world.wait(1.0)
        self.successResultOf(stopped)
        self.world.launchers.remove(launcher)
        node = self.world.node(node_id)
        self.assertEqual((node.state, node.external_id), (NodeState.BUILDING, "server-1"))
        self.assertFalse(self.world.locked(node_id))

    def test_answer_that_does_not_come(self) -> None:
        """An answer that does not come keeps nobody from stopping for long."""
        launcher = self.world.launcher()
        self.world.cloud.hang_next("create")
        self.ordered(launcher)
        stopped = launcher.stop()
        self.world.wait(6.0)
        self.successResultOf(stopped)
        self.world.launchers.remove(launcher)

    def test_without_connection(self) -> None:
        """A launcher that is out of touch with ZooKeeper stops all the same."""
        launcher = self.world.launcher()
        self.ordered(launcher)
        self.world.wait(0.5)
        self.world.inspector.suspend(launcher.client)
        self.world.settle()
        stopped = launcher.root.stopService()
        self.world.wait(15)
        self.successResultOf(stopped)
        self.world.inspector.resume(launcher.client)
        self.world.settle()

    def test_without_connection_after_a_loss(self) -> None:
        """A launch whose node is gone, and that wants to know more of that, stops all the same."""
        launcher = self.world.launcher()
        service = launcher.provide(cloud_provider())
        self.world.wait(15)
        node_id = self.world.order(service)
        self.world.wait(5)
        self.world.inspector.before(
            "transaction", lambda _: self.world.inspector.suspend(launcher.client), path="/"
        )
        self.world.inspector.delete_tree(paths.node(node_id))
        self.world.wait(5)
        self.assertEqual(service.status().details["launching"], 1)
        stopped = service.stopService()
        self.world.settle()
        self.successResultOf(stopped)
        self.world.inspector.resume(launcher.client)
        self.world.wait(1)


class TwoLaunchers(SlowWorldTestCase):
    def test_each_makes_its_own(self) -> None:
        """Two launchers with one provider make the nodes of their own requests, each once."""
        services = [self.world.launcher(name).provide(cloud_provider()) for name in ("l1", "l2")]
        self.world.wait(15)
        ids = [self.world.order(service) for service in services * 5]
        self.world.wait(100)
        self.assertEqual({self.world.node(i).state for i in ids}, {NodeState.READY})
        self.assertEqual(self.world.cloud.made, 10)

    def test_one_dies(self) -> None:
        """What a launcher leaves behind is made by the other."""
        first = self.world.launcher("l1")
        ids = [self.ordered(first)]
        self.world.launcher("l2").provide(cloud_provider())
        self.world.wait(10)
        self.world.inspector.suspend(first.client)
        first.root.stopService()
        self.world.wait(120)
        first.client.close()
        self.world.launchers.remove(first)
        self.assert_one_node(ids[0])
        self.assertEqual(self.world.cloud.made, 1)

    def test_one_does_not_know_yet(self) -> None:
        """A launcher that does not know yet that its lock is gone deletes no server for it."""
        self.world.cloud.timing = attrs.evolve(self.world.cloud.timing, boot=100.0)
        first = self.world.launcher("l1")
        service = first.provide(cloud_provider(launch_timeout=60.0))
        self.world.wait(15)
        node_id = self.world.order(service)
        self.world.launcher("l2").provide(cloud_provider(launch_timeout=600.0))
        self.world.wait(30)
        self.world.inspector.suspend(first.client)
        self.world.wait(120)
        self.assertEqual(self.world.cloud.calls["delete"], 0)
        self.world.inspector.resume(first.client)
        self.world.wait(100)
        self.assert_one_node(node_id)
        self.assertEqual((self.world.cloud.calls["delete"], self.world.cloud.made), (0, 1))

    def test_node_that_was_never_begun(self) -> None:
        """A node whose launcher is gone before it was begun is removed."""
        service = self.world.launcher("l1").provide(cloud_provider())
        request = self.world.request("small")
        node: Node = service.making.draft("main", "small", request, None)
        self.world.put_node(attrs.evolve(node, launcher="gone-PoolWorker.cloud-main-1"))
        self.world.wait(20)
        self.assertEqual((self.world.nodes(), self.world.cloud.made), ({}, 0))

    def test_node_that_we_forgot(self) -> None:
        """A node that we have promised to make and never began is begun after a while."""
        service = self.world.launcher("l1").provide(cloud_provider())
        request = self.world.request("small")
        node_id = self.world.put_node(service.making.draft("main", "small", request, None))
        self.world.wait(25)
        self.assertEqual(self.world.node(node_id).state, NodeState.INIT)
        self.world.wait(150)
        self.assert_one_node(node_id)

"""Each finder on a farm made by hand: what it finds, and what it leaves alone."""

from __future__ import annotations

import json

import attrs
import pytest

from nodepool_tx.check.farm import Ages, CloudView, Rubbish
from nodepool_tx.check.findings import KINDS, Finding
from nodepool_tx.check.repairs import (
    Delete,
    Deregister,
    EndRequest,
    FailImage,
    ForgetDecliners,
    Free,
    Reclaim,
    Remove,
    ResetRequest,
)
from nodepool_tx.model import (
    MIN_READY_REQUESTOR,
    ImageBuild,
    ImageState,
    ImageUpload,
    Maintenance,
    MaintenanceMode,
)
from nodepool_tx.preview.nodes import Effect, NodeEffect
from nodepool_tx.providers.cloud.interface import NODE_ID, PROVIDER_NAME, Resource
from nodepool_tx.store import image_paths, paths
from nodepool_tx.store.codec import EMPTY
from nodepool_tx.store.leases import Lease, encode_lease
from tests.check.farms import (
    NOW,
    codes,
    config,
    farm,
    holder,
    locked,
    node,
    pool,
    request,
    static,
    the,
    znode,
)

N1, N2 = "0000000001", "0000000002"
R1, R2 = "200-0000000001", "200-0000000002"
LOCK = f"{paths.node_lock(N1)}/a__lock__0"


def rubbish(reason: str = EMPTY, age: float = 1000.0) -> Rubbish:
    return Rubbish(path=paths.node(N1), reason=reason, since=NOW - age, version=3, mzxid=4)


def test_a_healthy_farm() -> None:
    """Nothing is wrong with nodes in stock, given, in use, held and being made."""
    records = (
        node(N1),
        node(N2, "ready", allocated_to=R1),
        node("0000000003", "in-use", allocated_to="200-gone"),
        node("0000000004", "hold", state_time=0.0),
        node("0000000005", "building", allocated_to=R2),
        node("0000000006", "used"),
        node("0000000007", "deleting", state_time=NOW - 3000),
        request(R1, "fulfilled", nodes=(N2,)),
        request(R2, "pending"),
        request("200-0000000003", declined_by=("old",), state_time=0.0),
    )
    there = farm(
        *records,
        node_locks=locked("0000000003", "0000000005"),
        request_locks={R2: (holder(f"{paths.request_lock(R2)}/a__lock__0"),), "200-old": ()},
        lock_stats={"200-old": (NOW - 3600, 0)},
        config=config(static(h1=9)),
    )
    assert codes(there) == []


# -- locks ---------------------------------------------------------------------


@pytest.mark.parametrize("session", [0, 5])
def test_a_lock_without_session(session: int) -> None:
    """Who stands in line without a session is taken out of it; with one it is fine."""
    there = farm(node(state="in-use"), node_locks={N1: (holder(LOCK, session, version=2),)})
    if session:
        assert codes(there) == []
    else:
        assert the("lock-ownerless", there).repair == Remove(((LOCK, 2),))


def test_the_standing_lock_of_a_backing_node() -> None:
    """Goes with no session, and is meant to."""
    mine = holder(LOCK, 0, identifier="NodePool:metastatic:meta")
    assert codes(farm(node(state="in-use"), node_locks={N1: (mine,)})) == []


@pytest.mark.parametrize(
    "directory",
    [
        paths.owner_lock("rack"),
        f"{paths.ELECTIONS}/stats",
        image_paths.builds_lock("debian"),
        image_paths.upload_lock("debian", "b1", "sky", "0000000001"),
    ],
)
def test_other_locks_without_session(directory: str) -> None:
    """Owners, elections and builders are looked at in the same way."""
    path = f"{directory}/x__lock__0000000000"
    trees = {directory: znode(), path: znode(b"who", version=1)}
    for root in (paths.OWNERS, paths.ELECTIONS):
        trees[root] = znode()
    found = the("lock-ownerless", farm(trees=trees))
    assert (found.path, found.repair) == (path, Remove(((path, 1),)))
    assert "who" in found.words
    assert codes(farm(trees={**trees, path: znode(session=5)})) == []


def test_a_registration_without_session() -> None:
    """Would have everyone wait for a pool that is not there."""
    kind = f"{paths.COMPONENTS}/pool"
    trees = {kind: znode(), f"{kind}/h0": znode(b'{"id": "x"}', session=0)}
    assert "component-ownerless" in codes(farm(trees=trees))
    trees[f"{kind}/h0"] = znode(trees[f"{kind}/h0"].data, session=3)
    assert "component-ownerless" not in codes(farm(trees=trees))


def test_the_lock_of_a_request_that_is_gone() -> None:
    """Counts when launchers should have removed it, which Nodepool 11 does after eight hours."""

    def at(age: float, *holders: object) -> list[str]:
        return codes(farm(request_locks={R1: holders}, lock_stats={R1: (NOW - age, 0)}))

    path = paths.request_lock(R1)
    assert at(8 * 3600) == []
    assert at(9 * 3600 + 1) == ["lock-orphaned"]
    assert at(10, holder(f"{path}/a__lock__0")) == []
    assert at(10, holder(f"{path}/a__lock__0", since=NOW - 3601)) == ["lock-orphaned"]
    there = farm(request_locks={R1: (holder(f"{path}/a__lock__0", 0),)}, lock_stats={R1: (NOW, 4)})
    repair = the("lock-ownerless", there).repair
    assert repair == Remove(((f"{path}/a__lock__0", 0), (path, 4)))


def test_the_place_of_a_node() -> None:
    """Is a leftover when sweeps have not removed it, unless somebody has its lock."""
    assert codes(farm(unreadable_nodes={N1: rubbish(age=100)})) == []
    found = the("node-empty", farm(unreadable_nodes={N1: rubbish()}, lock_dirs=frozenset({N1})))
    assert found.repair == Remove(((paths.node_lock(N1), -1), (paths.node(N1), 3)))
    held = farm(unreadable_nodes={N1: rubbish()}, node_locks=locked(N1))
    assert codes(held) == []
    long = farm(unreadable_nodes={N1: rubbish(age=4000)}, node_locks=locked(N1))
    assert the("node-empty", long).repair is None
    dead = farm(
        unreadable_nodes={N1: rubbish(age=1)},
        node_locks={N1: (holder(LOCK, 0),)},
        lock_dirs=frozenset({N1}),
    )
    assert the("lock-ownerless", dead).repair == Remove(
        ((LOCK, 0), (paths.node_lock(N1), -1), (paths.node(N1), 3))
    )


# -- promises ------------------------------------------------------------------


def test_a_node_promised_to_nobody() -> None:
    """Is put back in stock, unless somebody has it or the request only makes no sense."""
    lost = node(allocated_to=R1)
    assert the("node-promised-to-nobody", farm(lost)).repair == Free(lost)
    assert codes(farm(lost, node_locks=locked(N1))) == []
    assert codes(farm(lost, unreadable_requests={R1: "garbage"})) == ["unreadable"]
    assert codes(farm(node(state="in-use", allocated_to=R1), node_locks=locked(N1))) == []


@pytest.mark.parametrize(
    ("state", "age", "found"),
    [
        ("pending", 999.0, []),
        ("requested", 10.0, []),
        ("requested", 999.0, ["node-promised-in-vain"]),
        ("failed", 10.0, ["node-promised-in-vain"]),
        ("fulfilled", 10.0, ["node-promised-in-vain"]),
    ],
)
def test_a_node_promised_in_vain(state: str, age: float, found: list[str]) -> None:
    """A request that is over does not take it; one that is open may, for a while."""
    asked = request(R1, state, state_time=NOW - age, nodes=(N2,))
    mine = node(allocated_to=R1, state_time=NOW - age)
    hold = (holder(f"{paths.request_lock(R1)}/a__lock__0"),) if state == "pending" else ()
    there = farm(
        mine,
        node(N2, allocated_to=R1, state="in-use"),
        asked,
        request_locks={R1: hold},
        node_locks=locked(N2),
    )
    assert codes(there) == found
    if found:
        assert the(found[0], there).repair == Free(mine, asked)


def test_stock_that_is_not_taken_in_yet() -> None:
    """Is promised to a request of our own without being listed."""
    asked = request(R1, "fulfilled", requestor=MIN_READY_REQUESTOR, nodes=(N2,))
    assert codes(farm(node(allocated_to=R1), asked)) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), f"node {N1} does not exist"),
        ((node(N1),), f"node {N1} is promised to nobody"),
        ((node(N1, "in-use", allocated_to="200-9"),), f"node {N1} is promised to 200-9"),
    ],
)
def test_a_request_without_its_nodes(given: tuple[object, ...], words: str) -> None:
    """Fails, and what it still has goes back in stock."""
    asked, other = request(R1, "fulfilled", nodes=(N1, N2)), node(N2, allocated_to=R1)
    there = farm(*given, other, asked, node_locks=locked(N1) if given else {})  # type: ignore
    found = the("request-without-nodes", there)
    assert found.words == f"it is fulfilled, but {words}"
    assert found.repair == EndRequest(asked, (other,))


def test_a_request_that_is_being_taken() -> None:
    """Is left alone: whoever takes it finds out."""
    asked, other = request(R1, "fulfilled", nodes=(N1, N2)), node(N2, allocated_to=R1)
    found = the("request-without-nodes", farm(other, asked, node_locks=locked(N2)))
    assert (found.repair, found.left) == (None, "its requestor is just taking the others")


def test_a_node_that_makes_no_sense() -> None:
    """May be anybody's."""
    asked = request(R1, "fulfilled", nodes=(N1,))
    assert codes(farm(asked, unreadable_nodes={N1: rubbish("garbage")})) == ["unreadable"]


def test_a_node_given_twice() -> None:
    """Stays with the one that it is promised to."""
    one, two = (request(r, "fulfilled", nodes=(N1,)) for r in (R1, R2))
    found = the("node-given-twice", farm(node(allocated_to=R1), one, two))
    assert (found.path, found.repair) == (paths.request(R2), EndRequest(two))


# -- requests ------------------------------------------------------------------


def test_a_request_that_nobody_works_on() -> None:
    """Is opened again; its nodes are put in stock, or deleted if nobody makes them."""
    asked = request(R1, "pending")
    ready, made, mine = (
        node(N1, allocated_to=R1),
        node(N2, "building", allocated_to=R1),
        node("0000000003", "building", allocated_to=R1),
    )
    there = farm(asked, ready, made, mine, node_locks=locked("0000000003"))
    assert the("request-abandoned", there).repair == ResetRequest(asked, (ready,), (made,))
    hold = {R1: (holder(f"{paths.request_lock(R1)}/a__lock__0"),)}
    assert codes(farm(asked, ready, request_locks=hold)) == []


def test_a_request_that_nobody_takes() -> None:
    """Is told after an hour, and left to its requestor."""
    mine = node(allocated_to=R1)
    fresh = request(R1, "fulfilled", nodes=(N1,), state_time=NOW - 3599)
    old = attrs.evolve(fresh, state_time=NOW - 3601, requestor="zuul")
    assert codes(farm(fresh, mine)) == []
    found = the("request-not-accepted", farm(old, mine))
    assert (found.repair, "zuul" in found.left) == (None, True)
    assert codes(farm(old, mine, node_locks=locked(N1))) == []


def test_a_request_for_the_stock_without_session() -> None:
    """Is removed: who asked is gone."""
    asked = request(R1, "failed", requestor=MIN_READY_REQUESTOR, state_time=NOW - 200)
    assert codes(farm(asked)) == []
    there = farm(asked, persistent=frozenset({R1}))
    assert the("request-ownerless", there).repair == EndRequest(asked, (), remove=True)


def test_a_request_declined_by_who_is_gone() -> None:
    """Is open to all again when nobody online could have a say in it."""
    asked = request(R1, declined_by=("old",), node_types=("huge",), state_time=NOW - 200)
    assert the("request-declined-by-gone", farm(asked)).repair == ForgetDecliners(asked)
    assert codes(farm(attrs.evolve(asked, declined_by=("old", "id-rack")))) == []
    assert codes(farm(asked, pools=(pool("rack", "huge"),))) == []
    assert codes(farm(attrs.evolve(asked, declined_by=()))) == []


# -- nodes ---------------------------------------------------------------------


@pytest.mark.parametrize("state", ["init", "building", "testing"])
def test_a_node_that_nobody_makes(state: str) -> None:
    """Is deleted; one that is still to be begun when sweeps have not seen to it."""
    mine = node(state=state, state_time=NOW - 190)
    assert the("node-abandoned", farm(mine)).repair == Delete(mine)
    assert codes(farm(mine, node_locks=locked(N1))) == []
    assert codes(farm(mine, pools=())) == ["provider-unserved"]
    fresh = farm(attrs.evolve(mine, state_time=NOW - 10))
    assert codes(fresh) == ([] if state == "init" else ["node-abandoned"])


@pytest.mark.parametrize("state", ["in-use", "used", "failed", "aborted"])
def test_a_node_that_is_not_taken_back(state: str) -> None:
    """Is told after three minutes, and left to its launcher."""
    assert codes(farm(node(state=state, state_time=NOW - 170))) == []
    found = the("node-not-returned", farm(node(state=state, state_time=NOW - 190)))
    assert (found.repair, "launcher" in found.left) == (None, True)
    assert codes(farm(node(state=state, state_time=0.0), node_locks=locked(N1))) == []


def test_a_node_that_is_not_deleted() -> None:
    """Is told after an hour."""
    assert codes(farm(node(state="deleting", state_time=NOW - 3700))) == ["node-not-deleted"]


# -- providers -----------------------------------------------------------------


def test_a_provider_without_launcher() -> None:
    """Is told; the ownership of a launcher that empties it counts as one."""
    assert codes(farm(node(), pools=(), config=config())) == [
        "provider-unserved",
    ]
    assert codes(farm(node(), pools=())) == ["provider-unserved"]
    lock = paths.owner_lock("rack")
    trees = {lock: znode(), f"{lock}/a__lock__0": znode(session=4)}
    assert "provider-unserved" not in codes(farm(node(), pools=(), trees=trees))
    noted = {paths.draining("rack"): znode(b'{"driver": "static"}')}
    assert codes(farm(node(), pools=(), trees=noted)) == ["provider-unserved"]


def test_what_a_removed_provider_left_behind() -> None:
    """Free static nodes go, others are told apart."""
    free, held = node(N1), node(N2, "hold")
    used = node("0000000003", "in-use")
    given = node("0000000004", allocated_to=R1)
    cloudy = node("0000000005", launcher="host-1-main", slot=None)
    there = farm(
        free,
        held,
        used,
        given,
        cloudy,
        request(R1, "fulfilled", nodes=(given.id,)),
        pools=(),
        node_locks=locked(used.id),
        config=config(static("other")),
    )
    assert codes(there) == ["cloud-left-behind", "static-left-behind", "static-left-in-use"]
    assert the("static-left-behind", there).repair == Deregister((free,))
    assert the("cloud-left-behind", there).repair is None
    assert "3 nodes" in the("static-left-in-use", there).words


# -- static --------------------------------------------------------------------


def effect(kind: Effect, node_id: str | None = None, **more: object) -> NodeEffect:
    fields = {"pool": "main", "name": "h1:22", "slot": 0, "words": "why", **more}
    return NodeEffect(effect=kind, provider="rack", node_id=node_id, **fields)  # type: ignore


def test_a_slot_with_two_nodes() -> None:
    """The one goes that the planner gives up; if somebody has both, they end by themselves."""
    one, two = node(N1, slot=0), node(N2, slot=0)
    gone = {"rack": (effect(Effect.DEREGISTERED, N2),)}
    found = the("static-doubled", farm(one, two, effects=gone))
    assert (found.what, found.repair) == (f"node {N2}", Deregister((two,)))
    both = farm(node(N1, "in-use", slot=0), node(N2, "in-use", slot=0), node_locks=locked(N1, N2))
    assert the("static-doubled", both).repair is None


def test_nodes_where_none_should_be() -> None:
    """Those that are free go."""
    mine = node()
    gone = {"rack": (effect(Effect.DEREGISTERED, N1),)}
    assert the("static-not-configured", farm(mine, effects=gone)).repair == Deregister((mine,))
    away = Maintenance(mode=MaintenanceMode.DRAIN, host="h1")
    there = farm(mine, effects=gone, maintenance=(away,))
    assert codes(there) == ["static-out-of-service"]
    later = {"rack": (effect(Effect.DEREGISTERED, N1, in_use=True),)}
    assert codes(farm(mine, effects=later)) == []
    assert "static-not-configured" not in codes(farm(mine, effects=gone, pools=()))


def test_a_slot_without_a_node() -> None:
    """Is told, as its host may be down."""
    empty = {"rack": (effect(Effect.REGISTERED), effect(Effect.CHANGED, N1))}
    found = the("static-missing", farm(effects=empty))
    assert (found.repair, found.what) == (None, "slot 0 of h1:22")
    assert codes(farm(effects=empty, pools=())) == []


def test_maintenance_of_nothing() -> None:
    """Is told when the configuration is known."""
    records = tuple(
        Maintenance(mode=MaintenanceMode.DRAIN, host=host, provider=provider)
        for host, provider in (("h1", None), ("h9", None), (None, "rack"), (None, "sky"))
    )
    assert codes(farm(maintenance=records)) == []
    there = farm(maintenance=records, config=config())
    assert codes(there) == ["maintenance-not-configured"] * 2


# -- clouds --------------------------------------------------------------------


def server(external_id: str, node_id: str, provider: str = "sky") -> Resource:
    metadata = {NODE_ID: node_id, PROVIDER_NAME: provider}
    return Resource(kind="instance", external_id=external_id, metadata=metadata)


def cloudy(*records: object, **view: object) -> object:
    view.setdefault("before", {})
    return farm(
        *records,  # type: ignore
        pools=(pool("sky"),),
        clouds={"sky": CloudView(**view)},  # type: ignore
    )


def in_sky(node_id: str = N1, state: str = "ready", **more: object) -> object:
    return node(node_id, state, provider="sky", slot=None, launcher="l", **more)


def test_servers_of_nobody() -> None:
    """What is of another provider, or being made, is left alone."""
    mine = in_sky(external_id="s1")
    resources = (
        server("s1", N1),
        server("s2", "0000000099"),
        server("s3", "0000000099", "sea"),
        server("s4", N2),
        Resource(kind="port", external_id="p1", orphan=True),
        Resource(kind="port", external_id="p2"),
    )
    there = cloudy(mine, in_sky(N2, "building"), resources=resources)
    found = {f.path: f.repair for f in _found(there, "cloud-leaked")}
    assert found == {
        each: Reclaim("sky", r) for each, r in (("s2", resources[1]), ("p1", resources[4]))
    }


def _found(there: object, code: str) -> list[Finding]:
    from nodepool_tx.check.finding import find

    return [each for each in find(there) if each.code == code]  # type: ignore


def test_a_second_server() -> None:
    """Goes; the one that is recorded stays."""
    resources = (server("s1", N1), server("s2", N1))
    (found,) = _found(cloudy(in_sky(external_id="s1"), resources=resources), "cloud-second-server")
    assert found.repair == Reclaim("sky", resources[1])


@pytest.mark.parametrize(
    ("fields", "repaired"),
    [
        ({}, True),
        ({"allocated_to": R1}, False),
        ({"state": "hold"}, False),
        ({"state": "in-use"}, False),
    ],
)
def test_a_node_without_server(fields: dict[str, str], repaired: bool) -> None:
    """Is deleted when it is in stock; else somebody has it."""
    mine = in_sky(external_id="s1", **fields)
    there = cloudy(mine, request(R1, "fulfilled", nodes=(N1,)), before={N1: "s1"})
    (found,) = _found(there, "cloud-lost")
    assert (found.repair == Delete(mine), found.repair is None) == (repaired, not repaired)  # type: ignore
    there = cloudy(mine, resources=(server("s1", N1),), before={N1: "s1"})
    assert _found(there, "cloud-lost") == []
    assert _found(cloudy(mine), "cloud-lost") == []


def test_a_cloud_that_does_not_answer() -> None:
    """Is named, and nothing is said of its nodes."""
    there = cloudy(in_sky(external_id="s1"), before={N1: "s1"}, trouble="503")
    (found,) = _found(there, "cloud-not-asked")
    assert "503" in found.words
    assert _found(there, "cloud-lost") == []


# -- images --------------------------------------------------------------------


def build(state: str = "ready") -> ImageBuild:
    return ImageBuild(id="b1", image="debian", state=ImageState(state), mzxid=3)


def upload(state: str = "ready", provider: str = "rack") -> ImageUpload:
    return ImageUpload(
        id="0000000001", image="debian", build_id="b1", provider=provider, state=ImageState(state)
    )


def test_a_build_that_nobody_makes() -> None:
    """Fails."""
    lock, path = image_paths.builds_lock("debian"), paths.image_build("debian", "b1")
    found = the("image-build-abandoned", farm(builds=(build("building"),), trees={lock: znode()}))
    assert found.repair == FailImage(build("building"), path, lock, True)
    held = {lock: znode(), f"{lock}/a__lock__0": znode(session=4)}
    assert codes(farm(builds=(build("building"),), trees=held)) == []


def test_an_upload_that_nobody_makes() -> None:
    """Fails."""
    there = farm(builds=(build(),), uploads=(upload("uploading"),))
    repair = the("image-upload-abandoned", there).repair
    assert isinstance(repair, FailImage)
    assert not repair.has_lock


def test_uploads_that_belong_to_nothing() -> None:
    """Are left to people, unless they are on their way out."""
    assert codes(farm(uploads=(upload(),))) == ["image-upload-orphaned"]
    assert codes(farm(uploads=(upload("deleting"),))) == []
    there = farm(builds=(build(),), uploads=(upload(provider="sky"),), config=config())
    assert codes(there) == ["image-upload-not-configured"]
    assert codes(attrs.evolve(there, config=None)) == []


def test_a_number_of_an_upload() -> None:
    """Is removed when it is long left, unless somebody has its lock."""
    path = paths.image_upload("debian", "b1", "sky", "0000000001")
    lock = f"{path}/lock"
    empty = {path: EMPTY}
    young = farm(unreadable_images=empty, trees={path: znode()})
    assert codes(young) == []
    trees = {path: znode(age=999, version=2), lock: znode(version=1)}
    found = the("image-upload-empty", farm(unreadable_images=empty, trees=trees))
    assert found.repair == Remove(((lock, 1), (path, 2)))
    trees[f"{lock}/a__lock__0"] = znode(session=4)
    assert codes(farm(unreadable_images=empty, trees=trees)) == []


# -- leftovers -----------------------------------------------------------------


def test_what_makes_no_sense() -> None:
    """Is named wherever it is; unknown keys are fine."""
    lease = Lease(
        id="y", user="u", how="token", labels=("a",), created=1.0, since=1.0, expires=2.0, ttl=1.0
    )
    known = json.dumps({**json.loads(encode_lease(lease)), "new": 1}).encode()
    kind = f"{paths.COMPONENTS}/pool"
    trees = {
        f"{paths.LEASES}/x": znode(b"[1]"),
        f"{paths.LEASES}/y": znode(known),
        paths.draining("sky"): znode(b"x"),
        kind: znode(),
        f"{kind}/h": znode(b"{", session=3),
    }
    there = farm(
        unreadable_nodes={N1: rubbish("garbage")},
        unreadable_requests={R1: "garbage"},
        unreadable_images={paths.image_build("debian", "b9"): "garbage"},
        unreadable_maintenance={paths.maintenance_of_host("h"): "garbage"},
        trees=trees,
    )
    assert codes(there) == ["unreadable"] * 7


def test_a_note_of_a_drain() -> None:
    """Goes when there is nothing to empty, or the provider is back."""
    trees = {paths.draining("rack"): znode(b'{"driver": "static"}', version=1)}
    path = paths.draining("rack")
    assert the("draining-done", farm(trees=trees)).repair == Remove(((path, 1),))
    assert codes(farm(node(), trees=trees)) == []
    assert codes(farm(node(), trees=trees, config=config())) == ["draining-done"]
    unknown = farm(trees=trees, unreadable_nodes={N1: rubbish("garbage")})
    assert codes(unknown) == ["unreadable"]


def test_a_question() -> None:
    """Goes with its answers when nobody waits for them any more."""
    path = f"{paths.QUESTIONS}/q"
    assert codes(farm(trees={path: znode(age=100)})) == []
    trees = {path: znode(age=300), f"{path}/l1": znode()}
    repair = the("question-left-over", farm(trees=trees)).repair
    assert repair == Remove(((f"{path}/l1", 0), (path, 0)))


# -- the catalogue -------------------------------------------------------------


def test_ages() -> None:
    """Can be bounded, and are never more than usual."""
    assert Ages.at_most(5) == Ages(5, 5, 5)
    assert Ages.at_most(1e9) == Ages()


def test_codes_are_known() -> None:
    """A finding is of a kind that there is."""
    with pytest.raises(ValueError, match="'code' must be in"):
        Finding(code="nonsense", what="", path="", words="")
    assert all(KINDS[code].code == code for code in KINDS)

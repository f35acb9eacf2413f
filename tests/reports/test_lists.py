"""What the lists show, from values."""

import json

from nodepool_tx.model import Node, NodeRequest, NodeState, PoolComponent, RequestState
from nodepool_tx.reports.lists import (
    image_report,
    label_report,
    node_report,
    provider_node_report,
    request_report,
)
from nodepool_tx.reports.report import show_age

NODE = Node(
    id="0000000007",
    state=NodeState.READY,
    state_time=1000.0,
    provider="demo",
    pool="rack",
    type=("small", "large"),
    hostname="h1",
    username="zuul",
    connection_port=22022,
)


def test_the_node_table_has_the_columns_of_nodepool_11_in_its_order() -> None:
    """Scripts and eyes that know the old table find everything where it was."""
    table = node_report([NODE], lambda node_id: False, 1083.0).as_table().splitlines()
    assert [word.strip() for word in table[1].strip("|").split("|")] == [
        "ID",
        "Provider",
        "Label",
        "Server ID",
        "Public IPv4",
        "IPv6",
        "State",
        "Age",
        "Locked",
    ]
    assert [word.strip() for word in table[3].strip("|").split("|")] == [
        "0000000007",
        "demo",
        "small,large",
        "",
        "",
        "",
        "ready",
        "00:00:01:23",
        "unlocked",
    ]


def test_detail_adds_columns_at_the_right() -> None:
    """The first columns stay where they are."""
    header = node_report([NODE], lambda node_id: True, 0.0, detail=True).as_table().splitlines()[1]
    names = [word.strip() for word in header.strip("|").split("|")]
    assert names[8:] == [
        "Locked",
        "Pool",
        "Hostname",
        "Private IPv4",
        "AZ",
        "Username",
        "Port",
        "Launcher",
        "Allocated To",
        "Hold Job",
        "Comment",
        "User Data",
        "Driver Data",
    ]


def test_json_has_all_keys_and_plain_values() -> None:
    """Lists stay lists and ages are numbers, with or without detail."""
    (row,) = json.loads(node_report([NODE], lambda node_id: True, 1083.5).as_json())
    assert row["label"] == ["small", "large"]
    assert row["age"] == 83.5
    assert row["locked"] == "locked"
    assert row["connection_port"] == 22022
    assert row["driver_data"] is None
    assert len(row) == 21


def test_credentials_in_the_place_of_a_port_are_not_shown() -> None:
    """Drivers without a port keep connection data there."""
    node = Node(id="1", state=NodeState.READY, connection_port={"token": "secret"})
    report = node_report([node], lambda node_id: False, 0.0, detail=True)
    assert "secret" not in report.as_table() + report.as_json()
    assert report.rows[0]["connection_port"] == "redacted"


def test_nodes_are_listed_by_id() -> None:
    """Whatever order the table of nodes has them in."""
    nodes = [Node(id=id, state=NodeState.READY) for id in ("3", "1", "2")]
    assert [row["id"] for row in node_report(nodes, lambda _: False, 0.0).rows] == ["1", "2", "3"]


def test_requests_are_listed_in_the_order_of_the_queue() -> None:
    """Precedence first, then relative priority, then who came first."""

    def request(id: str, priority: int) -> NodeRequest:
        return NodeRequest(
            id=id,
            state=RequestState.REQUESTED,
            relative_priority=priority,
            node_types=("a", "b"),
            requestor="zuul",
            event_id="e",
        )

    report = request_report([request("200-3", 0), request("100-2", 5), request("100-4", 1)])
    assert [row["id"] for row in report.rows] == ["100-4", "100-2", "200-3"]
    header = report.as_table().splitlines()[1]
    assert [word.strip() for word in header.strip("|").split("|")] == [
        "Request ID",
        "Priority",
        "State",
        "Requestor",
        "Node Types",
        "Nodes",
        "Declined By",
        "Event ID",
    ]
    assert json.loads(report.as_json())[0]["node_types"] == ["a", "b"]


def test_labels_are_those_of_all_pools_once() -> None:
    """Sorted, so that the list is the same each time."""
    pools = [
        PoolComponent(
            id=str(number),
            name="p",
            provider_name="x",
            hostname="h",
            supported_labels=frozenset(labels),
        )
        for number, labels in enumerate((("b", "a"), ("b", "c")))
    ]
    assert label_report(pools).rows == ({"label": "a"}, {"label": "b"}, {"label": "c"})


def test_info_lists_images_and_nodes() -> None:
    """Two tables with Nodepool's headers."""
    images = image_report({("debian", "2"): ["3", "1"], ("debian", "1"): ["2"]})
    assert [row["upload_ids"] for row in images.rows] == [["2"], ["1", "3"]]
    assert "| Image Name | Build ID | Upload IDs |" in images.as_table()
    assert "| ID         | Server ID |" in provider_node_report([NODE]).as_table()


def test_ages_count_days() -> None:
    """Days, hours, minutes, seconds; a clock that is behind makes no negative age."""
    assert show_age(0) == "00:00:00:00"
    assert show_age(59.9) == "00:00:00:59"
    assert show_age(2 * 86400 + 3 * 3600 + 4 * 60 + 5) == "02:03:04:05"
    assert show_age(-5) == "00:00:00:00"

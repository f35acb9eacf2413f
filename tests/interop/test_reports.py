"""Our reports are Nodepool 11's lists, byte for byte, of the same records.

Nodepool 11's own code shows them at the same moment, so that ages agree too.
What ZooKeeper does in between is compared in ``test_command_line``.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cached_venvs import NODEPOOL, environment
from nodepool_tx.model import PoolComponent
from nodepool_tx.reports.images import (
    ImageStatus,
    dib_image_report,
    image_list_report,
    image_status_report,
)
from nodepool_tx.reports.lists import label_report, node_report, request_report
from nodepool_tx.reports.report import Report
from nodepool_tx.store.codec import (
    decode_image_build,
    decode_image_upload,
    decode_node,
    decode_request,
)

PROGRAM = Path(__file__).with_name("reports_program.py")
TIMEOUT = 60

#: Images are given whole seconds: of a fraction, Nodepool 11's tables show an age
#: that is too long by it.
NOW = 1_700_000_000.25
FIELDS = ["state", "id", "image", "label", "no-such-field"]

FULL_NODE = {
    "state": "in-use",
    "state_time": NOW - 200_000.5,
    "provider": "dc",
    "pool": "rack",
    "type": ["small", "large"],
    "allocated_to": "200-0000000001",
    "az": "zone",
    "public_ipv4": "192.0.2.1",
    "private_ipv4": "10.0.0.1",
    "public_ipv6": "2001:db8::1",
    "connection_port": 2222,
    "launcher": "nl01-1",
    "external_id": "uuid",
    "hostname": "h1",
    "comment": "Ärger mit 節點",
    "user_data": "{}",
    "driver_data": {"a": [1, 2.5, None, True]},
    "hold_job": "job",
    "username": "debian",
}

GIVEN: dict[str, Any] = {
    "now": NOW,
    "fields": FIELDS,
    "nodes": [
        ["0000000001", FULL_NODE, ["lock"]],
        ["0000000002", {"state": "ready", "state_time": NOW, "type": ["a"]}, []],
        [
            "0000000003",
            {"state": "hold", "state_time": 1.5, "connection_port": {"token": "secret"}},
            [],
        ],
        [
            "0000000004",
            {"state": "hold", "state_time": NOW - 60, "connection_port": "22", "external_id": 7},
            [],
        ],
    ],
    "requests": [
        ["100-0000000002", {"state": "requested", "node_types": ["a"], "requestor": "zuul"}],
        [
            "200-0000000001",
            {
                "state": "fulfilled",
                "node_types": ["small", "large"],
                "nodes": ["0000000001"],
                "declined_by": ["nl01-1-dc-rack"],
                "relative_priority": 3,
                "event_id": "e1",
                "requestor": "zuul",
            },
        ],
    ],
    "images": {"alma": None, "debian": [True, int(NOW) - 90], "fedora": [False, int(NOW) - 5]},
    "paused": ["fedora"],
    "builds": [
        [
            "debian",
            "0000000001",
            {
                "state": "ready",
                "state_time": int(NOW) - 90,
                "builder": "nb01",
                "builder_id": "x",
                "formats": "raw,qcow2",
            },
        ],
        ["fedora", "0000000001", {"state": "building", "state_time": int(NOW) - 3}],
    ],
    "uploads": [
        [
            "debian",
            "0000000001",
            "dc",
            "0000000002",
            {
                "state": "ready",
                "state_time": int(NOW) - 90,
                "external_id": "uuid",
                "external_name": "debian-1",
            },
        ],
        [
            "fedora",
            "0000000001",
            "dc",
            "0000000001",
            {"state": "uploading", "state_time": int(NOW)},
        ],
    ],
    "pools": [["small"]],
}

NOTHING = {**dict.fromkeys(GIVEN, ()), "now": NOW, "fields": FIELDS, "images": {}}


def shown_there(given: dict[str, Any]) -> dict[str, list[str]]:
    """What Nodepool 11's code shows: as JSON, as a table, and as a table of some columns."""
    done = subprocess.run(
        [str(environment(NODEPOOL) / "python"), "-I", str(PROGRAM)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def data(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


def reports_of(given: dict[str, Any]) -> dict[str, Report]:
    """Our reports of the same records."""
    locked = {name for name, _, contenders in given["nodes"] if contenders}
    builds = [decode_image_build(image, name, data(f)) for image, name, f in given["builds"]]
    uploads = [
        decode_image_upload(image, build, provider, name, data(fields))
        for image, build, provider, name, fields in given["uploads"]
    ]
    statuses = [
        ImageStatus(name, name in given["paused"])
        if asked is None
        else ImageStatus(
            name, name in given["paused"], "pending" if asked[0] else "building", asked[1]
        )
        for name, asked in given["images"].items()
    ]
    pools = [
        PoolComponent(
            id="p", name="p", provider_name="dc", hostname="h", supported_labels=frozenset(labels)
        )
        for labels in given["pools"]
    ]
    return {
        "node-list": node_report(
            [decode_node(name, data(fields)) for name, fields, _ in given["nodes"]],
            locked.__contains__,
            NOW,
            detail=True,
        ),
        "request-list": request_report(
            decode_request(name, data(fields)) for name, fields in given["requests"]
        ),
        "dib-image-list": dib_image_report(builds, given["paused"].__contains__, NOW),
        "image-list": image_list_report(uploads, NOW),
        "image-status": image_status_report(statuses, NOW),
        "label-list": label_report(pools),
    }


@pytest.fixture(scope="module")
def theirs() -> dict[str, list[str]]:
    return shown_there(GIVEN)


LISTS = sorted(reports_of(GIVEN))


@pytest.mark.parametrize("name", LISTS)
def test_json(name: str, theirs: dict[str, list[str]]) -> None:
    """What a program reads from the web service."""
    assert reports_of(GIVEN)[name].as_reference_json() == theirs[name][0]


@pytest.mark.parametrize("name", LISTS)
def test_tables(name: str, theirs: dict[str, list[str]]) -> None:
    """With all columns, and with those that are asked for."""
    report = reports_of(GIVEN)[name]
    assert report.as_table() == theirs[name][1]
    if name != "label-list":
        assert report.as_table(FIELDS) == theirs[name][2]


def test_lists_of_nothing() -> None:
    """Have their headers all the same."""
    theirs = shown_there(NOTHING)
    for name, report in reports_of(NOTHING).items():
        assert report.as_reference_json() == theirs[name][0], name
        assert report.as_table() == theirs[name][1], name

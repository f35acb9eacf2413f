"""What the lists of images show, from values."""

import json

from nodepool_tx.model import ImageBuild, ImageState, ImageUpload
from nodepool_tx.reports.images import (
    ImageStatus,
    dib_image_report,
    image_list_report,
    image_status_report,
)
from nodepool_tx.reports.report import Report

BUILD = ImageBuild(
    id="0000000002",
    image="debian",
    state=ImageState.READY,
    state_time=1000.75,
    builder="nb01",
    formats=("raw", "qcow2"),
)
UPLOAD = ImageUpload(
    id="0000000001",
    image="debian",
    build_id="0000000002",
    provider="cloud",
    state=ImageState.UPLOADING,
    state_time=1000.75,
    external_id="uuid",
    external_name="debian-1000",
)


def headers(report: Report) -> list[str]:
    return [word.strip() for word in report.as_table().splitlines()[1].strip("|").split("|")]


def cells(report: Report, row: int = 0) -> list[str]:
    return [word.strip() for word in report.as_table().splitlines()[3 + row].strip("|").split("|")]


def test_builds() -> None:
    """With Nodepool 11's columns; the time of the last change is an age for people."""
    report = dib_image_report([BUILD], lambda image: False, 1083.75)
    assert headers(report) == ["ID", "Image", "Builder", "Formats", "State", "Age"]
    assert cells(report) == [
        "debian-0000000002",
        "debian",
        "nb01",
        "qcow2,raw",
        "ready",
        "00:00:01:23",
    ]
    assert (report.rows[0]["age"], report.rows[0]["since"]) == (83.0, 1000.75)
    assert report.as_reference_json() == (
        '[{"id": "debian-0000000002", "image": "debian", "builder": "nb01", '
        '"formats": ["qcow2", "raw"], "state": "ready", "age": 1000}]'
    )


def test_builds_of_a_paused_image_are_paused() -> None:
    """Whatever their own state is, as in Nodepool 11's list."""
    report = dib_image_report([BUILD], lambda image: image == "debian", 1083.75)
    assert report.rows[0]["state"] == "paused"


def test_builds_are_listed_by_image_and_number() -> None:
    """Whatever order the table of images has them in."""
    builds = [
        ImageBuild(id=id, image=image, state=ImageState.READY)
        for image, id in (("b", "1"), ("a", "2"), ("a", "1"))
    ]
    rows = dib_image_report(builds, lambda image: False, 0.0).rows
    assert [row["id"] for row in rows] == ["a-1", "a-2", "b-1"]


def test_uploads() -> None:
    """The build's number comes first, as in Nodepool 11."""
    report = image_list_report([UPLOAD], 1083.75)
    assert headers(report) == [
        "Build ID",
        "Upload ID",
        "Provider",
        "Image",
        "Provider Image Name",
        "Provider Image ID",
        "State",
        "Age",
    ]
    assert cells(report)[:4] == ["0000000002", "0000000001", "cloud", "debian"]
    assert report.as_reference_json() == (
        '[{"id": "0000000002", "upload_id": "0000000001", "provider": "cloud", '
        '"image": "debian", "external_name": "debian-1000", "external_id": "uuid", '
        '"state": "uploading", "age": 1000}]'
    )


def test_the_status_of_images() -> None:
    """Nobody's request has no age."""
    report = image_status_report(
        [ImageStatus("fedora", True), ImageStatus("debian", False, "pending", 1000.75)], 1083.75
    )
    assert headers(report) == ["Image", "Paused", "Build Request", "Build Request Age"]
    assert cells(report) == ["debian", "False", "pending", "00:00:01:23"]
    assert cells(report, 1) == ["fedora", "True", "", ""]
    assert json.loads(report.as_reference_json()) == [
        {
            "image": "debian",
            "paused": False,
            "build_request": "pending",
            "build_request_age": 1000,
        },
        {"image": "fedora", "paused": True, "build_request": None, "build_request_age": None},
    ]


def test_fields_choose_the_columns_of_a_table() -> None:
    """In the table's order; names that there are not are passed over."""
    table = image_list_report([UPLOAD], 0.0).as_table(["state", "image", "colour"])
    assert table.splitlines()[1] == "| Image  | State     |"

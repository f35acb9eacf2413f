"""Sections of drivers that other packages bring."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import attrs
import pytest

from nodepool_tx.config import (
    DriverRegistry,
    ProviderConfig,
    ReadContext,
    default_drivers,
)
from nodepool_tx.config.drivers import ENTRY_POINT_GROUP
from nodepool_tx.config.section import Cursor
from nodepool_tx.config.static import StaticSection
from tests.config.parsing import errors_of, parse


@attrs.frozen
class MoonProvider(ProviderConfig):
    crater: str = ""


class MoonSection:
    """What a driver of another package looks like."""

    name = "moon"

    def read(self, place: Cursor, context: ReadContext) -> MoonProvider | None:
        section = place.section("a moon provider", {"name", "driver", "crater", "label"})
        if section is None:
            return None
        label = section.at("label")
        if label is not None:
            context.check_label(label, label.text() or "")
        return MoonProvider(
            name=section.text("name", ""), driver="moon", crater=section.text("crater", "Tycho")
        )


class BrokenSection:
    name = "broken"

    def read(self, place: Cursor, context: ReadContext) -> ProviderConfig | None:
        raise RuntimeError("no fuel")


THIS = "tests.config.test_drivers"
INSTALLED = DriverRegistry(
    [StaticSection(), BrokenSection()],
    {
        "moon": EntryPoint("moon", f"{THIS}:MoonSection", ENTRY_POINT_GROUP),
        "mars": EntryPoint("mars", f"{THIS}:MarsSection", ENTRY_POINT_GROUP),
    },
)


def test_an_installed_driver_reads_its_section() -> None:
    """The class an entry point names is made and reads the provider."""
    config = parse("providers: [{name: m, driver: moon, crater: Copernicus}]", drivers=INSTALLED)
    assert config.providers["m"] == MoonProvider(name="m", driver="moon", crater="Copernicus")


def test_an_installed_driver_reports_like_ours() -> None:
    """Its unknown keys and labels are errors with places, as everybody's."""
    text = "labels: [{name: a}]\nproviders: [{name: m, driver: moon, creater: x, label: b}]"
    assert [(error.column, error.path) for error in errors_of(text, drivers=INSTALLED).errors] == [
        (37, "providers[0].creater"),
        (56, "providers[0].label"),
    ]


@pytest.mark.parametrize(
    ("driver", "column", "words"),
    [
        ("mars", 31, "the driver mars cannot be loaded: AttributeError"),
        ("broken", 13, "the driver broken failed to read this: RuntimeError: no fuel"),
        ("mon", 31, "there is no driver mon (did you mean moon?)"),
    ],
)
def test_a_driver_that_does_not_work(driver: str, column: int, words: str) -> None:
    """Whatever an installed package does wrong is an error of the provider."""
    (error,) = errors_of(f"providers: [{{name: m, driver: {driver}}}]", drivers=INSTALLED).errors
    assert error.column == column
    assert words in str(error)


def test_known_drivers() -> None:
    """Drivers of Nodepool 11 are known; only ours and installed ones are available."""
    registry = default_drivers()
    assert {"static", "openstack", "fake", "metastatic"} <= registry.available
    assert "aws" not in registry.available
    assert {
        "openstack",
        "aws",
        "azure",
        "gce",
        "ibmvpc",
        "kubernetes",
        "openshift",
    } < registry.known
    assert {"openshiftpods", "metastatic", "fake", "test"} < registry.known
    assert INSTALLED.available == {"static", "broken", "moon", "mars"}

"""Finding drivers by name."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from nodepool_tx.providers import (
    BUILT_IN,
    BrokenDriver,
    DriverError,
    DriverRegistry,
    DriverUnavailable,
    UnknownDriver,
)


class ExampleDriver:
    """A driver as a package would bring it."""

    name = "example"

    def read(self, place: object, context: object) -> None:
        raise AssertionError("not asked for")

    def build(self, config: object, context: object) -> str:
        return f"service of {config}"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An installed package that nobody has imported."""
    module = ModuleType("example_driver_package")
    module.Driver = ExampleDriver  # type: ignore[attr-defined]
    module.instance = ExampleDriver()  # type: ignore[attr-defined]
    module.useless = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def registry(value: str, name: str = "example") -> DriverRegistry:
    return DriverRegistry({name: EntryPoint(name, value, "nodepool_tx.drivers")})


def test_the_static_driver_is_built_in() -> None:
    """It needs no entry point, and none can take its place."""
    assert DriverRegistry({}).find("static").name == "static"
    assert registry("no_such_module:x", name="static").find("static").name == "static"


@pytest.mark.parametrize("attribute", ["Driver", "instance"])
def test_an_installed_driver_is_found(package: ModuleType, attribute: str) -> None:
    """A class is called without arguments, an object is taken as it is."""
    drivers = registry(f"{package.__name__}:{attribute}")
    assert drivers.names() == {*BUILT_IN, "example"}
    found = drivers.find("example")
    assert found.name == "example"
    assert found.build("config", "context") == "service of config"  # type: ignore[arg-type]
    assert drivers.find("example") is found


def test_installed_packages_are_looked_up_by_default() -> None:
    """Whatever else is installed, the static driver is there."""
    assert "static" in DriverRegistry().names()


def test_a_driver_of_nodepool_that_is_missing_here() -> None:
    """Not a mistake of the operator, and said so."""
    with pytest.raises(DriverUnavailable, match="aws is not available in this version"):
        DriverRegistry({}).find("aws")


def test_a_name_nobody_knows() -> None:
    """The error offers what was probably meant."""
    with pytest.raises(UnknownDriver, match="no driver statik, did you mean static") as caught:
        DriverRegistry({}).find("statik")
    assert caught.value.driver == "statik"
    with pytest.raises(UnknownDriver, match=rf"no driver zzz \(there is: {', '.join(BUILT_IN)}\)"):
        DriverRegistry({}).find("zzz")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_module:x", "ModuleNotFoundError"),
        ("example_driver_package:missing", "AttributeError"),
        ("example_driver_package:useless", "no build function"),
    ],
)
def test_a_driver_that_cannot_be_used(package: ModuleType, value: str, reason: str) -> None:
    """Whatever the package does wrong becomes one kind of error."""
    with pytest.raises(BrokenDriver, match=reason):
        registry(value).find("example")
    assert issubclass(BrokenDriver, DriverError)

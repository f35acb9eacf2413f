"""Configurations that change, and that cannot be used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import yaml

from proof.chaos.faults.harm import Harm, NothingToStrike, some_of
from proof.chaos.faults.launchers import revive
from proof.chaos.interface import Farm, FarmLauncher

__all__ = ["FAULTS", "WAYS"]

Config = Mapping[str, Any]

#: Seconds in which a launcher that has begun with a file that is no good any more has ended.
_FALSE_START = 3.0


def write_to_all(farm: Farm, config: Config) -> None:
    for launcher in farm.launchers:
        launcher.write(config)


# -- good ones ---------------------------------------------------------------


class Reloaded(Harm):
    """All launchers get the same new configuration."""

    name = "configuration-reloaded"
    weight = 2.0
    lasts = (0.1, 1.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        farm.note("all launchers get another configuration")
        write_to_all(farm, farm.some_configuration(rng))


class Differing(Harm):
    """Each launcher has another configuration, until all have that of the last."""

    name = "configuration-differing"
    weight = 2.0
    lasts = (1.0, 12.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        farm.note("each launcher gets another configuration")
        for launcher in farm.launchers:
            launcher.write(farm.some_configuration(rng))

    async def mend(self, farm: Farm) -> None:
        write_to_all(farm, farm.launchers[-1].configuration)
        farm.note("all launchers have the same configuration")


class ReloadedOften(Differing):
    """One launcher after the other gets another configuration, faster than it can be applied."""

    name = "configuration-reloaded-often"
    weight = 1.0
    lasts = (1.0, 6.0)

    async def harm(self, farm: Farm, rng: Random) -> None:
        farm.note("launchers get one configuration after the other")
        while await self.meanwhile(farm, rng.choice((0.0, 0.02, 0.1, 0.3))):
            launcher = rng.choice(farm.launchers)
            launcher.write(farm.some_configuration(rng))
            # Also where there is nothing to wait for, others want to do something.
            await farm.sleep(0)


class _AnotherSet(Harm):
    """The set of providers changes, and changes back."""

    lasts = (1.0, 12.0)

    def __init__(self) -> None:
        super().__init__()
        self.before: Config | None = None

    def provider(self, farm: Farm, rng: Random) -> tuple[dict[str, Any], dict[str, Any]]:
        """A copy of the configuration, and one of the providers in there."""
        config = copy.deepcopy(dict(farm.launchers[0].configuration))
        return config, some_of(rng, config["providers"], "provider")

    async def mend(self, farm: Farm) -> None:
        if self.before is not None:
            write_to_all(farm, self.before)
            farm.note("the providers are what they were")
        self.before = None


class ProviderRemoved(_AnotherSet):
    """A provider is taken out everywhere, and comes back.

    Only one without which all that is asked for can still be had.
    """

    name = "configuration-provider-removed"

    async def harm(self, farm: Farm, rng: Random) -> None:
        config, _ = self.provider(farm, rng)
        others = [each for each in config["providers"] if dispensable(each, config["providers"])]
        provider = some_of(rng, others, "provider that others could stand in for")
        self.before = farm.launchers[0].configuration
        config["providers"].remove(provider)
        offered = {
            name for each in config["providers"] for pool in each["pools"] for name in offers(pool)
        }
        config["labels"] = [each for each in config["labels"] if each["name"] in offered]
        farm.note(f"provider {provider['name']} is taken out")
        write_to_all(farm, config)


class ProviderRenamed(_AnotherSet):
    """A provider gets another name everywhere, and its own again."""

    name = "configuration-provider-renamed"

    async def harm(self, farm: Farm, rng: Random) -> None:
        config, provider = self.provider(farm, rng)
        self.before = farm.launchers[0].configuration
        name, provider["name"] = provider["name"], f"{provider['name']}-renamed"
        farm.note(f"provider {name} is called {provider['name']}")
        write_to_all(farm, config)


def offers(pool: Config) -> dict[str, float]:
    """How many nodes of each label a pool can have at the same time."""
    room: dict[str, float] = {}
    for machine in pool.get("nodes", ()):
        for label in machine["labels"]:
            room[label] = room.get(label, 0) + machine.get("max-parallel-jobs", 1)
    for label in pool.get("labels", ()):
        room[label["name"]] = pool.get("max-servers", float("inf"))
    return room


def dispensable(provider: Config, providers: Sequence[Config]) -> bool:
    """For each of its pools there is one elsewhere that could serve the same requests."""
    elsewhere = [
        offers(pool) for each in providers if each is not provider for pool in each["pools"]
    ]
    return all(
        any(
            all(other.get(label, 0) >= room for label, room in offers(pool).items())
            for other in elsewhere
        )
        for pool in provider["pools"]
    )


# -- bad ones ----------------------------------------------------------------

#: What is made of a good file: another one, or None for no file.
Way = Callable[[Random, str], bytes | None]


def _syntax(rng: Random, text: str) -> bytes:
    return f"{text}\n  - ]: {{\n".encode()


def _changed(text: str, change: Callable[[dict[str, Any]], None]) -> bytes:
    config = yaml.safe_load(text)
    change(config)
    return yaml.safe_dump(config, sort_keys=False).encode()


def _unknown_key(rng: Random, text: str) -> bytes:
    def change(config: dict[str, Any]) -> None:
        place = rng.choice([config, config["providers"][0], config["providers"][0]["pools"][0]])
        place["max-severs"] = 5

    return _changed(text, change)


def _unknown_label(rng: Random, text: str) -> bytes:
    return _changed(text, lambda config: config["labels"].pop(rng.randrange(len(config["labels"]))))


def _half(rng: Random, text: str) -> bytes:
    """Cut where what is left cannot be read: half of a file may be a good one."""
    for _ in range(100):
        half = text[: rng.randrange(1, len(text))]
        try:
            yaml.safe_load(half)
        except yaml.YAMLError:
            return half.encode()
    return _syntax(rng, text)


def _not_a_configuration(rng: Random, text: str) -> bytes:
    return rng.choice((b"[1, 2, 3]\n", b"labels: 7\nproviders: {}\n", b"just words\n"))


#: How a file is spoilt.
WAYS: Mapping[str, Way] = {
    "syntax": _syntax,
    "unknown-key": _unknown_key,
    "unknown-label": _unknown_label,
    "half": _half,
    "other": _not_a_configuration,
    "empty": lambda rng, text: b"",
    "rubbish": lambda rng, text: rng.randbytes(1000),
    "deleted": lambda rng, text: None,
}


class Spoilt(Harm):
    """A launcher has a file that cannot be used; it goes on with what it had.

    One that starts meanwhile ends at once, and is started again when there is a good file.
    """

    name = "configuration-spoilt"
    weight = 3.0
    lasts = (0.3, 8.0)

    def __init__(self) -> None:
        super().__init__()
        self.struck: list[FarmLauncher] = []

    async def harm(self, farm: Farm, rng: Random) -> None:
        launcher = some_of(rng, farm.launchers, "launcher")
        self.spoil(farm, rng, launcher, rng.choice(list(WAYS)))

    def spoil(self, farm: Farm, rng: Random, launcher: FarmLauncher, way: str) -> None:
        path = launcher.process.config
        try:
            text = path.read_text()
            spoilt = WAYS[way](rng, text)
        except (OSError, ValueError, yaml.YAMLError, TypeError, LookupError):
            raise NothingToStrike("the configuration is spoilt already") from None
        self.struck.append(launcher)
        farm.note(f"the configuration of launcher {launcher.number} is spoilt: {way}")
        if spoilt is None:
            path.unlink()
        else:
            path.write_bytes(spoilt)

    async def mend(self, farm: Farm) -> None:
        if not self.struck:
            return
        for launcher in self.struck:
            launcher.write(launcher.configuration)
            farm.note(f"the configuration of launcher {launcher.number} is good")
        self.struck.clear()
        end = farm.reactor.seconds() + _FALSE_START
        while farm.reactor.seconds() < end:
            revive(farm)
            await farm.sleep(0.2)


class AllSpoilt(Spoilt):
    """No launcher has a file that can be used, each for a reason of its own."""

    name = "configuration-all-spoilt"
    weight = 1.0

    async def harm(self, farm: Farm, rng: Random) -> None:
        for launcher in farm.launchers:
            self.spoil(farm, rng, launcher, rng.choice(list(WAYS)))


FAULTS: tuple[type[Harm], ...] = (
    Reloaded,
    Differing,
    ReloadedOften,
    ProviderRemoved,
    ProviderRenamed,
    Spoilt,
    AllSpoilt,
)

"""The configuration: from YAML files to values that never change."""

from nodepool_tx.config.drivers import DriverRegistry, DriverSection, ReadContext
from nodepool_tx.config.errors import ConfigError, ConfigErrors, ConfigWarning
from nodepool_tx.config.frozen import Frozen, FrozenMapping, thaw
from nodepool_tx.config.load import default_drivers, load_config, parse_sources
from nodepool_tx.config.schema import (
    DEFAULT_PRIORITY,
    Config,
    DiskImage,
    Label,
    PoolConfig,
    ProviderConfig,
    Server,
    StaticNode,
    StaticPool,
    StaticProvider,
    UnavailableProvider,
    Webapp,
    ZookeeperTls,
)
from nodepool_tx.config.source import Sources, read_sources
from nodepool_tx.config.validate import validate_files
from nodepool_tx.config.watch import ConfigWatcher

__all__ = [
    "DEFAULT_PRIORITY",
    "Config",
    "ConfigError",
    "ConfigErrors",
    "ConfigWarning",
    "ConfigWatcher",
    "DiskImage",
    "DriverRegistry",
    "DriverSection",
    "Frozen",
    "FrozenMapping",
    "Label",
    "PoolConfig",
    "ProviderConfig",
    "ReadContext",
    "Server",
    "Sources",
    "StaticNode",
    "StaticPool",
    "StaticProvider",
    "UnavailableProvider",
    "Webapp",
    "ZookeeperTls",
    "default_drivers",
    "load_config",
    "parse_sources",
    "read_sources",
    "thaw",
    "validate_files",
]

"""The one configuration of an appliance: TOML, typed, every key documented in `sections`.

The default file that ``scanside config init`` writes is made from the descriptions there,
so a key cannot be documented in one place and read in another.
"""

from edge.config.default_file import default_toml
from edge.config.dicom import Dicom
from edge.config.folder import Folder
from edge.config.kinds import ConfigError
from edge.config.reading import load_config
from edge.config.results import Results
from edge.config.sections import (
    Alerts,
    Analysis,
    Broker,
    Config,
    Console,
    Device,
    Log,
    Oidc,
    Storage,
)
from edge.config.web import Web

__all__ = [
    "Alerts",
    "Analysis",
    "Broker",
    "Config",
    "ConfigError",
    "Console",
    "Device",
    "Dicom",
    "Folder",
    "Log",
    "Oidc",
    "Results",
    "Storage",
    "Web",
    "default_toml",
    "load_config",
]

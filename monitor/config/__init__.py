"""The configuration: one strict YAML file, overridden by the environment, as frozen values.

`load` is the way in. It reads that one file and the mapping it is given, makes no folder and opens no port. Lengths of time are
milliseconds, sizes are bytes, paths are absolute.
"""

from monitor.config.loading import load
from monitor.config.models import LabelSettings, Model
from monitor.config.objectives import Objective, Window
from monitor.config.settings import ClockKind, Settings

__all__ = ["ClockKind", "LabelSettings", "Model", "Objective", "Settings", "Window", "load"]

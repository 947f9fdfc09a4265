"""Creates plugin packages that can be installed and pass their own tests without any change."""

from auxar.scaffold.names import PluginNames, check_free, plugin_names
from auxar.scaffold.writing import KINDS, NewPlugin, plugin_files, write_plugin

__all__ = ["KINDS", "NewPlugin", "PluginNames", "check_free", "plugin_files", "plugin_names", "write_plugin"]

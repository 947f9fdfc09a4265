"""Creates plugin packages that can be installed and pass their own tests without any change."""

from auxar.scaffold.writing import KINDS as KINDS
from auxar.scaffold.writing import NewPlugin as NewPlugin
from auxar.scaffold.writing import write_plugin as write_plugin

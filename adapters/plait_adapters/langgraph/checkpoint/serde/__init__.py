"""How what is in a checkpoint becomes bytes: see :mod:`.jsonplus`, :mod:`.encrypted`."""

from plait_adapters.langgraph._support import missing

__getattr__ = missing(__name__)

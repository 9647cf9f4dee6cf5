"""The brief that comes with Plait, and the measurements that it analyses."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BUNDLED_BRIEF"]

BUNDLED_BRIEF = Path(__file__).parent / "async_python.toml"
"""What `plait orchestrate` carries out when it is given no brief."""

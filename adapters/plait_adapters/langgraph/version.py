"""The version of LangGraph whose public face this package has."""

__all__ = ("__version__",)

__version__ = "1.2.22"

"""The words of a question that are worth searching for: those that agents use."""

from plait.agents.terms import STOP_WORDS, terms

__all__ = ["STOP_WORDS", "terms"]

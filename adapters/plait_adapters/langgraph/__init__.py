"""LangGraph's public modules, name for name, on a lock-step machine of Plait's.

A program moves over by changing its imports: ``langgraph.graph`` becomes
``plait_adapters.langgraph.graph``, ``langgraph.types`` becomes ``plait_adapters.langgraph.types``,
and so on. The distribution ``langgraph`` is not needed. What works, and what does not, is in the
table in ``SUPPORT.md``.
"""

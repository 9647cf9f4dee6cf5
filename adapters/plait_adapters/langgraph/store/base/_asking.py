"""From the methods of a store to operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ._records import (
    GetOp,
    ListNamespacesOp,
    MatchCondition,
    NamespacePath,
    NotProvided,
    PutOp,
    SearchOp,
    TTLConfig,
    check_labels,
    check_namespace,
)

__all__ = ["Asking"]


class Asking:
    """Makes the operation for each method of a store, and checks its namespace."""

    __slots__ = ()

    supports_ttl: bool = False
    ttl_config: TTLConfig | None = None

    def _to_get(self, namespace: tuple[str, ...], key: str, refresh_ttl: bool | None) -> GetOp:
        check_labels(namespace)
        return GetOp(namespace, str(key), self._refreshes(refresh_ttl))

    def _to_search(
        self,
        namespace_prefix: tuple[str, ...],
        query: str | None,
        wanted: dict[str, Any] | None,
        limit: int,
        offset: int,
        refresh_ttl: bool | None,
    ) -> SearchOp:
        check_labels(namespace_prefix)
        refreshes = self._refreshes(refresh_ttl)
        return SearchOp(namespace_prefix, wanted, limit, offset, query, refreshes)

    def _to_put(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: Mapping[str, Any],
        index: Literal[False] | list[str] | None,
        ttl: float | NotProvided | None,
    ) -> PutOp:
        check_namespace(namespace)
        if isinstance(ttl, NotProvided):
            ttl = (self.ttl_config or {}).get("default_ttl")
        elif ttl is not None and not self.supports_ttl:
            raise NotImplementedError(
                f"TTL is not supported by {type(self).__name__}: leave ttl out, or take a store "
                "that has it, such as PostgresStore"
            )
        return PutOp(namespace, str(key), value, index, ttl)

    def _to_delete(self, namespace: tuple[str, ...], key: str) -> PutOp:
        check_labels(namespace)
        return PutOp(namespace, str(key), None)

    def _to_list(
        self,
        prefix: NamespacePath | None,
        suffix: NamespacePath | None,
        max_depth: int | None,
        limit: int,
        offset: int,
    ) -> ListNamespacesOp:
        conditions = []
        if prefix:
            check_labels(prefix)
            conditions.append(MatchCondition("prefix", prefix))
        if suffix:
            check_labels(suffix)
            conditions.append(MatchCondition("suffix", suffix))
        return ListNamespacesOp(tuple(conditions), max_depth, limit, offset)

    def _refreshes(self, refresh_ttl: bool | None) -> bool:
        if refresh_ttl is not None:
            return refresh_ttl
        return (self.ttl_config or {}).get("refresh_on_read", True)

"""From values to texts, and from texts to vectors."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import anyio.to_thread

from plait_adapters.langgraph._support import missing

__all__ = [
    "AEmbeddingsFunc",
    "Embedder",
    "EmbeddingsFunc",
    "EmbeddingsLambda",
    "ensure_embeddings",
    "get_text_at_path",
    "tokenize_path",
]

Vector: TypeAlias = list[float]
EmbeddingsFunc: TypeAlias = Callable[[Sequence[str]], list[Vector]]
AEmbeddingsFunc: TypeAlias = Callable[[Sequence[str]], Awaitable[list[Vector]]]


@runtime_checkable
class Embedder(Protocol):
    """Makes vectors of texts; langchain-core's ``Embeddings`` do."""

    def embed_documents(self, texts: list[str]) -> list[Vector]:
        """A vector for each text."""
        ...

    def embed_query(self, text: str) -> Vector:
        """The vector of a text that is looked for."""
        ...

    async def aembed_documents(self, texts: list[str]) -> list[Vector]:
        """As ``embed_documents``."""
        ...

    async def aembed_query(self, text: str) -> Vector:
        """As ``embed_query``."""
        ...


def ensure_embeddings(embed: Any) -> Embedder:
    """What makes vectors, from all that may be given as it.

    Args:
        embed: an object with the methods of langchain-core's ``Embeddings``; a function from a list
            of texts to a list of vectors, synchronous or not; or a name such as
            ``"openai:text-embedding-3-small"``, for which langchain has to be installed.

    Raises:
        ValueError: it is ``None``, or a name while langchain is not there.
    """
    if embed is None:
        raise ValueError("embed must be provided: a function, an Embeddings object, or a name")
    if isinstance(embed, str):
        try:
            from langchain.embeddings import init_embeddings  # type: ignore[import-not-found]
        except ImportError as error:
            raise ValueError(
                f"embed={embed!r} is the name of a model, and langchain, which would load it, is "
                "not installed: pip install langchain, or give an Embeddings object or a function"
            ) from error
        found: Embedder = init_embeddings(embed)
        return found
    return embed if isinstance(embed, Embedder) else EmbeddingsLambda(embed)


class EmbeddingsLambda:
    """A function as an embedder.

    Args:
        func: from a list of texts to a list of vectors; synchronous or not.
    """

    def __init__(self, func: EmbeddingsFunc | AEmbeddingsFunc) -> None:
        if not callable(func):
            raise ValueError(  # noqa: TRY004 - LangGraph's type
                f"embed={func!r} must be a function, an Embeddings object, or a name"
            )
        self._func: Any = func
        self._is_async = inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(
            getattr(func, "__call__", None)  # noqa: B004 - of a callable object
        )

    def embed_documents(self, texts: list[str]) -> list[Vector]:
        """A vector for each text. Raises ``ValueError`` if the function is asynchronous."""
        if self._is_async:
            raise ValueError(
                "the store was given an asynchronous function to embed with: call its asynchronous "
                "methods, or give it a synchronous one"
            )
        vectors: list[Vector] = self._func(texts)
        return vectors

    def embed_query(self, text: str) -> Vector:
        """The vector of a text."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[Vector]:
        """A vector for each text; a synchronous function runs in a worker thread."""
        if self._is_async:
            vectors: list[Vector] = await self._func(texts)
            return vectors
        return await anyio.to_thread.run_sync(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> Vector:
        """The vector of a text."""
        return (await self.aembed_documents([text]))[0]


# -- texts in values -----------------------------------------------------------------------------


def get_text_at_path(obj: Any, path: str | list[str]) -> list[str]:
    """The texts that are at a path in a value.

    Args:
        obj: the value.
        path: ``"$"`` or empty: the whole, as JSON. Else steps with periods between them:
            a key; ``[0]``, ``[-1]``: an item; ``[*]``: each item; ``*``: each value or item;
            ``{a,b}``: several keys, each of which may be a path.
    """
    if isinstance(obj, Mapping) and not isinstance(obj, dict):
        obj = dict(obj)
    if not path or path == "$":
        return [_json(obj)]
    tokens = tokenize_path(path) if isinstance(path, str) else path
    return [text for found in _found(obj, tokens) for text in _texts(found)]


def tokenize_path(path: str) -> list[str]:
    """The steps of a path: ``"a.b[0].{c,d}"`` has ``a``, ``b``, ``[0]`` and ``{c,d}``."""
    tokens: list[str] = []
    rest = path
    while rest:
        first = rest[0]
        if first == ".":
            rest = rest[1:]
        elif first in _CLOSING:
            end = _end_of(rest, first, _CLOSING[first])
            tokens.append(rest[:end])
            rest = rest[end:]
        else:
            end = min((rest.find(mark) for mark in ".[{" if mark in rest), default=len(rest))
            tokens.append(rest[:end])
            rest = rest[end:]
    return tokens


_CLOSING = {"[": "]", "{": "}"}


def _end_of(text: str, opening: str, closing: str) -> int:
    """Where the bracket that a text begins with is closed."""
    depth = 0
    for place, mark in enumerate(text):
        depth += (mark == opening) - (mark == closing)
        if depth == 0:
            return place + 1
    return len(text)


def _found(obj: Any, tokens: Sequence[str]) -> Iterator[Any]:
    """What is at the end of a path."""
    if not tokens:
        yield obj
        return
    token, rest = tokens[0], tokens[1:]
    for item in _steps(obj, token):
        yield from _found(item, rest)


def _steps(obj: Any, token: str) -> Iterator[Any]:
    """What one step leads to."""
    if token.startswith("[") and token.endswith("]"):
        if isinstance(obj, list):
            yield from obj if token == "[*]" else _item(obj, token[1:-1])
    elif token.startswith("{") and token.endswith("}"):
        if isinstance(obj, dict):
            for field in token[1:-1].split(","):
                steps = tokenize_path(field.strip())
                if steps:
                    yield from _found(obj, steps)
    elif token == "*":
        yield from obj.values() if isinstance(obj, dict) else obj if isinstance(obj, list) else ()
    elif isinstance(obj, dict) and token in obj:
        yield obj[token]


def _item(obj: list[Any], index: str) -> Sequence[Any]:
    try:
        return (obj[int(index)],)
    except (ValueError, IndexError):
        return ()


def _texts(found: Any) -> list[str]:
    if isinstance(found, (str, int, float)):
        return [str(found)]
    return [_json(found)] if isinstance(found, (list, dict)) else []


def _json(obj: Any) -> str:
    return json.dumps(obj, sort_keys=True, ensure_ascii=False)


if not TYPE_CHECKING:  # or a type checker would take every name for one that is here
    __getattr__ = missing(__name__)

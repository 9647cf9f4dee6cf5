"""What can go wrong with stored values, and what a stored exception comes back as."""

from __future__ import annotations

from plait.errors import CodecError, PlaitError

__all__ = [
    "CodecError",
    "DecodingError",
    "EncodingError",
    "RecordedError",
    "RegistrationError",
    "ValueTooLarge",
]


class RegistrationError(CodecError):
    """A type cannot be registered as asked.

    Attributes:
        type: the qualified name of the type.
    """

    def __init__(self, type_: type, problem: str) -> None:
        self.type: str = name_of(type_)
        super().__init__(f"{self.type} cannot be registered: {problem}")


class EncodingError(CodecError):
    """A value cannot be stored exactly, so it is not stored at all.

    Attributes:
        node: the node that wrote it; ``None`` where no node did.
        channel: the channel it was written to; ``None`` where it was none.
        path: where in the value the fault is, such as ``[3].meta['x']``; empty for the whole.
        type: the qualified name of the type found there.
        problem: what is wrong with it, and the way out.
    """

    def __init__(
        self, node: str | None, channel: str | None, path: str, type_: str, problem: str
    ) -> None:
        self.node = node
        self.channel = channel
        self.path = path
        self.type = type_
        self.problem = problem
        who = f"node {node!r} wrote" if node is not None else "found"
        where = f"{channel or 'value'}{path}"
        super().__init__(f"{who} {where} of type {type_}, which cannot be stored: {problem}")


class ValueTooLarge(EncodingError):
    """One value takes more bytes than a value may.

    Attributes:
        limit: how many bytes it may take.
    """

    def __init__(
        self, node: str | None, channel: str | None, path: str, type_: str, size: str, limit: int
    ) -> None:
        self.limit = limit
        super().__init__(
            node,
            channel,
            path,
            type_,
            f"it takes {size}, and a value may take {limit:,}: store a reference to it (a path, a "
            "key, a URL), or raise the limit",
        )


class DecodingError(CodecError):
    """Stored bytes are not what the codec wrote, or name what it does not know.

    Attributes:
        problem: what is wrong with them.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the record cannot be read: {problem}")


class RecordedError(PlaitError):
    """An exception as its facts, read back from a journal; its class is not looked for.

    ``__cause__``, ``__context__`` and ``__notes__`` are there as they were, as facts in turn.

    Attributes:
        type: the qualified name of the exception's class, such as ``ValueError`` or
            ``httpx.ReadTimeout``.
        message: what ``str`` gave of it.
        members: the exceptions of an exception group; empty for any other.
    """

    def __init__(
        self, type_: str, message: str = "", members: tuple[BaseException, ...] = ()
    ) -> None:
        self.type = type_
        self.message = message
        self.members = members
        super().__init__(type_, message, members)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


def name_of(type_: type) -> str:
    """The qualified name of a type, as people read it: ``int``, ``decimal.Decimal``."""
    module = type_.__module__
    return type_.__qualname__ if module == "builtins" else f"{module}.{type_.__qualname__}"


class Refused(Exception):
    """Carries a fault up through the value, and collects the way to it from the inside out."""

    def __init__(self, culprit: object, problem: str, *, too_large: bool = False) -> None:
        self.type: str = name_of(type(culprit))
        self.problem = problem
        self.too_large = too_large
        self.channel: str | None = None
        self.steps: list[str] = []

    def at(self, step: str) -> None:
        """Add the step that leads to where the fault is, seen from one level further out."""
        self.steps.append(step)

    @property
    def path(self) -> str:
        """The way from the outside to the fault; a very long one is cut in its middle."""
        steps = self.steps[::-1]
        if len(steps) > 12:
            steps = [*steps[:8], "…", *steps[-3:]]
        return "".join(steps)

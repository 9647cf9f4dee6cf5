"""What can go wrong between an agent and a language model.

::

    PlaitError
    └── AgentError
        ├── ModelError
        │   ├── ModelRefusedError      the endpoint will not answer this request: change it
        │   ├── ModelUnavailableError  no answer at this time: it may be asked again
        │   │   └── ModelTimeoutError  none within the time
        │   ├── ModelProtocolError     what came back is not what the protocol says
        │   ├── ModelAnswerError       an answer came, and is not what was asked for
        │   └── LocalModelError        the model on this machine cannot be served
        └── AgentOverloadedError
            └── ModelBusyError         asked to come back later (HTTP 429), and when
"""

from __future__ import annotations

from collections.abc import Sequence

from plait.agents import AgentError, AgentOverloadedError

__all__ = [
    "LocalModelError",
    "ModelAnswerError",
    "ModelBusyError",
    "ModelError",
    "ModelProtocolError",
    "ModelRefusedError",
    "ModelTimeoutError",
    "ModelUnavailableError",
]


class ModelError(AgentError):
    """The root of what goes wrong with a language model.

    Attributes:
        endpoint: the address that was asked, without credentials.
    """

    def __init__(self, endpoint: str, problem: str) -> None:
        self.endpoint = endpoint
        super().__init__(f"{endpoint}: {problem}")


class ModelRefusedError(ModelError):
    """The endpoint will not answer this request, however often it is asked.

    Attributes:
        status: the HTTP status, such as 401 for a key that is not known; 200 if it is the model
            that refuses; ``None`` if the request was not made.
    """

    def __init__(self, endpoint: str, status: int | None, problem: str) -> None:
        self.status = status
        super().__init__(endpoint, problem)


class ModelUnavailableError(ModelError):
    """The endpoint cannot be reached, broke off, or reports a fault of its own.

    Attributes:
        status: the HTTP status, if there was one.
        reached: whether the request may have come to it.
    """

    def __init__(
        self, endpoint: str, problem: str, status: int | None = None, *, reached: bool = True
    ) -> None:
        self.status = status
        self.reached = reached
        super().__init__(endpoint, problem)


class ModelTimeoutError(ModelUnavailableError):
    """There was no whole answer within the time.

    Attributes:
        seconds: the time that was given.
    """

    def __init__(self, endpoint: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(endpoint, f"no answer within {seconds:g} s: ask for less, or allow more")


class ModelProtocolError(ModelError):
    """What came back is not what the protocol says: no JSON, no answer in it, or cut off."""


class ModelAnswerError(ModelError):
    """An answer came, and is not what was asked for, also after a second request that said why.

    Attributes:
        text: the last answer, as it came.
        faults: what is wrong with it, a sentence each.
        rounds: how many answers were asked for.
    """

    def __init__(self, endpoint: str, text: str, faults: Sequence[str], rounds: int) -> None:
        self.text = text
        self.faults: tuple[str, ...] = tuple(faults)
        self.rounds = rounds
        times = "once" if rounds == 1 else f"{rounds} times"
        super().__init__(
            endpoint,
            f"the model was asked {times}, and its answer is not what was asked for: "
            f"{'; '.join(self.faults)}",
        )


class ModelBusyError(AgentOverloadedError):
    """The endpoint asks to come back later: HTTP 429, or 503 with ``Retry-After``.

    Attributes:
        endpoint: the address that was asked, without credentials.
        status: the HTTP status.
        retry_after: seconds to wait; ``None`` if it did not say.
    """

    def __init__(
        self, endpoint: str, status: int, problem: str, retry_after: float | None = None
    ) -> None:
        self.endpoint = endpoint
        self.status = status
        super().__init__(f"{endpoint}: {problem}", retry_after)


class LocalModelError(ModelError):
    """The model on this machine cannot be served; the message says what to install."""

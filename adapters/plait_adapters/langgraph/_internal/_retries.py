"""Which failures are worth another attempt."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait_adapters.langgraph.types import RetryPolicy

_FAULTS_OF_THE_PROGRAM = (
    ValueError,
    TypeError,
    ArithmeticError,
    ImportError,
    LookupError,
    NameError,
    SyntaxError,
    RuntimeError,
    ReferenceError,
    StopIteration,
    StopAsyncIteration,
    OSError,
)


def default_retry_on(error: Any) -> bool:
    """Whether a failure may be a matter of luck.

    Connections that fail and servers that answer with a status from 500 to 599 may be; what a
    program does wrong is not. The rest may be.
    """
    if isinstance(error, ConnectionError):
        return True
    httpx: Any = sys.modules.get("httpx")
    if httpx is not None and isinstance(error, httpx.HTTPStatusError):
        return bool(500 <= error.response.status_code < 600)
    requests: Any = sys.modules.get("requests")
    if requests is not None and isinstance(error, requests.HTTPError):
        # A real response with a bad status is false, so this repeats after all of those.
        return bool(500 <= error.response.status_code < 600) if error.response else True
    return not isinstance(error, _FAULTS_OF_THE_PROGRAM)


def policy_for(policies: Sequence[RetryPolicy], error: Exception) -> RetryPolicy | None:
    """The first policy that repeats after an error.

    Raises:
        TypeError: a policy's ``retry_on`` is none of what it may be.
    """
    for policy in policies:
        when: Any = policy.retry_on
        if isinstance(when, Sequence):
            if isinstance(error, tuple(when)):
                return policy
        elif isinstance(when, type) and issubclass(when, Exception):
            if isinstance(error, when):
                return policy
        elif callable(when):
            if when(error):
                return policy
        else:
            raise TypeError(
                "retry_on must be an Exception class, a list or tuple of Exception classes, or "
                "a callable"
            )
    return None


def delay(policy: RetryPolicy, failures: int) -> float:
    """Seconds to wait after so many failures."""
    wait = min(
        policy.max_interval, policy.initial_interval * policy.backoff_factor ** (failures - 1)
    )
    return wait + random.uniform(0, 1) if policy.jitter else wait

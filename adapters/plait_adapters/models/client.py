"""One request to a language model, through the client of OpenAI: the one module that imports it.

The client sees to connections and to the protocol. It never repeats a request: whether to try
again, and when, is for those to decide who know what is reserved for it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar

import anyio
import httpx2
import openai
from pydantic import BaseModel, Field, ValidationError

from plait.errors import shorten
from plait_adapters.models.accounting import Usage, estimate_tokens
from plait_adapters.models.endpoint import Endpoint
from plait_adapters.models.errors import (
    ModelBusyError,
    ModelProtocolError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from plait_adapters.models.retry_after import seconds_to_wait
from plait_adapters.models.sse import Events

__all__ = ["Completion", "Message", "ModelClient", "Request", "Told"]

Told = Callable[[str], Awaitable[None]]
"""Is called with each piece of an answer as it comes."""

_CONNECT_SECONDS = 10.0
_LAST_BYTES_SECONDS = 1.0
"""How long the bytes after the end of a stream are waited for; then its connection can be used
again."""
_DONE = "[DONE]"
_BUSY = 429
_UNAVAILABLE = 503
_TIMEOUT = 408
_CONFLICT = 409


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    """Who speaks."""
    content: str
    """What is said."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a model is asked."""

    messages: tuple[Message, ...]
    """The conversation; the model writes the next turn."""
    max_tokens: int
    """The most tokens to write."""
    temperature: float = 0.0
    """How much chance there is in the answer; 0 for as little as possible."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema of the answer; free text without one."""
    schema_name: str = "answer"
    """What the schema is called: letters, digits, ``_`` and ``-``."""

    def estimate(self) -> Usage:
        """What it takes at most, as far as that can be known before."""
        texts = [message.content for message in self.messages]
        if self.schema is not None:
            texts.append(json.dumps(self.schema))
        return Usage(1, estimate_tokens(texts), self.max_tokens, estimated=True)


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered."""

    text: str
    """The answer."""
    usage: Usage
    """What it took."""
    finished: str
    """Why it ends there: ``stop`` if the model was done, ``length`` at the limit of tokens."""


class ModelClient:
    """Asks one endpoint, over connections that are kept open.

    ``async with ModelClient(endpoint) as client:``, or ``close()`` it. Requests may be made at the
    same time.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._model = endpoint.model
        key = endpoint.key.get_secret_value() if endpoint.key is not None else None
        # What is not said of this endpoint is not sent to it: the environment may hold somebody
        # else's key and organization. The client insists on a key, even where none is sent.
        unsaid = ["OpenAI-Organization", "OpenAI-Project"] + ["Authorization"] * (key is None)
        self._headers: dict[str, Any] = dict.fromkeys(unsaid, openai.Omit())
        self._openai = openai.AsyncOpenAI(
            base_url=endpoint.url,
            api_key=key or "none",
            max_retries=0,
            timeout=openai.Timeout(
                endpoint.timeout_seconds, connect=min(_CONNECT_SECONDS, endpoint.timeout_seconds)
            ),
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not endpoint.is_local),
        )

    async def complete(self, request: Request, told: Told | None = None) -> Completion:
        """Ask once. Cancelling it closes the connection, upon which servers stop writing.

        Args:
            request: what to ask.
            told: if given, the answer is streamed, and this is called with each piece.

        Raises:
            ModelBusyError: it asks to come back later.
            ModelRefusedError: it will not answer this request.
            ModelUnavailableError: it cannot be reached, broke off, or reports a fault.
            ModelTimeoutError: not within ``endpoint.timeout_seconds``.
            ModelProtocolError: what came back is no answer.
        """
        async with self._bounded():
            arguments = await self._arguments(request)
            if told is None:
                return await self._whole(request, arguments)
            return await self._streamed(request, arguments, told)

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.close()

    async def model(self) -> str:
        """What the endpoint calls the model: as `Endpoint.model` says, or the only one it lists.

        Raises:
            ModelRefusedError: it lists none or several, so that it must be said which.
            ModelUnavailableError, ModelProtocolError: it could not be asked.
        """
        if self._model is None:
            async with self._bounded():
                self._model = await self._only_model()
        return self._model

    @property
    def name(self) -> str | None:
        """What the endpoint calls the model, as far as it is known yet."""
        return self._model

    async def _only_model(self) -> str:
        with self._translated():
            answer = await self._openai.models.list(extra_headers=self._headers)
        listed = self._read(_Models, answer)
        names = [each.id for each in listed.data]
        if len(names) != 1:
            shown = ", ".join(names[:10]) or "none"
            raise ModelRefusedError(
                self.endpoint.url, None, f"it must be said which model is meant; there are {shown}"
            )
        return names[0]

    async def _arguments(self, request: Request) -> dict[str, Any]:
        if self._model is None:
            self._model = await self._only_model()
        arguments: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": each.role, "content": each.content} for each in request.messages],
            "temperature": request.temperature,
            self.endpoint.limit_field: request.max_tokens,
            "extra_headers": self._headers,
        }
        if request.schema is not None and self.endpoint.structure == "schema":
            named = {"name": request.schema_name, "schema": request.schema, "strict": True}
            arguments["response_format"] = {"type": "json_schema", "json_schema": named}
        elif request.schema is not None and self.endpoint.structure == "object":
            arguments["response_format"] = {"type": "json_object"}
        return arguments

    async def _whole(self, request: Request, arguments: dict[str, Any]) -> Completion:
        with self._translated():
            answer = await self._openai.chat.completions.create(**arguments)
        read = self._read(_Answer, answer)
        if not read.choices:
            raise ModelProtocolError(self.endpoint.url, "the answer holds no choice")
        choice = read.choices[0]
        finished = choice.finish_reason or "stop"
        text = choice.message.content
        if not text:
            self._refuse_empty(choice.message.refusal, finished)
        return Completion(text, _usage_of(read.usage, request, text), finished)

    async def _streamed(
        self, request: Request, arguments: dict[str, Any], told: Told
    ) -> Completion:
        pieces: list[str] = []
        refusals: list[str] = []
        usage: _Usage | None = None
        finished: str | None = None
        async with self._events(arguments) as events:
            async for data in events:
                part = self._piece(data)
                usage = part.usage or usage
                for choice in part.choices[:1]:
                    finished = choice.finish_reason or finished
                    refusals += [choice.delta.refusal] if choice.delta.refusal else []
                    if choice.delta.content:
                        pieces.append(choice.delta.content)
                        await told(choice.delta.content)
        if finished is None:
            raise ModelProtocolError(
                self.endpoint.url, f"the stream ended in the middle, after {len(pieces)} pieces"
            )
        if not pieces:
            self._refuse_empty("".join(refusals) or None, finished)
        text = "".join(pieces)
        return Completion(text, _usage_of(usage, request, text), finished)

    @asynccontextmanager
    async def _events(self, arguments: dict[str, Any]) -> AsyncIterator[Events]:
        """The events of a stream up to its end, whose connection is closed when the block is left.

        The client's own reader of streams is not used: it leaves generators behind that are closed
        by nobody, and takes a stream that stops without its last line for whole.
        """
        with self._translated():
            async with self._openai.chat.completions.with_streaming_response.create(
                stream=True, stream_options={"include_usage": True}, **arguments
            ) as response:
                if "text/event-stream" not in response.headers.get("content-type", ""):
                    body = _cut(await response.text())
                    raise ModelProtocolError(self.endpoint.url, f"no stream came back: {body}")
                events = Events(response.iter_lines(), _DONE)
                try:
                    yield events
                finally:
                    await events.close(_LAST_BYTES_SECONDS if events.over else 0)

    def _piece(self, data: str) -> _Chunk:
        """One event of a stream."""
        try:
            found = json.loads(data)
            if isinstance(found, dict) and found.get("error"):
                error = found["error"]
                said = error.get("message") if isinstance(error, dict) else error
                raise ModelUnavailableError(self.endpoint.url, f"it broke off: {_cut(str(said))}")
            return _Chunk.model_validate(found)
        except ValueError as error:
            problem = "; ".join(str(error).splitlines()[:4])
            raise ModelProtocolError(self.endpoint.url, f"no answer in it: {problem}") from error

    def _refuse_empty(self, refusal: str | None, finished: str) -> NoReturn:
        if refusal is not None:
            raise ModelRefusedError(self.endpoint.url, 200, f"the model refuses: {_cut(refusal)}")
        raise ModelProtocolError(self.endpoint.url, f"the answer is empty ({finished})")

    def _read(self, kind: type[_ReadT], answer: object) -> _ReadT:
        """What is needed of an answer. The client checks nothing of what a server sends, and gives
        the text where that is not said to be JSON."""
        try:
            if not isinstance(answer, openai.BaseModel):
                raise TypeError(f"got {shorten(answer)}")
            return kind.model_validate(answer.to_dict(warnings=False))
        except (ValidationError, TypeError) as error:
            problem = "; ".join(str(error).splitlines()[:4])
            raise ModelProtocolError(self.endpoint.url, f"no answer in it: {problem}") from error

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        seconds = self.endpoint.timeout_seconds
        with anyio.move_on_after(seconds) as scope:
            yield
        if scope.cancelled_caught:
            raise ModelTimeoutError(self.endpoint.url, seconds)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of the client as those of this package."""
        url = self.endpoint.url
        try:
            yield
        except openai.APIStatusError as error:
            raise self._status(error) from error
        except (openai.APITimeoutError, httpx2.TimeoutException) as error:
            # Its own clock is set to the same time, and may be first.
            raise ModelTimeoutError(url, self.endpoint.timeout_seconds) from error
        except (openai.APIConnectionError, httpx2.RequestError) as error:
            why = error.__cause__ or error
            problem = f"the connection failed: {type(why).__name__}: {why}"
            reached = not isinstance(why, httpx2.ConnectError)
            raise ModelUnavailableError(url, problem, reached=reached) from error
        except ValueError as error:  # what should be JSON is not
            raise ModelProtocolError(url, f"no JSON: {error}") from error

    def _status(self, error: openai.APIStatusError) -> Exception:
        url, status = self.endpoint.url, error.status_code
        problem = f"HTTP {status}: {_message_of(error)}"
        wait = seconds_to_wait(error.response.headers, datetime.now(UTC))
        if status == _BUSY and error.code == "insufficient_quota":
            return ModelRefusedError(url, status, problem)
        if status == _BUSY or (status == _UNAVAILABLE and wait is not None):
            if wait is not None and wait > self.endpoint.longest_wait:
                later = f"{problem}; it asks to wait {wait:g} s, and longest_wait is "
                return ModelRefusedError(url, status, f"{later}{self.endpoint.longest_wait:g} s")
            return ModelBusyError(url, status, problem, wait)
        if status >= 500 or status in (_TIMEOUT, _CONFLICT):
            return ModelUnavailableError(url, problem, status)
        return ModelRefusedError(url, status, problem)


def _message_of(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return _cut(body["message"])
    return _cut(error.response.text) or error.response.reason_phrase


def _cut(text: str) -> str:
    """What somebody else wrote, for a message of one line."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:299]}…"


# -- what is read of an answer; servers send more, and differ in it --------------------------------


class _Usage(BaseModel):
    prompt_tokens: Annotated[int, Field(ge=0)]
    completion_tokens: Annotated[int, Field(ge=0)] = 0


class _Spoken(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Spoken
    finish_reason: str | None = None


class _Answer(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Part(BaseModel):
    delta: _Spoken = _Spoken()
    finish_reason: str | None = None


class _Chunk(BaseModel):
    choices: list[_Part] = []
    usage: _Usage | None = None


class _Listed(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Listed]


_ReadT = TypeVar("_ReadT", bound=BaseModel)


def _usage_of(said: _Usage | None, request: Request, text: str) -> Usage:
    if said is not None:
        return Usage(1, said.prompt_tokens, said.completion_tokens)
    return Usage(1, request.estimate().read, estimate_tokens([text]), estimated=True)

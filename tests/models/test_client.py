"""Requests to a language model over a real connection, and every way in which they can fail."""

from collections.abc import Mapping

import anyio
import pytest
from pydantic import SecretStr

from plait_adapters.models.client import Completion, Message, ModelClient, Request
from plait_adapters.models.endpoint import Endpoint
from plait_adapters.models.errors import (
    ModelBusyError,
    ModelProtocolError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from tests.models.server import Break, Busy, Fail, Hang, Reply, Say, Send, model_server

QUESTION = Request((Message("user", "What is a fork?"),), max_tokens=50)
both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


async def ask(endpoint: Endpoint, request: Request = QUESTION, *, streamed: bool) -> Completion:
    async with ModelClient(endpoint) as client:
        return await client.complete(request, _ignore if streamed else None)


async def ask_one_that(*replies: Reply, streamed: bool = False, seconds: float = 5) -> Completion:
    async with model_server(*replies) as server:
        endpoint = Endpoint(url=server.url, model="small", timeout_seconds=seconds)
        return await ask(endpoint, streamed=streamed)


async def _ignore(piece: str) -> None:
    pass


@on_both_loops
@both
async def test_an_answer_comes_with_what_it_took(*, streamed: bool) -> None:
    answer = await ask_one_that(Say("A fork is many.", read=12, written=5), streamed=streamed)
    assert answer.text == "A fork is many."
    assert (answer.usage.read, answer.usage.written, answer.usage.estimated) == (12, 5, False)
    assert answer.finished == "stop"


@both
async def test_where_no_usage_is_said_it_is_estimated_and_says_so(*, streamed: bool) -> None:
    answer = await ask_one_that(Say("A fork is many.", usage=False), streamed=streamed)
    assert answer.usage.estimated
    assert min(answer.usage.read, answer.usage.written) >= 4


async def test_the_pieces_of_a_stream_are_told_as_they_come() -> None:
    pieces = []

    async def told(piece: str) -> None:
        pieces.append(piece)

    async with (
        model_server(Say("one two three")) as server,
        ModelClient(Endpoint(url=server.url, model="small")) as client,
    ):
        await client.complete(QUESTION, told)
    assert pieces == ["one", " two", " three"]


async def test_only_what_is_said_of_the_endpoint_is_sent_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of somebody else")
    monkeypatch.setenv("OPENAI_ORG_ID", "of somebody else")
    async with model_server() as server:
        await ask(Endpoint(url=server.url, model="small"), streamed=False)
        await ask(Endpoint(url=server.url, model="small", key=SecretStr("k-1")), streamed=False)
    assert "of somebody else" not in str(server.asked)
    assert [each.headers.get("authorization") for each in server.asked] == [None, "Bearer k-1"]


async def test_a_key_is_in_no_error() -> None:
    async with model_server(Fail(401, "this key is not known")) as server:
        endpoint = Endpoint(url=server.url, model="small", key=SecretStr("k-secret"))
        with pytest.raises(ModelRefusedError) as caught:
            await ask(endpoint, streamed=False)
    assert caught.value.status == 401
    assert "this key is not known" in str(caught.value)
    assert "k-secret" not in f"{caught.value} {endpoint!r}"


@pytest.mark.parametrize(
    ("structure", "format_"),
    [("schema", "json_schema"), ("object", "json_object"), ("words", None)],
)
async def test_a_schema_is_asked_for_as_the_endpoint_understands_it(
    structure: str, format_: str | None
) -> None:
    request = Request(QUESTION.messages, 50, schema={"type": "object"})
    async with model_server() as server:
        given = {"url": server.url, "model": "small", "structure": structure}
        await ask(Endpoint.model_validate(given), request, streamed=False)
    asked = server.asked[0].body.get("response_format")
    assert (asked and asked["type"]) == format_


async def test_without_a_name_the_only_model_is_asked() -> None:
    async with model_server(models=["tiny"]) as server:
        await ask(Endpoint(url=server.url), streamed=False)
    assert server.asked[0].body["model"] == "tiny"


async def test_without_a_name_one_of_several_models_is_not_guessed() -> None:
    async with model_server(models=["tiny", "huge"]) as server:
        with pytest.raises(ModelRefusedError, match="there are tiny, huge"):
            await ask(Endpoint(url=server.url), streamed=False)
    assert server.asked == []


@both
@pytest.mark.parametrize("status", [500, 502, 503, 408, 409])
async def test_a_fault_of_the_server_is_asked_once_and_may_be_repeated(
    status: int, *, streamed: bool
) -> None:
    async with model_server(Fail(status)) as server:
        with pytest.raises(ModelUnavailableError, match=r"HTTP \d+: out of order") as caught:
            await ask(Endpoint(url=server.url, model="small"), streamed=streamed)
    assert caught.value.status == status
    assert len(server.asked) == 1


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_names_what_the_server_said(status: int, *, streamed: bool) -> None:
    with pytest.raises(ModelRefusedError, match="no such model"):
        await ask_one_that(Fail(status, "no such model"), streamed=streamed)


@both
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "7", "retry-after-ms": "250"}, 0.25),
        (
            {
                "Retry-After": "Sun, 06 Nov 1994 08:49:49 GMT",
                "Date": "Sun, 06 Nov 1994 08:49:37 GMT",
            },
            12,
        ),
        ({}, None),
        ({"Retry-After": "soon"}, None),
    ],
)
async def test_a_busy_server_says_when_to_come_back(
    headers: Mapping[str, str], seconds: float | None, *, streamed: bool
) -> None:
    with pytest.raises(ModelBusyError) as caught:
        await ask_one_that(Fail(429, headers=headers), streamed=streamed)
    assert caught.value.retry_after == seconds


async def test_an_overloaded_server_that_says_when_is_busy() -> None:
    with pytest.raises(ModelBusyError):
        await ask_one_that(Busy("1", 503))


async def test_one_that_asks_to_wait_for_a_day_has_refused() -> None:
    with pytest.raises(ModelRefusedError, match="it asks to wait 86400 s"):
        await ask_one_that(Busy("86400"))


async def test_an_account_that_is_used_up_is_no_reason_to_wait() -> None:
    with pytest.raises(ModelRefusedError, match="you have used it up"):
        await ask_one_that(Fail(429, "you have used it up", "insufficient_quota"))


@both
async def test_one_that_hangs_is_given_up_at_the_time(*, streamed: bool) -> None:
    with pytest.raises(ModelTimeoutError, match=r"no answer within 0\.2 s"):
        await ask_one_that(Hang("and then"), streamed=streamed, seconds=0.2)


@on_both_loops
@both
async def test_cancelling_closes_the_connection(*, streamed: bool) -> None:
    async with model_server(Hang("and then")) as server:
        async with (
            ModelClient(Endpoint(url=server.url, model="small")) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(client.complete, QUESTION, _ignore if streamed else None)
            while not server.asked:
                await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            await server.gone.wait()


@both
async def test_an_answer_that_breaks_off_is_no_answer(*, streamed: bool) -> None:
    with pytest.raises(ModelUnavailableError, match="the connection failed"):
        await ask_one_that(Break(), streamed=streamed)


async def test_a_stream_that_ends_in_the_middle_is_no_answer() -> None:
    with pytest.raises(ModelProtocolError, match="ended in the middle, after 1 pieces"):
        await ask_one_that(Break(quietly=True), streamed=True)


async def test_an_error_in_a_stream_is_raised() -> None:
    event = b'data: {"error": {"message": "the model fell over"}}\n\n'
    with pytest.raises(ModelUnavailableError, match="the model fell over"):
        await ask_one_that(Send(event, "text/event-stream"), streamed=True)


@both
@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [',
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}',
        b"\xff\xfe",
        b'{"choices": {"0": 1}}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": -1}}',
    ],
)
async def test_what_is_no_answer_is_a_protocol_error(body: bytes, *, streamed: bool) -> None:
    kind = "text/event-stream" if streamed else "application/json"
    sent = b"data: " + body + b"\n\n" if streamed else body
    with pytest.raises(ModelProtocolError):
        await ask_one_that(Send(sent, kind), streamed=streamed)


async def test_a_page_of_a_proxy_is_a_protocol_error() -> None:
    with pytest.raises(ModelProtocolError, match="Welcome"):
        await ask_one_that(Send(b"<h1>Welcome</h1>", "text/html"))


async def test_where_nobody_listens_the_model_is_unavailable() -> None:
    async with model_server() as server:
        pass
    with pytest.raises(ModelUnavailableError, match="the connection failed"):
        await ask(Endpoint(url=server.url, model="small"), streamed=False)


@both
async def test_a_model_that_refuses_is_named(*, streamed: bool) -> None:
    with pytest.raises(ModelRefusedError, match="I will not"):
        await ask_one_that(Say("", refusal="I will not"), streamed=streamed)


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert (await ask_one_that(Say("here"))).text == "here"

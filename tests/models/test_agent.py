"""An agent that asks a model: its answers, what they cost, and what is told to the model."""

from typing import Any, ClassVar

import anyio
import pytest
from pydantic import BaseModel, Field

from plait.agents import (
    AgentContext,
    AgentCreationError,
    AgentOverloadedError,
    AgentResources,
    AgentSpecification,
    ResourcePool,
    ResourceUnavailableError,
)
from plait_adapters.models.agent import RETRY, ModelAgent, ModelSpecialization, Piece
from plait_adapters.models.client import ModelClient
from plait_adapters.models.errors import (
    ModelAnswerError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from tests.models.agents import FREE, endpoint, made, run
from tests.models.server import Busy, Fail, Hang, Say, model_server


class Verdict(BaseModel):
    holds: bool
    certainty: float = Field(ge=0, le=1)


class Judge(ModelAgent):
    answer: ClassVar[type[BaseModel] | None] = Verdict
    instructions: ClassVar[str] = "You judge."


GOOD = '{"holds": true, "certainty": 0.75}'
BAD = '{"holds": true, "certainty": 7}'


def full_pool() -> ResourcePool:
    return ResourcePool(requests_per_minute=10, tokens_per_minute=100_000, dollars=500)


def taken(pool: ResourcePool) -> dict[str, float]:
    return {name: round(unit.spent, 6) for name, unit in pool.statistics().items()}


async def test_a_text_is_answered_with_a_text() -> None:
    async with model_server(Say("A fork is many.", read=100, written=20)) as server:
        result = await run(made(ModelAgent, server))
    assert result.content == "A fork is many."
    assert result.tokens == 120
    assert result.cost == pytest.approx(0.1 + 0.2)


async def test_a_structured_answer_is_an_instance_of_what_was_asked_for() -> None:
    async with model_server(Say(GOOD)) as server:
        result = await run(made(Judge, server))
    assert result.content == Verdict(holds=True, certainty=0.75)
    assert (result.quality, result.how.startswith("1 / rounds")) == (1.0, True)
    assert server.asked[0].prompt.startswith("You judge.")


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", "  {}\n"])
async def test_an_answer_in_a_fence_is_read(fence: str) -> None:
    async with model_server(Say(fence.replace("{}", GOOD))) as server:
        assert (await run(made(Judge, server))).content.holds


async def test_what_is_wrong_with_an_answer_is_told_and_it_is_asked_for_again() -> None:
    async with model_server(Say(BAD), Say(GOOD)) as server:
        result = await run(made(Judge, server))
    said = server.asked[1].body["messages"]
    assert "by this JSON schema" not in server.asked[0].prompt
    assert "by this JSON schema" in said[-1]["content"]
    assert [each["role"] for each in said[-2:]] == ["assistant", "user"]
    assert "certainty: Input should be less than or equal to 1" in said[-1]["content"]
    assert (result.quality, result.tokens) == (0.5, 60)


async def test_an_answer_that_is_wrong_twice_is_an_error_that_keeps_it() -> None:
    async with model_server(Say(BAD)) as server:
        with pytest.raises(ModelAnswerError, match="asked 2 times") as caught:
            await run(made(Judge, server))
    assert caught.value.text == BAD
    assert caught.value.faults == ("certainty: Input should be less than or equal to 1",)
    assert len(server.asked) == 2


@pytest.mark.parametrize("structure", ["object", "words"])
async def test_a_server_that_knows_no_schemas_has_it_in_words(structure: str) -> None:
    async with model_server(Say(GOOD)) as server:
        await run(made(Judge, server, endpoint=endpoint(server, structure=structure)))
    assert '"maximum": 1' in server.asked[0].prompt


async def test_without_repairs_it_is_asked_once() -> None:
    async with model_server(Say(BAD)) as server:
        with pytest.raises(ModelAnswerError, match="asked once"):
            await run(made(Judge, server, repairs=0))
    assert len(server.asked) == 1


async def test_an_answer_that_was_cut_off_is_told_to_be_shorter() -> None:
    async with model_server(Say('{"holds": tr', finish="length"), Say(GOOD)) as server:
        await run(made(Judge, server, max_tokens=30))
    assert "cut off at the limit of 30 tokens" in server.asked[1].prompt


async def test_a_stream_is_put_into_the_stream_of_the_run() -> None:
    emitted: list[Any] = []

    async def emit(value: Any) -> None:
        emitted.append(value)

    async with model_server(Say("one two")) as server:
        agent = made(ModelAgent, server, streamed=True)
        await run(agent, context=AgentContext(agent_id="a1", emit=emit))
    assert emitted == [Piece(agent="a1", task="t1", text=text) for text in ("one", " two")]


async def test_a_request_is_settled_with_what_it_took() -> None:
    pool = full_pool()
    async with model_server(Say("x", read=100, written=20)) as server:
        await run(made(ModelAgent, server, pool))
    assert taken(pool) == {"requests_per_minute": 1, "tokens_per_minute": 120, "dollars": 0.3}


async def test_each_round_is_a_request_of_its_own() -> None:
    pool = full_pool()
    async with model_server(Say(BAD, read=100, written=20), Say(GOOD, 50, 10)) as server:
        await run(made(Judge, server, pool))
    assert taken(pool) == {"requests_per_minute": 2, "tokens_per_minute": 180, "dollars": 0.45}


async def test_what_is_reserved_for_the_call_is_settled_with_the_sum() -> None:
    pool = full_pool()
    async with (
        model_server(Say(BAD, read=100, written=20), Say(GOOD, 50, 10)) as server,
        pool.reserve(tokens_per_minute=5_000, dollars=100) as per_call,
    ):
        await run(made(Judge, server, pool), context=AgentContext(reservation=per_call))
    assert taken(pool) == {"requests_per_minute": 2, "tokens_per_minute": 180, "dollars": 0.45}


@pytest.mark.parametrize("reply", [Busy("30"), Fail(401)])
async def test_a_request_that_was_turned_away_takes_no_tokens(reply: Fail) -> None:
    pool = full_pool()
    async with model_server(reply) as server:
        with pytest.raises((AgentOverloadedError, ModelRefusedError)):
            await run(made(ModelAgent, server, pool))
    assert taken(pool) == {"requests_per_minute": 1, "tokens_per_minute": 0, "dollars": 0}


@pytest.mark.parametrize(
    ("reply", "error"), [(Fail(500), ModelUnavailableError), (Hang(), ModelTimeoutError)]
)
async def test_of_a_request_that_broke_off_the_estimate_counts(
    reply: Fail | Hang, error: type[Exception]
) -> None:
    pool = full_pool()
    async with model_server(reply) as server:
        given = endpoint(server, timeout_seconds=0.2)
        with pytest.raises(error):
            await run(made(ModelAgent, server, pool, endpoint=given, max_tokens=1_000))
    used = taken(pool)
    assert used["tokens_per_minute"] > 1_000
    assert used["dollars"] > 10


async def test_a_request_that_never_came_there_takes_nothing() -> None:
    pool = full_pool()
    async with model_server() as server:
        pass
    with pytest.raises(ModelUnavailableError):
        await run(made(ModelAgent, server, pool))
    assert set(taken(pool).values()) == {0}


async def test_a_refusal_that_the_model_wrote_counts_as_written() -> None:
    pool = full_pool()
    async with model_server(Say("", refusal="I will not")) as server:
        with pytest.raises(ModelRefusedError):
            await run(made(ModelAgent, server, pool, max_tokens=1_000))
    assert taken(pool)["tokens_per_minute"] > 1_000


async def test_a_cancelled_request_counts_and_is_given_back() -> None:
    pool = ResourcePool(slots=1, tokens_per_minute=100_000)
    async with model_server(Hang()) as server:
        agent = made(ModelAgent, server, pool)
        with anyio.move_on_after(0.2):
            await run(agent)
        with anyio.fail_after(5):
            await server.gone.wait()
    assert taken(pool)["tokens_per_minute"] > 1_000
    assert not pool.reservations


async def test_when_asked_to_come_back_later_everybody_waits() -> None:
    pool = full_pool()
    async with model_server(Busy("30"), Say("x")) as server:
        agent = made(ModelAgent, server, pool)
        with pytest.raises(AgentOverloadedError) as caught:
            await run(agent)
        assert caught.value.retry_after == 30
        with pytest.raises(ResourceUnavailableError):
            await pool.reserve(requests_per_minute=1, timeout=0)
        assert len(server.asked) == 1


async def test_what_a_pool_can_never_give_is_not_asked() -> None:
    async with model_server() as server:
        with pytest.raises(ResourceUnavailableError):
            await run(made(ModelAgent, server, ResourcePool(dollars=0.01)))
    assert server.asked == []


async def test_dollars_without_prices_are_refused_before_anything_is_asked() -> None:
    async with model_server() as server:
        with pytest.raises(ValueError, match="has no prices"):
            made(ModelAgent, server, ResourcePool(dollars=5), prices=None)
        assert (await run(made(ModelAgent, server, ResourcePool(dollars=5), prices=FREE))).cost == 0


async def test_an_endpoint_that_does_not_say_what_it_took_is_named() -> None:
    async with model_server(Say("A fork.", usage=False)) as server:
        result = await run(made(ModelAgent, server))
    assert "tokens and dollars are estimates" in result.notes[0]
    assert result.tokens > 0


async def test_a_shared_client_is_not_closed_by_the_agents_that_use_it() -> None:
    specification = AgentSpecification(
        type="model", capabilities=frozenset({"research"}), specialization=ModelSpecialization()
    )
    async with model_server(Say("here")) as server, ModelClient(endpoint(server)) as client:
        for _ in range(2):
            agent = ModelAgent(specification, AgentResources(context={"model": client}))
            await run(agent)
        assert server.open == 1


def test_an_agent_without_a_model_is_not_made() -> None:
    specification = AgentSpecification(
        type="model", capabilities=frozenset({"research"}), specialization=ModelSpecialization()
    )
    with pytest.raises(AgentCreationError, match="not said which model"):
        ModelAgent(specification, AgentResources())


async def test_a_payload_that_is_no_text_is_refused() -> None:
    async with model_server() as server:
        with pytest.raises(TypeError, match="override request"):
            await run(made(ModelAgent, server), {"a": 1})


def test_what_would_be_refused_again_is_not_repeated() -> None:
    assert not RETRY.repeats(ModelRefusedError("http://x", 401, "no"))
    assert not RETRY.repeats(ModelAnswerError("http://x", "", ["bad"], 2))
    assert RETRY.repeats(ModelUnavailableError("http://x", "down"))

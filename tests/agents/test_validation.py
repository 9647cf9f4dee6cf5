"""The validation specialist: checks quotations, numbers and coverage."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.agents import AgentError, AgentFactory, AgentTask, TaskRequirements
from plait.agents.templates import register_bundled_templates
from plait.agents.validation import (
    ClaimedNumber,
    Quotation,
    Validation,
    ValidationRequest,
    validate,
)

SOURCES = {"notes": "A coroutine suspends\n  where it awaits. The loop goes on."}


def checked(**request: object) -> tuple[float, list[str]]:
    result = validate(ValidationRequest.model_validate(request))
    assert isinstance(result.content, Validation)
    return result.quality, [check.found for check in result.content.checks]


def test_a_quotation_must_stand_in_its_source_but_for_white_space() -> None:
    quotes = [
        Quotation(text="suspends where it awaits.", source="notes"),
        Quotation(text="suspends where it waits.", source="notes"),
        Quotation(text="goes on", source="letters"),
        Quotation(text=" ", source="notes"),
    ]
    assert checked(quotes=quotes, sources=SOURCES) == (
        0.25,
        [
            "It stands in notes.",
            "It does not stand in notes; of it, “suspends where it” does.",
            "There is no source letters.",
            "Nothing is quoted from notes.",
        ],
    )


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, finite, finite)
def test_a_number_must_lie_in_its_interval(value: float, low: float, high: float) -> None:
    number = ClaimedNumber(name="mean", value=value, low=low, high=high)
    assert checked(numbers=[number])[0] == float(low <= value <= high)


def test_what_is_no_number_does_not_pass() -> None:
    number = ClaimedNumber(name="mean", value=math.nan, low=0, high=1)
    assert checked(numbers=[number]) == (0, ["mean or its interval is no number."])


def test_every_term_of_the_questions_must_be_in_the_text() -> None:
    quality, found = checked(text="A coroutine waits.", questions=["How does a coroutine suspend?"])
    assert quality == 0.5
    assert found == ["The text has “coroutine”.", "The text does not have “suspend”."]


def test_the_quality_counts_checks_and_what_failed_is_wanting() -> None:
    result = validate(
        ValidationRequest(
            quotes=(Quotation(text="goes on", source="notes"),),
            sources=SOURCES,
            numbers=(ClaimedNumber(name="mean", value=3, low=0, high=2),),
        )
    )
    assert result.quality == 0.5
    assert result.how == "1 of 2 checks passed: 1 of 1 quotes, 0 of 1 numbers"
    assert result.wanting == ("mean is 3, outside of 0 to 2.",)


def test_nothing_to_check_is_no_success() -> None:
    result = validate(ValidationRequest())
    assert (result.quality, result.how) == (0, "nothing to check")


async def test_the_factory_makes_a_validation_specialist() -> None:
    makers = AgentFactory()
    register_bundled_templates(makers)
    wanted = TaskRequirements(capabilities=frozenset({"validation"}))
    async with await makers.generate_agent_for_task(wanted) as agent:
        request = ValidationRequest(text="It waits.", questions=("Who waits?",))
        result = await agent.run(AgentTask(id="v", requirements=wanted, payload=request))
        assert result.quality == 1
        with pytest.raises(AgentError, match="as a ValidationRequest"):
            await agent.run(AgentTask(id="v", requirements=wanted))

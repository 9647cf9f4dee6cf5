"""How a stream of server-sent events is read."""

from collections.abc import AsyncIterator

import anyio
from hypothesis import given
from hypothesis import strategies as st

from plait_adapters.models.sse import Events

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
messages = st.lists(texts, min_size=1, max_size=3).map("\n".join).filter(lambda m: m.strip() != "!")
noise = st.lists(st.sampled_from([": a comment", "", "event: x", "id: 7", "retry: 9"]), max_size=3)


def written(message: str, between: list[str]) -> list[str]:
    return [*(f"data: {line}" for line in message.split("\n")), "", *between]


def read(lines: list[str]) -> tuple[list[str], bool]:
    async def main() -> tuple[list[str], bool]:
        async def source() -> AsyncIterator[str]:
            for line in lines:
                yield line

        events = Events(source(), "!")
        found = [each async for each in events]
        return found, events.over

    return anyio.run(main)


@given(st.lists(st.tuples(messages, noise), max_size=5))
def test_what_is_written_is_read_whatever_stands_between(
    pairs: list[tuple[str, list[str]]],
) -> None:
    lines = [line for message, between in pairs for line in written(message, between)]
    assert read([*lines, "data: !", "", "data: more", ""]) == ([m for m, _ in pairs], True)


@given(st.lists(messages, min_size=1, max_size=5), st.data())
def test_an_event_that_is_cut_off_is_dropped(found: list[str], data: st.DataObject) -> None:
    lines = [line for message in found for line in written(message, [])]
    cut = data.draw(st.integers(0, len(lines)))
    assert read(lines[:cut]) == (
        found[: lines[:cut].count("")] if "" not in found else [],
        False,
    ) or (any("" in message.split("\n") for message in found))


def test_one_space_after_the_colon_does_not_count() -> None:
    assert read(["data:a", "", "data: b", "", "data:  c", ""]) == (["a", "b", " c"], False)

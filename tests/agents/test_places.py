"""A resource pool as the pool of a graph's nodes."""

import operator
from typing import Annotated, Any, TypedDict

import anyio
import pytest

from plait import END, START, Flow, Graph, NodeError, Send
from plait.agents import ReservationDeadlock, ResourcePool
from tests.agents.crew import run


class Sums(TypedDict):
    total: Annotated[int, operator.add]


def spread(node: Any, count: int, pool: ResourcePool, **units: float) -> Flow[Any]:
    """So many branches of one node, each of which reserves so much while it runs."""
    graph = Graph(Sums).add_node("work", node, pool="work").add_edge("work", END)
    graph.add_conditional_edges(START, lambda _: [Send("work") for _ in range(count)], ["work"])
    return graph.compile(pools={"work": pool.places(units)})


def test_nodes_run_as_many_at_once_as_the_pool_has_room_for() -> None:
    async def body() -> tuple[int, dict[str, float], float]:
        pool = ResourcePool(gpu=4, memory=5)

        async def work(_state: Any) -> dict[str, int]:
            await anyio.sleep(1)
            return {"total": 1}

        result = await spread(work, 6, pool, gpu=1, memory=2).run()
        return result.state["total"], pool.free, pool.statistics()["memory"].peak

    assert run(body) == ((6, {"gpu": 4, "memory": 5}, 4), 3)


def test_a_node_that_fails_gives_its_place_back() -> None:
    async def body() -> dict[str, float]:
        pool = ResourcePool(gpu=1)

        async def work(_state: Any) -> None:
            raise ZeroDivisionError

        with pytest.raises(NodeError):
            await spread(work, 3, pool, gpu=1).run()
        return pool.free

    assert run(body)[0] == {"gpu": 1}


@pytest.mark.parametrize("seconds", [0.5, 1.5])
def test_a_run_that_is_cancelled_gives_all_places_back(seconds: float) -> None:
    async def body() -> dict[str, float]:
        pool = ResourcePool(gpu=2)

        async def work(_state: Any) -> None:
            await anyio.sleep(1)

        with anyio.move_on_after(seconds):
            await spread(work, 9, pool, gpu=1).run()
        return pool.free

    assert run(body)[0] == {"gpu": 2}


def test_what_a_node_reserves_is_inside_of_its_place() -> None:
    async def body() -> None:
        pool = ResourcePool(gpu=1)

        async def work(_state: Any) -> None:
            await pool.reserve(gpu=1)

        with pytest.raises(NodeError) as caught:
            await spread(work, 1, pool, gpu=1).run()
        assert isinstance(caught.value.__cause__, ReservationDeadlock)
        assert pool.free == {"gpu": 1}

    run(body)


def test_one_node_after_another_in_one_task_is_not_inside_of_it() -> None:
    async def body() -> dict[str, float]:
        pool = ResourcePool(gpu=1)

        async def first(_state: Any) -> None:
            return None

        async def second(_state: Any) -> None:
            (await pool.reserve(gpu=1, timeout=0)).release()

        graph = Graph(Sums).add_node(first, pool="gpu").add_node(second)
        graph.add_edge(START, "first").add_edge("first", "second").add_edge("second", END)
        await graph.compile(pools={"gpu": pool.places(gpu=1)}).run()
        return pool.free

    assert run(body)[0] == {"gpu": 1}


def test_places_of_a_unit_that_the_pool_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="no 'gpus'"):
        ResourcePool(gpu=1).places(gpus=1)

"""A real model on this machine, without a network: SmolLM2-135M, in a process of its own.

It is weak, so what is tested is that it is asked, answers, and is judged; not what it says.
"""

import os
import sys
from pathlib import Path

import anyio
import pytest

from plait.agents import AgentResources, AgentSpecification
from plait_adapters.models.client import Message, ModelClient, Request
from plait_adapters.models.endpoint import Endpoint
from plait_adapters.models.errors import LocalModelError, ModelRefusedError
from plait_adapters.models.local import find_weights, local_model
from plait_adapters.models.synthesis import WrittenSynthesis
from plait_adapters.models.writer import ModelSynthesisSpecialization, ModelSynthesizer
from tests.models.agents import FINDINGS, run

try:
    find_weights()
except LocalModelError as missing:
    pytest.skip(f"the local model is not installed: {missing}", allow_module_level=True)

pytestmark = pytest.mark.slow


async def test_it_answers_streams_writes_and_lets_in_nobody_else() -> None:
    """One test for all of it, since the model is loaded for each."""
    pieces: list[str] = []

    async def told(piece: str) -> None:
        pieces.append(piece)

    async with local_model() as endpoint, ModelClient(endpoint) as client:
        asked = Request((Message("user", "Name a colour."),), max_tokens=8)
        answer = await client.complete(asked, told)
        assert "".join(pieces) == answer.text != ""
        assert 0 < answer.usage.written <= 8
        assert not answer.usage.estimated

        stranger = Endpoint(url=endpoint.url, model=endpoint.model)
        async with ModelClient(stranger) as other:
            with pytest.raises(ModelRefusedError):
                await other.complete(asked)

        specification = AgentSpecification(
            type="model_synthesis",
            capabilities=frozenset({"synthesis"}),
            specialization=ModelSynthesisSpecialization(max_tokens=120, length=24, repairs=0),
        )
        agent = ModelSynthesizer(specification, AgentResources(context=client))
        written = await run(agent, FINDINGS)
    assert isinstance(written.content, WrittenSynthesis)
    assert written.content.by_model is not bool(written.content.failed_checks)
    assert written.tokens > 50


START = """
import anyio
from plait_adapters.models.local import local_model

async def main():
    async with local_model() as endpoint:
        print(endpoint.url, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_its_process_does_not_outlive_the_one_that_started_it() -> None:
    roots = [str(Path(__file__).parents[2] / name) for name in ("kernel", "adapters")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
    async with await anyio.open_process([sys.executable, "-c", START], env=environment) as process:
        assert process.stdout is not None
        url = (await process.stdout.receive()).decode()
        process.kill()
        await process.wait()
    port = int(url.split(":")[2].split("/")[0])
    with anyio.fail_after(10):
        while True:
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
            except OSError:
                return
            await anyio.sleep(0.05)

"""What every test has: an event loop, which is asyncio's unless the test asks for another."""

import pytest


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The backend that an `async def` test runs on.

    A test that must hold on both says so with
    `@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])`.
    """
    backend: str = request.param
    return backend

"""What every test has: an event loop, which is asyncio's unless the test asks for another; and as
much time as it takes, since how fast the machine is says nothing about what is tested."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The backend that an `async def` test runs on.

    A test that must hold on both says so with
    `@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])`.
    """
    backend: str = request.param
    return backend

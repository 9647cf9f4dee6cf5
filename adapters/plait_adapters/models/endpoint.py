"""Where a language model is asked, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

__all__ = ["KEY_VARIABLE", "NAME_VARIABLE", "PRICES_VARIABLE", "Endpoint", "Prices"]

KEY_VARIABLE = "PLAIT_MODEL_KEY"
"""The environment variable with the key for an endpoint."""

NAME_VARIABLE = "PLAIT_MODEL_NAME"
"""The environment variable with the name of the model at an endpoint."""

PRICES_VARIABLE = "PLAIT_MODEL_PRICES"
"""The environment variable with dollars per million tokens, ``read,written``: ``0.15,0.60``."""

_Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Prices(BaseModel):
    """What a model costs. Nobody but its provider knows, so nothing is assumed."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    read: _Dollars
    """Dollars per million tokens that the model reads."""
    written: _Dollars
    """Dollars per million tokens that it writes."""

    def of(self, read: int, written: int) -> float:
        """Dollars for so many tokens."""
        return (read * self.read + written * self.written) / 1e6

    @classmethod
    def parse(cls, text: str) -> Self:
        """Prices as ``read,written``. Raises ``ValueError`` for anything else."""
        read, comma, written = text.partition(",")
        if not comma:
            raise ValueError(f"prices are two numbers, read,written, as in 0.15,0.60; got {text!r}")
        return cls(read=float(read), written=float(written))


class Endpoint(BaseModel):
    """One model at one address that speaks the chat completions protocol of OpenAI."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    url: str
    """The base of the addresses, mostly ending in ``/v1``; ``/chat/completions`` is put to it."""
    model: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """What the endpoint calls the model; ``None`` for the only one that it serves."""
    key: SecretStr | None = None
    """The key; nothing is sent without one. It is shown nowhere."""
    prices: Prices | None = None
    """What it costs; needed where a pool counts dollars."""
    timeout_seconds: _Seconds = 120.0
    """Seconds for one request, from the connection to the last piece of its answer."""
    longest_wait: _Seconds = 120.0
    """Seconds: an endpoint that asks to come back later than that has refused."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the request calls its limit of tokens to write: newer models of OpenAI want the second
    name, nearly all other servers the first."""
    structure: Literal["schema", "object", "words"] = "schema"
    """How a structured answer is asked for: the server is given the JSON schema, or is told that it
    is to be JSON, or the prompt alone says so. The answer is validated whatever is chosen."""

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address: it begins with http:// or https://")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a key in the address would be shown: give it as `key`")
        return url.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, and no proxy has to be asked."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @classmethod
    def from_environment(cls, url: str, environment: Mapping[str, str]) -> Self:
        """The endpoint at an address, with name, key and prices from environment variables.

        Raises:
            ValueError: the address or the prices make no sense.
        """
        key = environment.get(KEY_VARIABLE)
        prices = environment.get(PRICES_VARIABLE)
        return cls(
            url=url,
            model=environment.get(NAME_VARIABLE) or None,
            key=SecretStr(key) if key else None,
            prices=Prices.parse(prices) if prices else None,
        )

"""Agents that use a language model, at any endpoint that speaks OpenAI's chat completions.

::

    from plait_adapters.models import Endpoint, ModelAgent, ModelSpecialization, Prices

    endpoint = Endpoint(
        url="https://example.org/v1",
        model="small",
        key=SecretStr(os.environ["PLAIT_MODEL_KEY"]),
        prices=Prices(read=0.15, written=0.60),
    )

``ModelAgent`` answers texts, or whatever a pydantic model describes; ``ModelSynthesizer`` writes
one text of many findings, and cites them. ``local_model`` serves a small model on this machine.
Needs ``plait[models]``, and for the last one ``plait[local-model]``.
"""

from plait_adapters.models.accounting import Usage
from plait_adapters.models.agent import RETRY, ModelAgent, ModelSpecialization, Piece
from plait_adapters.models.answers import Answer, Fault
from plait_adapters.models.client import Completion, Message, ModelClient, Request
from plait_adapters.models.endpoint import Endpoint, Prices
from plait_adapters.models.errors import (
    LocalModelError,
    ModelAnswerError,
    ModelBusyError,
    ModelError,
    ModelProtocolError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from plait_adapters.models.local import local_model
from plait_adapters.models.synthesis import (
    CitedSentence,
    FindingText,
    SynthesisTask,
    WrittenSynthesis,
)
from plait_adapters.models.writer import ModelSynthesisSpecialization, ModelSynthesizer

__all__ = [
    "RETRY",
    "Answer",
    "CitedSentence",
    "Completion",
    "Endpoint",
    "Fault",
    "FindingText",
    "LocalModelError",
    "Message",
    "ModelAgent",
    "ModelAnswerError",
    "ModelBusyError",
    "ModelClient",
    "ModelError",
    "ModelProtocolError",
    "ModelRefusedError",
    "ModelSpecialization",
    "ModelSynthesisSpecialization",
    "ModelSynthesizer",
    "ModelTimeoutError",
    "ModelUnavailableError",
    "Piece",
    "Prices",
    "Request",
    "SynthesisTask",
    "Usage",
    "WrittenSynthesis",
    "local_model",
]

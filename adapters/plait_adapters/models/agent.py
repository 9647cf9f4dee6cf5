"""An agent whose work is done by a language model.

::

    class Verdict(BaseModel):
        holds: bool
        why: str


    class Judge(ModelAgent):
        answer = Verdict
        instructions = "You judge whether a claim follows from a text."


    factory.register_agent_template(
        "judge", Judge, ["validation"], specialization=ModelSpecialization, retry=RETRY
    )

The payload of a task is what is asked. Without ``answer`` the result is a text; with it, an
instance of that model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, Field

from plait import Retry
from plait.agents import (
    AgentContext,
    AgentCreationError,
    AgentResources,
    AgentResult,
    AgentSpecification,
    AgentTask,
    Specialization,
)
from plait_adapters.models.account import Account
from plait_adapters.models.accounting import units_of
from plait_adapters.models.answers import Answer, Fault, ask_until_it_fits, parse, told_in_words
from plait_adapters.models.client import Completion, Message, ModelClient, Request
from plait_adapters.models.endpoint import Endpoint
from plait_adapters.models.errors import ModelAnswerError, ModelRefusedError

__all__ = ["RETRY", "ModelAgent", "ModelSpecialization", "Piece"]


T = TypeVar("T")


def _may_be_repeated(error: Exception) -> bool:
    """Not what would only be refused again; nor an answer that was asked for twice already."""
    return not isinstance(error, (ModelRefusedError, ModelAnswerError))


RETRY = Retry(on=_may_be_repeated)
"""Which failures of a model are worth another attempt. After HTTP 429 it comes no sooner than the
endpoint asked for."""


class ModelSpecialization(Specialization):
    """How a model is asked."""

    endpoint: Endpoint | None = None
    """Which model; without it, the one that is given to the factory as the context: an `Endpoint`,
    a `ModelClient`, which is shared and not closed, or a mapping with one under ``"model"``."""
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """The most tokens to write for one answer. They are reserved before, and settled after."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    """How much chance there is in an answer; 0 for as little as possible."""
    streamed: bool = False
    """Whether the answer is put into the stream of the run piece by piece, as `Piece`."""
    repairs: Annotated[int, Field(ge=0, le=5)] = 1
    """How many times the model is told what is wrong with its answer, and asked again."""


class Piece(BaseModel, frozen=True, extra="forbid"):
    """In a stream: a piece of an answer, as it comes."""

    agent: str
    """The id of the agent."""
    task: str
    """The id of the task."""
    text: str
    """The piece."""


class ModelAgent:
    """Asks a language model. Made by an `AgentFactory`, from a template whose specialization is a
    `ModelSpecialization`.

    Errors of a call are those of `ModelClient.complete`, `ModelAnswerError` for an answer that does
    not fit, and `ResourceUnavailableError` where the pool cannot give what a request takes.
    """

    answer: ClassVar[type[BaseModel] | None] = None
    """What an answer is to be; a text without it."""
    instructions: ClassVar[str] = ""
    """What the model is told before anything else."""

    def __init__(self, specification: AgentSpecification, resources: AgentResources) -> None:
        if not isinstance(specification.specialization, ModelSpecialization):
            raise AgentCreationError(
                specification.type,
                "its specialization says not how a model is asked: register it with "
                "specialization=ModelSpecialization",
            )
        self.aims: ModelSpecialization = specification.specialization
        self._resources = resources
        given = self.aims.endpoint or _given_in(resources.context)
        if given is None:
            raise AgentCreationError(
                specification.type,
                "it is not said which model: give an Endpoint in its specialization, or as the "
                "context",
            )
        self._owns_client = isinstance(given, Endpoint)
        self.client: ModelClient = ModelClient(given) if isinstance(given, Endpoint) else given
        if resources.pool is not None:
            # Dollars without prices are refused here, and not at the first request.
            units_of(Request((), 1).estimate(), self.client.endpoint.prices, resources.pool.units)

    async def run(self, task: AgentTask, context: AgentContext) -> AgentResult:
        """Ask what the task says, and hold the answer against what is wanted."""
        account = self.account(context)
        try:
            answer = await self.ask(task, context, account)
        except ModelAnswerError as error:
            quality, how, content = self.without_answer(error, task)
        else:
            quality, how = self.judge(answer, task)
            content = self.content(answer, task)
        return AgentResult(
            content=content,
            quality=quality,
            how=how,
            tokens=account.usage.tokens,
            cost=account.cost,
            wanting=self.wanting(content, task),
            notes=self.notes(account, content),
        )

    def request(self, task: AgentTask, context: AgentContext) -> Request:
        """What is asked for a task; to be overridden where a payload is no text."""
        if not isinstance(task.payload, str):
            raise TypeError(
                f"the payload of task {task.id!r} is a {type(task.payload).__name__}, and a model "
                "is asked a text: override request()"
            )
        return self.asking(task.payload)

    def asking(
        self, *said: str, schema: Mapping[str, Any] | None = None, schema_name: str | None = None
    ) -> Request:
        """A request with the agent's instructions and settings.

        Args:
            said: what is said to the model, turn by turn.
            schema: the JSON schema of the answer; by default that of `answer`.
            schema_name: what it is called; by default the name of `answer`.
        """
        if schema is None and self.answer is not None:
            schema = self.answer.model_json_schema()
        name = schema_name or (self.answer.__name__ if self.answer is not None else "answer")
        told = [self.instructions] if self.instructions else []
        if schema is not None and self.client.endpoint.structure != "schema":
            told.append(told_in_words(schema))
        system = [Message("system", "\n\n".join(told))] if told else []
        return Request(
            (*system, *(Message("user", each) for each in said)),
            max_tokens=self.aims.max_tokens,
            temperature=self.aims.temperature,
            schema=schema,
            schema_name=name,
        )

    def read(self, completion: Completion, task: AgentTask) -> Any:
        """What is wanted, out of an answer. Raises `Fault` where it does not fit."""
        if self.answer is not None:
            return parse(self.answer, completion.text)
        if completion.finished == "length":
            raise Fault("it has no end")
        return completion.text

    def judge(self, answer: Answer[Any], task: AgentTask) -> tuple[float, str]:
        """How good an answer is that fits, and how that was computed: to be overridden where more
        can be measured than that it fits, in how many rounds."""
        form = f"fits {self.answer.__name__}" if self.answer is not None else "has an end"
        which = "the first" if answer.rounds == 1 else f"number {answer.rounds}"
        return 1 / answer.rounds, f"1 / rounds: {which} answer {form}; what it says is not judged"

    def content(self, answer: Answer[Any], task: AgentTask) -> Any:
        """What is handed over for an answer that fits."""
        return answer.value

    def without_answer(self, error: ModelAnswerError, task: AgentTask) -> tuple[float, str, Any]:
        """What is handed over when no answer fits: quality, how it was computed, and content.
        Raises ``error``, unless it is overridden."""
        raise error

    def wanting(self, content: Any, task: AgentTask) -> tuple[str, ...]:
        """What would make it better: the model is told, should it be asked again."""
        return ()

    def notes(self, account: Account, content: Any) -> tuple[str, ...]:
        """What a reader must know."""
        if account.usage.estimated:
            return ("The endpoint did not say what it took: tokens and dollars are estimates.",)
        return ()

    def account(self, context: AgentContext) -> Account:
        """Where the requests of one call are counted."""
        resources = self._resources
        return Account(
            self.client.endpoint.prices, resources.pool, resources.reservation, context.reservation
        )

    async def ask(self, task: AgentTask, context: AgentContext, account: Account) -> Answer[Any]:
        """Ask what the task says, until the answer fits."""
        request = self.request(task, context)
        if context.previous is not None and context.previous.wanting:
            wanting = "\n".join(f"- {each}" for each in context.previous.wanting)
            said = Message("user", f"An earlier answer was wanting:\n{wanting}")
            request = replace(request, messages=(*request.messages, said))
        return await self.ask_for(
            request, lambda completion: self.read(completion, task), task, context, account
        )

    async def ask_for(
        self,
        request: Request,
        read: Callable[[Completion], T],
        task: AgentTask,
        context: AgentContext,
        account: Account,
    ) -> Answer[T]:
        """Make one request until the answer fits, within the pool, and streamed if that is
        wanted."""

        async def told(piece: str) -> None:
            await context.emit(Piece(agent=context.agent_id, task=task.id, text=piece))

        async def once(request: Request) -> Completion:
            return await account.complete(
                self.client, request, told if self.aims.streamed else None
            )

        return await ask_until_it_fits(
            once, request, read, repairs=self.aims.repairs, endpoint=self.client.endpoint.url
        )

    async def close(self) -> None:
        """Close the connections, if they are its own."""
        if self._owns_client:
            await self.client.close()


def _given_in(context: Any) -> Endpoint | ModelClient | None:
    if isinstance(context, Mapping):
        context = context.get("model")
    return context if isinstance(context, (Endpoint, ModelClient)) else None

"""An agent that writes a synthesis with a language model, and says so where it could not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from pydantic import ValidationError

from plait.agents import (
    AgentContext,
    AgentCreationError,
    AgentResources,
    AgentSpecification,
    AgentTask,
    SynthesisSpecialization,
)
from plait_adapters.models.account import Account
from plait_adapters.models.agent import ModelAgent, ModelSpecialization
from plait_adapters.models.answers import Answer, Fault, parse
from plait_adapters.models.client import Completion, Message, Request
from plait_adapters.models.errors import ModelAnswerError
from plait_adapters.models.synthesis import (
    Assembled,
    CitedSentence,
    Draft,
    SynthesisTask,
    WrittenSynthesis,
    extract,
    faults_of,
    judge,
    prompt,
    prompt_for_one,
    schema_of,
)

__all__ = ["ModelSynthesisSpecialization", "ModelSynthesizer"]


class ModelSynthesisSpecialization(ModelSpecialization, SynthesisSpecialization):
    """How a model is asked, and for what kind of text."""

    simple: bool = False
    """Whether the model is so small that it can do no more than to say a sentence in its own words.
    It is then asked for one sentence at a time, each for one finding."""


class ModelSynthesizer(ModelAgent):
    """Writes one text of the findings of a `SynthesisTask`; its content is a `WrittenSynthesis`.

    A text that fails a check is asked for again, with what is wrong. If the next one fails too, the
    text is extracted from the findings instead: the content says so, names the checks that failed,
    and keeps what the model wrote.
    """

    instructions: ClassVar[str] = "You sum up findings, truly and briefly, and cite them by number."

    def __init__(self, specification: AgentSpecification, resources: AgentResources) -> None:
        if not isinstance(specification.specialization, ModelSynthesisSpecialization):
            raise AgentCreationError(
                specification.type,
                "its specialization says not what kind of text is wanted: register it with "
                "specialization=ModelSynthesisSpecialization()",
            )
        super().__init__(specification, resources)
        self.form: ModelSynthesisSpecialization = specification.specialization

    def request(self, task: AgentTask, context: AgentContext) -> Request:
        """The findings, numbered, and the form of the answer."""
        findings, aims = _findings_of(task), self.form
        return self.asking(
            prompt(findings, aims.length, aims.audience),
            schema=schema_of(findings, aims.length),
            schema_name="synthesis",
        )

    def read(self, completion: Completion, task: AgentTask) -> Draft:
        """The text, if it passes every check."""
        draft = parse(Draft, completion.text)
        faults = faults_of(draft, _findings_of(task), self.form.length)
        if faults:
            raise Fault(*faults)
        return draft

    async def ask(self, task: AgentTask, context: AgentContext, account: Account) -> Answer[Any]:
        """Ask for the text, or for a simple model sentence by sentence."""
        if not self.form.simple:
            return await super().ask(task, context, account)
        sentences: list[CitedSentence] = []
        errors: list[ModelAnswerError] = []
        answer: Answer[CitedSentence] | None = None
        findings = _findings_of(task)
        for number, finding in enumerate(findings.findings, start=1):
            request = Request(
                (Message("user", prompt_for_one(finding)),),
                max_tokens=self.aims.max_tokens,
                temperature=self.aims.temperature,
            )
            read = partial(self._one, sentences, number, findings)
            try:
                answer = await self.ask_for(request, read, task, context, account)
            except ModelAnswerError as error:
                errors.append(error)
            else:
                sentences.append(answer.value)
        if answer is None:
            raise errors[-1]
        draft = Assembled(
            sentences=tuple(sentences),
            failed=tuple(fault for error in errors for fault in error.faults),
            rejected=tuple(error.text for error in errors),
        )
        return Answer(draft, answer.completion, answer.rounds)

    def _one(
        self,
        before: Sequence[CitedSentence],
        number: int,
        findings: SynthesisTask,
        completion: Completion,
    ) -> CitedSentence:
        """The sentence for one finding, if it passes every check beside those before it."""
        try:
            sentence = CitedSentence(text=" ".join(completion.text.split()), cites=(number,))
        except ValidationError as error:
            raise Fault(f"sentence {number} is empty, or far too long") from error
        faults = faults_of(Draft(sentences=(*before, sentence)), findings, self.form.length)
        if completion.finished == "length":
            faults.append(f"sentence {number} has no end")
        if faults:
            raise Fault(*faults)
        return sentence

    def judge(self, answer: Answer[Any], task: AgentTask) -> tuple[float, str]:
        """By what can be measured of the text: `synthesis.judge`."""
        judgement = judge(answer.value.sentences, _findings_of(task))
        return judgement.quality, judgement.how

    def content(self, answer: Answer[Any], task: AgentTask) -> WrittenSynthesis:
        """The model's text."""
        findings, draft = _findings_of(task), answer.value
        left_out = draft if isinstance(draft, Assembled) else Assembled(sentences=draft.sentences)
        return WrittenSynthesis(
            title=findings.title,
            sentences=draft.sentences,
            findings=findings.findings,
            model=self._model_name(),
            by_model=True,
            failed_checks=left_out.failed,
            rejected="\n".join(left_out.rejected),
            style=self.form.style,
            citations=self.form.citations,
        )

    def without_answer(
        self, error: ModelAnswerError, task: AgentTask
    ) -> tuple[float, str, WrittenSynthesis]:
        """A text that is extracted from the findings."""
        findings = _findings_of(task)
        sentences = extract(findings, self.form.length)
        judgement = judge(sentences, findings)
        content = WrittenSynthesis(
            title=findings.title,
            sentences=sentences,
            findings=findings.findings,
            model=self._model_name(),
            by_model=False,
            failed_checks=error.faults,
            rejected=error.text,
            style=self.form.style,
            citations=self.form.citations,
        )
        return judgement.quality, f"extracted, not written: {judgement.how}", content

    def wanting(self, content: Any, task: AgentTask) -> tuple[str, ...]:
        """Findings that are not cited."""
        cited = {number for sentence in content.sentences for number in sentence.cites}
        numbers = range(1, len(_findings_of(task).findings) + 1)
        return tuple(f"finding {number} is not cited" for number in numbers if number not in cited)

    def notes(self, account: Account, content: Any) -> tuple[str, ...]:
        """Who wrote the text."""
        notes = super().notes(account, content)
        if isinstance(content, WrittenSynthesis) and not content.by_model:
            notes += (
                "The model's text failed its checks; this one is extracted from the findings: "
                + "; ".join(content.failed_checks),
            )
        return notes

    def _model_name(self) -> str:
        endpoint = self.client.endpoint
        return f"{self.client.name or 'a model'} at {endpoint.url}"


def _findings_of(task: AgentTask) -> SynthesisTask:
    if not isinstance(task.payload, SynthesisTask):
        raise TypeError(
            f"the payload of task {task.id!r} is a {type(task.payload).__name__}, and must be a "
            "SynthesisTask"
        )
    return task.payload

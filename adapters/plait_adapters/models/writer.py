"""An agent that writes a synthesis with a language model, and says so where it could not."""

from __future__ import annotations

from typing import Any, ClassVar

from plait.agents import AgentContext, AgentTask, SynthesisSpecialization
from plait_adapters.models.account import Account
from plait_adapters.models.agent import ModelAgent, ModelSpecialization
from plait_adapters.models.answers import Answer, Fault, parse, told_in_words
from plait_adapters.models.client import Completion, Message, Request
from plait_adapters.models.errors import ModelAnswerError
from plait_adapters.models.synthesis import (
    Draft,
    SynthesisTask,
    WrittenSynthesis,
    extract,
    faults_of,
    judge,
    prompt,
    schema_of,
)

__all__ = ["ModelSynthesisSpecialization", "ModelSynthesizer"]


class ModelSynthesisSpecialization(ModelSpecialization, SynthesisSpecialization):
    """How a model is asked, and for what kind of text."""


class ModelSynthesizer(ModelAgent):
    """Writes one text of the findings of a `SynthesisTask`; its content is a `WrittenSynthesis`.

    A text that fails a check is asked for again, with what is wrong. If the next one fails too, the
    text is extracted from the findings instead: the content says so, names the checks that failed,
    and keeps what the model wrote.
    """

    instructions: ClassVar[str] = "You sum up findings, truly and briefly, and cite them by number."

    aims: ModelSynthesisSpecialization

    def request(self, task: AgentTask, context: AgentContext) -> Request:
        """The findings, numbered, and the form of the answer."""
        findings = _findings_of(task)
        schema = schema_of(findings, self.aims.length)
        asked = prompt(findings, self.aims.length, self.aims.audience)
        return Request(
            (
                Message("system", f"{self.instructions}\n\n{told_in_words(schema)}"),
                Message("user", asked),
            ),
            max_tokens=self.aims.max_tokens,
            temperature=self.aims.temperature,
            schema=schema,
            schema_name="synthesis",
        )

    def read(self, completion: Completion, task: AgentTask) -> Draft:
        """The text, if it passes every check."""
        draft = parse(Draft, completion.text)
        faults = faults_of(draft, _findings_of(task), self.aims.length)
        if faults:
            raise Fault(*faults)
        return draft

    def judge(self, answer: Answer[Any], task: AgentTask) -> tuple[float, str]:
        """By what can be measured of the text: `synthesis.judge`."""
        judgement = judge(answer.value.sentences, _findings_of(task))
        return judgement.quality, judgement.how

    def content(self, answer: Answer[Any], task: AgentTask) -> WrittenSynthesis:
        """The model's text."""
        findings = _findings_of(task)
        return WrittenSynthesis(
            title=findings.title,
            sentences=answer.value.sentences,
            findings=findings.findings,
            model=self._model_name(),
            by_model=True,
            style=self.aims.style,
            citations=self.aims.citations,
        )

    def without_answer(
        self, error: ModelAnswerError, task: AgentTask
    ) -> tuple[float, str, WrittenSynthesis]:
        """A text that is extracted from the findings."""
        findings = _findings_of(task)
        sentences = extract(findings, self.aims.length)
        judgement = judge(sentences, findings)
        content = WrittenSynthesis(
            title=findings.title,
            sentences=sentences,
            findings=findings.findings,
            model=self._model_name(),
            by_model=False,
            failed_checks=error.faults,
            rejected=error.text,
            style=self.aims.style,
            citations=self.aims.citations,
        )
        return judgement.quality, f"extracted, not written: {judgement.how}", content

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

"""A run of the playground, and the document that it is saved as."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from slmlab.run.streaming import Answer
from slmlab.show import sanitize
from slmlab.widgets.conversation import Turn
from slmlab.widgets.langchain_code import conversation_code, langchain_code


@dataclass(frozen=True)
class Run:
    """An answer, and the inputs and settings that it was made with; ``turns`` lead to it."""

    answer: Answer
    values: dict[str, str]
    template: str
    system: str
    settings: dict[str, Any]
    turns: tuple[Turn, ...] = ()

    def as_markdown(self) -> str:
        """The run as a document, with a program that repeats it."""
        answer = self.answer
        about = str(answer.record) if answer.record else answer.error
        code = (
            conversation_code(answer.model, answer.prompt, answer.host, answer.options)
            if len(self.turns) > 1
            else langchain_code(
                answer.model,
                self.template,
                self.values,
                system=self.system,
                host=answer.host,
                options=answer.options,
            )
        )
        return (
            f"# {answer.model}\n\n{about}\n\n## Prompt\n\n{sanitize.prompt_text(answer.prompt)}\n\n"
            f"## Answer\n\n{answer.text}\n\n## Settings\n\n```json\n"
            f"{json.dumps(dict(answer.options), indent=1)}\n```\n\n"
            f"## Code\n\n```python\n{code}\n```\n"
        )

"""What an evaluation consists of: models, prompts, scorers, thresholds, budget; as a YAML file."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from slmlab.errors import did_you_mean
from slmlab.evaluation.scorers.reading import Scorer
from slmlab.evaluation.scorers.registry import SCORERS
from slmlab.evaluation.scorers.text import words
from slmlab.evaluation.yaml_lines import Document, Place
from slmlab.run.options import ALL_OPTIONS, full_options

TOTAL = "score"


def _several(given: Any) -> Any:
    return [given] if isinstance(given, (str, Mapping)) else given


def _short(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    return {k: {"scorer": v} if isinstance(v, str) else v for k, v in given.items()}


# One name stands for a list of one, and a scorer's name for that scorer; also in the JSON schema.
Names = Annotated[list[str], BeforeValidator(_several, json_schema_input_type=str | list[str])]
ScorerName = Annotated[str, Field(json_schema_extra={"enum": [*SCORERS]})]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NamedScorer(_Part):
    """A scorer under a name of its own."""

    model_config = ConfigDict(
        json_schema_extra={"not": {"required": ["scorer", "at_most_words"]}},
    )

    scorer: str | None = Field(
        default=None,
        description=f"A scorer's name: {', '.join(SCORERS)}. Without one, each row's own.",
        json_schema_extra={"enum": [*SCORERS, None]},
    )
    at_most_words: int | None = Field(
        default=None, ge=1, description="Instead of a scorer: the answer has at most so many words."
    )
    weight: float = Field(default=1.0, ge=0, description="Its weight in the total score.")

    @field_validator("scorer")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in SCORERS:
            raise ValueError(f"there is no scorer {name!r}.{did_you_mean(name, SCORERS)}")
        return name

    @model_validator(mode="after")
    def _one(self) -> NamedScorer:
        if self.scorer and self.at_most_words:
            raise ValueError("give either `scorer` or `at_most_words`")
        return self

    def function(self) -> str | Scorer | None:
        """What ``slmlab.score`` takes."""
        return words(self.at_most_words) if self.at_most_words else self.scorer


class Threshold(_Part):
    """What has to hold, for each model unless one is named."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["at_least"]}, {"required": ["not_worse_than"]}],
            "dependentRequired": {"margin": ["not_worse_than"]},
        }
    )

    score: str = Field(default=TOTAL, description="A scorer's name here; by default the total.")
    model: str | None = Field(default=None, description="Only for this model.")
    task: str | None = Field(default=None, description="Only on the prompts of this task set.")
    at_least: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="The lower end of the 95 % interval of the mean has to reach this.",
    )
    not_worse_than: str | None = Field(
        default=None,
        description="The answers of an earlier evaluation (answers.json). Without a margin this "
        "fails only if the model did worse by more than chance explains (sign test).",
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="With not_worse_than: the whole 95 % interval of the difference has to lie "
        "above minus this.",
    )

    @model_validator(mode="after")
    def _one(self) -> Threshold:
        if (self.at_least is None) == (self.not_worse_than is None):
            raise ValueError("a threshold has either `at_least` or `not_worse_than`")
        if self.margin is not None and self.not_worse_than is None:
            raise ValueError("`margin` belongs to `not_worse_than`")
        return self


class Budget(_Part):
    """When to stop; what was answered by then is kept, and the evaluation has failed."""

    seconds: float | None = Field(default=None, gt=0, description="Time for all answers together.")
    tokens: int | None = Field(default=None, gt=0, description="Tokens of all answers together.")


class Suite(_Part):
    """An evaluation: who answers what, how it is scored, and what has to hold."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["tasks"]}, {"required": ["prompts"]}]}
    )

    models: Names = Field(
        min_length=1, description="One model or several.", json_schema_extra={"minItems": 1}
    )
    tasks: Names = Field(
        default=[], description="Task sets by name, or table files, relative to this file."
    )
    prompts: Annotated[
        list[Any],
        BeforeValidator(_several, json_schema_input_type=str | dict[str, Any] | list[Any]),
    ] = Field(
        default=[], description="Instead of task sets: texts, or rows with a column `prompt`."
    )
    items: int | None = Field(
        default=None, ge=1, description="How many items of each task set, from the first on."
    )
    draw_seed: int | None = Field(
        default=None, ge=0, description="Draw the items at random, by this seed."
    )
    split: str = Field(default="test", description="Which split of a dataset on the hub (hf:…).")
    columns: dict[str, str] = Field(
        default={}, description="Which columns of the tables are `prompt`, `expected`, …"
    )
    template: str | None = Field(default=None, description="A template's name or text.")
    system: str | None = Field(default=None, description="A system prompt.")
    settings: dict[str, Any] = Field(
        default={},
        description="Sampling options, the same for all models: temperature, seed, …",
        json_schema_extra={
            "propertyNames": {"enum": [*ALL_OPTIONS]},
            "properties": {"stop": {}, "tools": {}},
            "additionalProperties": {"not": {"type": "array"}},
        },
    )
    think: bool = Field(default=False, description="Let models think that can.")
    repeats: int = Field(default=1, ge=1, description="Answers to each prompt.")
    scorers: Annotated[
        dict[str, NamedScorer],
        BeforeValidator(_short, json_schema_input_type=dict[str, NamedScorer | ScorerName]),
    ] = Field(
        default={},
        description="Scorers by a name of yours; without any, each row's own.",
        json_schema_extra={"propertyNames": {"not": {"pattern": f"^({TOTAL}|(.*_)?note)$"}}},
    )
    thresholds: list[Threshold] = Field(default=[], description="What has to hold.")
    budget: Budget = Field(default=Budget(), description="When to stop.")

    @field_validator("models")
    @classmethod
    def _once(cls, given: list[str]) -> list[str]:
        return [*dict.fromkeys(given)]  # as compare() asks them

    @field_validator("scorers")
    @classmethod
    def _names(cls, given: dict[str, NamedScorer]) -> dict[str, NamedScorer]:
        if TOTAL in given:
            raise ValueError(f"`{TOTAL}` is the total; give the scorer another name")
        for name in given:
            if name == "note" or name.endswith("_note"):
                raise ValueError(f"{name!r} is the name of a column of notes; choose another")
        if given and not any(one.weight for one in given.values()):
            raise ValueError("all weights are 0, so there is no total")
        return given

    @field_validator("settings")
    @classmethod
    def _options(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name, value in given.items():
            if name not in ("stop", "tools") and isinstance(value, list):
                raise ValueError(f"`{name}` has one value here; slmlab.compare() takes several")
        full_options(given)
        return given

    @model_validator(mode="after")
    def _complete(self) -> Suite:
        if bool(self.tasks) == bool(self.prompts):
            raise ValueError("give either `tasks` or `prompts`")
        return self


def suite_of(document: Document) -> Suite:
    """The evaluation in a file.

    Raises:
        FileError: something in it is unknown, missing or impossible; the message names the line.
    """
    if not isinstance(document.value, dict):
        raise document.error((), "an evaluation is an object with keys: `models: …`, `tasks: …`.")
    try:
        suite = Suite.model_validate(document.value)
    except ValidationError as error:
        # A misspelt key, before the one that is missing for it.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        place: Place = tuple(first["loc"])
        raise document.error(place, _sentence(first, place)) from error
    for number, one in enumerate(suite.thresholds):
        if one.score not in (known := [TOTAL, *suite.scorers]):
            hint = did_you_mean(one.score, known)
            raise document.error(
                ("thresholds", number, "score"), f"no scorer is named {one.score!r} here.{hint}"
            )
        if one.model is not None and one.model not in suite.models:
            hint = did_you_mean(one.model, suite.models)
            raise document.error(
                ("thresholds", number, "model"), f"{one.model!r} is not among the models.{hint}"
            )
    return suite


def _sentence(error: Any, place: Place) -> str:
    """What pydantic found, as a sentence."""
    name = next((str(one) for one in reversed(place) if isinstance(one, str)), "")
    if error["type"] == "extra_forbidden":
        known = _fields(place[:-1])
        return (
            f"there is no key {name!r} here.{did_you_mean(name, known)} Keys: {', '.join(known)}."
        )
    if error["type"] == "missing":
        return f"{name!r} is missing."
    message = str(error["msg"]).removeprefix("Value error, ").removesuffix(".")
    message = message[0].lower() + message[1:]
    given = error["input"]
    if isinstance(given, (int, float)) or (isinstance(given, str) and given not in message):
        message += f"; it is {textwrap.shorten(repr(given), 60, placeholder=' …')}"
    if not message.endswith("?"):
        message += "."
    return f"{name}: {message}" if name else message


def _fields(place: Place) -> list[str]:
    parts: dict[str | int, type[_Part]] = {
        "thresholds": Threshold,
        "scorers": NamedScorer,
        "budget": Budget,
    }
    return [*parts.get(place[0] if place else "", Suite).model_fields]

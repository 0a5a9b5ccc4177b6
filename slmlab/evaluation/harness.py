"""Tasks of lm-evaluation-harness, written in YAML, as task sets."""

from __future__ import annotations

import ast
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import PromptError
from slmlab.evaluation import benchmarks
from slmlab.evaluation.harness_task import Task
from slmlab.run.tables import frame_of, read_table, records

if TYPE_CHECKING:
    import pandas as pd

READ = {
    *("task", "include", "dataset_path", "dataset_name", "dataset_kwargs", "output_type"),
    *("test_split", "validation_split", "training_split", "fewshot_split", "fewshot_config"),
    *("doc_to_text", "doc_to_target", "doc_to_choice", "description", "num_fewshot"),
    *("target_delimiter", "fewshot_delimiter", "generation_kwargs", "filter_list", "metric_list"),
}
# These change no prompt and no score.
IDLE = {
    *("task_alias", "tag", "group", "group_alias", "metadata", "batch_size"),
    *("should_decontaminate", "doc_to_decontamination_query"),
}
# Without these it would be another task.
NEEDED = ("process_docs", "process_results", "use_prompt", "custom_dataset", "class", "formats")
# What is done to an answer, and what of it does not count: see the scorer ``exact_match``.
FILTERS = ("regex", "remove_whitespace", "lowercase", "uppercase", "take_first", "noop")
IGNORED = ("ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore")
FILES = {"json", "csv", "parquet"}
LONGEST = 256  # tokens of an answer, where the task does not say


def load(path: Path) -> tuple[pd.DataFrame, str, str]:
    """The items of a task, its name, and a sentence on what of it is not read, with lines.

    Read are ``multiple_choice``, as ``slmlab.likelihood.multiple_choice`` takes it, and
    ``generate_until``, scored by ``exact_match`` with the first of its filter pipelines that can be
    read. Examples before a question are drawn by a seed of ours, so they are not those that the
    harness draws.

    Raises:
        FileError: the file cannot be read, or needs Python code; the message names the line.
        TaskError: its dataset cannot be loaded.
        PromptError: a table file cannot be read.
    """
    task = Task(path)
    for key in NEEDED:
        if task.values.get(key) is not None:
            raise task.error(key, f"{key!r} needs lm-evaluation-harness itself.")
    for key, value in task.values.items():
        if key not in READ | IDLE | {*NEEDED} and not (key == "repeats" and value == 1):
            task.leave_out(f"the key {key!r}", key)
    kind = task.values.get("output_type", "generate_until")
    if kind not in ("generate_until", "multiple_choice"):
        raise task.error(
            "output_type", f"{kind!r} is not read here, only generate_until and multiple_choice."
        )
    if isinstance(task.values.get("task"), list):
        raise task.error("task", "it is a group of tasks; load the file of each of them.")
    for key in ("dataset_path", "doc_to_text", "doc_to_target"):
        if task.values.get(key) is None:
            raise task.error(key, f"the task has no {key}.")
    docs, split = _docs(task, path)
    examples = _examples(task, path, docs, split)
    known = ("exact_match",) if kind == "generate_until" else ("acc", "acc_norm")
    metrics = task.parts("metric_list", task.values.get("metric_list"))
    for number, one in enumerate(metrics):
        if one.get("metric") not in known:
            task.leave_out(f"the metric {one.get('metric')!r}", "metric_list", number)
    more = _scored(task, metrics) if kind == "generate_until" else {}
    rows = []
    for number, doc in enumerate(docs):
        row = {"prompt": _prompt(task, doc, number, examples), **more}
        if kind == "multiple_choice":
            choices = _choices(task, doc)
            place = _place(task, doc, choices)
            row |= {"expected": choices[place], "labels": choices, "scorer": "label"}
            row["before"] = task.values.get("target_delimiter", " ")
        else:
            row["expected"] = _target(task, doc)
        rows.append(row)
    left_out = f"Left out of {path.name}: {'; '.join(task.notes)}." if task.notes else ""
    return frame_of(rows), str(task.values.get("task") or path.stem), left_out


def _docs(task: Task, path: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of the split that is tested, and its name."""
    given = task.values
    split = given.get("test_split") or given.get("validation_split") or given.get("training_split")
    if not split:
        raise task.error("task", "the task has no test_split and no validation_split.")
    docs = _split(task, path, str(split))
    if not docs:
        raise task.error("dataset_path", f"the split {split!r} has no rows.")
    return docs, str(split)


def _split(task: Task, path: Path, split: str) -> list[dict[str, Any]]:
    source, configuration = str(task.values["dataset_path"]), task.values.get("dataset_name")
    if source not in FILES:
        name = source if configuration is None else f"{source}/{configuration}"
        return records(benchmarks.from_hub(f"{benchmarks.HUB}{name}", split))
    files = task.part("dataset_kwargs").get("data_files")
    if isinstance(files, dict):
        if split not in files:
            raise task.error("dataset_kwargs", f"data_files has no split {split!r}.")
        files = files[split]
    if not files:
        raise task.error("dataset_kwargs", f"{source} takes `data_files`, the path of a file.")
    docs: list[dict[str, Any]] = []
    for file in [files] if isinstance(files, str) else files:
        try:
            docs += records(read_table(path.parent / Path(str(file)).expanduser()))
        except PromptError as error:
            raise task.error("dataset_kwargs", str(error)) from error
    return docs


def _examples(
    task: Task, path: Path, docs: list[dict[str, Any]], split: str
) -> list[dict[str, Any]]:
    """The rows that examples before a question come from."""
    count, config = task.values.get("num_fewshot") or 0, task.part("fewshot_config")
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise task.error("num_fewshot", f"num_fewshot is a number of examples; got {count!r}.")
    if not count:
        return []
    known = {"sampler", "split", "samples"}
    for key in config:
        if key not in known:
            task.leave_out(f"fewshot_config's {key!r}", "fewshot_config", key)
    given = config.get("samples")
    if isinstance(given, list):
        examples = [one for one in given if isinstance(one, dict)]
    else:
        names = (config.get("split"), task.values.get("fewshot_split"))
        more = (task.values.get("training_split"), task.values.get("validation_split"), split)
        name = next(str(one) for one in (*names, *more) if one)
        examples = docs if name == split else _split(task, path, name)
    if len(examples) < count + (examples is docs):
        raise task.error(
            "num_fewshot", f"there are only {len(examples)} rows for {count} examples."
        )
    return examples


def _prompt(
    task: Task, doc: Mapping[str, Any], number: int, examples: Sequence[dict[str, Any]]
) -> str:
    """The description, the examples with their answers, and the question."""
    text = str(task.filled("doc_to_text", doc))
    count, config = task.values.get("num_fewshot") or 0, task.part("fewshot_config")
    between = str(task.values.get("fewshot_delimiter", "\n\n"))
    before = str(task.values.get("target_delimiter", " "))
    others = [one for one in examples if one is not doc]
    if count and config.get("sampler") != "first_n":
        others = random.Random(number).sample(others, count)  # noqa: S311  no secret
    shown = [
        f"{task.filled('doc_to_text', one)}{before}{_answer(task, one)}{between}"
        for one in others[:count]
    ]
    return f"{task.filled('description', doc) or ''}{''.join(shown)}{text}"


def _answer(task: Task, doc: Mapping[str, Any]) -> str:
    if task.values.get("doc_to_choice") is None:
        target = _target(task, doc)
        return target if isinstance(target, str) else target[0]
    choices = _choices(task, doc)
    return choices[_place(task, doc, choices)]


def _target(task: Task, doc: Mapping[str, Any]) -> str | list[str]:
    """The right answer, or several that are right; a template may write these as a list."""
    target = task.filled("doc_to_target", doc)
    if isinstance(target, str) and task.values["doc_to_target"] not in doc:
        texts = _literal(target) if target.startswith("[") and target.endswith("]") else None
        if isinstance(texts, list) and all(isinstance(one, str) for one in texts):
            target = texts or target
    if isinstance(target, list) and target:
        return [str(one) for one in target]
    return str(target)


def _choices(task: Task, doc: Mapping[str, Any]) -> list[str]:
    choices = task.filled("doc_to_choice", doc)
    if isinstance(choices, str):
        choices = _literal(choices)
    if not isinstance(choices, list) or len(choices) < 2:
        raise task.error("doc_to_choice", f"doc_to_choice is no list of choices for {doc!r:.200}.")
    return [str(one) for one in choices]


def _literal(text: str) -> Any:
    """The value that a text is in Python's notation; None for any other text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _place(task: Task, doc: Mapping[str, Any], choices: Sequence[str]) -> int:
    """Which choice is right."""
    target = task.filled("doc_to_target", doc)
    # As in the harness, digits that a template writes are a position, even among numbers.
    is_column = task.values["doc_to_target"] in doc
    if isinstance(target, str) and target.strip().isdecimal():
        target = target if is_column and target.strip() in choices else int(target)
    if isinstance(target, str) and target.strip() in choices:
        return choices.index(target.strip())
    if isinstance(target, int) and 0 <= target < len(choices):
        return int(target)
    raise task.error("doc_to_target", f"{target!r} is not one of {list(choices)}, nor its number.")


def _scored(task: Task, metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What ``exact_match`` needs: where answers end, how long they may be, and the filters."""
    given = task.part("generation_kwargs")
    until = given.get("until", task.values.get("fewshot_delimiter", "\n\n")) or []
    until = [until] if isinstance(until, str) else until
    longest = given.get("max_gen_toks", LONGEST)
    if not isinstance(until, list) or not all(isinstance(one, str) for one in until):
        raise task.error("generation_kwargs", f"until is a text or a list of texts; got {until!r}.")
    if isinstance(longest, bool) or not isinstance(longest, int) or longest < 1:
        raise task.error(
            "generation_kwargs", f"max_gen_toks is a number of tokens; got {longest!r}."
        )
    for key in given:
        if key not in ("until", "max_gen_toks") and given[key] not in (False, 0):
            task.leave_out(f"generation_kwargs' {key!r}", "generation_kwargs", key)
    extract: dict[str, Any] = {"until": [one for one in until if one]}
    filters = _filters(task)
    if filters is not None:
        extract["filters"] = filters
    extract |= _ignored(task, metrics)
    return {"scorer": "exact_match", "extract": extract, "num_predict": longest}


def _filters(task: Task) -> list[dict[str, Any]] | None:
    """The steps of the first pipeline that can be read; None if there is none."""
    used = None
    for number, pipeline in enumerate(task.parts("filter_list", task.values.get("filter_list"))):
        given = task.parts("filter_list", pipeline.get("filter"))
        steps = [_step(one) for one in given]
        if used is not None or not all(step.get("function") in FILTERS for step in steps):
            name = pipeline.get("name", number)
            task.leave_out(f"the filter pipeline {name!r}", "filter_list", number)
            continue
        used = steps
        for place, step in enumerate(steps):
            if step["function"] == "regex" and (pattern := step.get("regex_pattern")):
                inner = ["filter", place, *(() if "regex_pattern" in given[place] else ("kwargs",))]
                task.check_pattern(pattern, "filter_list", number, *inner, "regex_pattern")
    return used


def _step(given: Mapping[str, Any]) -> dict[str, Any]:
    """A filter, whose arguments may stand beside its name or in ``kwargs``."""
    more = given.get("kwargs")
    rest = {key: value for key, value in given.items() if key != "kwargs"}
    return rest | (more if isinstance(more, dict) else {})


def _ignored(task: Task, metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What ``exact_match`` ignores."""
    if not metrics:
        return {}
    places = [n for n, one in enumerate(metrics) if one.get("metric") == "exact_match"]
    if not places:
        raise task.error("metric_list", "none of its metrics is read here; exact_match is.")
    metric = metrics[places[0]]
    ignored = metric.get("regexes_to_ignore")
    for pattern in ignored if isinstance(ignored, list) else ():
        task.check_pattern(pattern, "metric_list", places[0], "regexes_to_ignore")
    return {key: metric[key] for key in IGNORED if metric.get(key)}

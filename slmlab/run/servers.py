"""The servers of a comparison: those that share its work, and the engines that it compares."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from slmlab import models
from slmlab.engines import server
from slmlab.engines.address import is_local, read_address, server_key, speaks_openai
from slmlab.engines.server_errors import version_at
from slmlab.errors import ModelError, PromptError, SlmlabError
from slmlab.run.grid import Cell
from slmlab.run.images import need_vision
from slmlab.run.logprobs import need_logprobs
from slmlab.run.target import Target, need_options, resolve_target
from slmlab.run.tools import need_tools

Targets = dict[tuple[str, str], Target]


def addresses(host: str | Sequence[str] | None, hosts: str | Sequence[str] | None) -> list[str]:
    """The servers of a comparison, each once.

    Raises:
        PromptError: both arguments are given, or there is no server in them.
        ServerError: one is no address.
    """
    if host is not None and hosts is not None:
        raise PromptError("compare() takes host=… or hosts=…, which mean the same; give only one.")
    given = hosts if host is None else host
    if given is None or isinstance(given, str) or not isinstance(given, Iterable):
        return [server.address_of(given)]
    servers: dict[str, str] = {}
    for address in map(read_address, given):
        # Two names of one server would give it two lanes, which would run at the same time.
        servers.setdefault(server_key(address), address)
    if not servers:
        raise PromptError("hosts=[] contains no server; omit it to use slmlab.server.host().")
    return [*servers.values()]


def of_one_engine(host: str | Sequence[str] | None) -> str | Sequence[str] | None:
    """The servers, checked, for work whose answers are put together whatever engine they came from.

    Raises:
        PromptError: they run several engines.
        ServerError: one does not answer.
    """
    several = addresses(host, None) if host is not None and not isinstance(host, str) else []
    engines = dict.fromkeys(str(version_at(one).get("engine", "ollama")) for one in several)
    if len(engines) > 1:
        raise PromptError(
            f"These servers run {' and '.join(engines)}, and this takes one engine. Only compare() "
            "lets several engines answer."
        )
    return host


def on_engines(
    cells: Sequence[Cell], servers: Sequence[str], logprobs: int
) -> tuple[list[Cell], Targets, dict[str, list[str]]]:
    """The cells for each engine, what each server says of each model, and each engine's servers.

    Servers of one engine share the work. What they say is asked for once and not for each cell. Of
    several engines some may not take all options, and then their records say which; one alone has
    to take all. Several servers of one program that speak only OpenAI's API count as engines of
    their own, each for the models that no other of them has: usually one each.

    Raises:
        ModelError: a server lacks a model, or has another one than its engine's first.
        PromptError: an engine cannot do what is asked.
    """
    num_ctx = {cell.model: cell.options["num_ctx"] for cell in reversed(cells)}
    targets = _targets(num_ctx, servers)
    programs = {host: _program(targets, host) for host in servers}
    engines: dict[str, list[str]] = {}
    for host in servers:
        engine = programs[host]
        if speaks_openai(host) and [*programs.values()].count(engine) > 1:
            engine = f"{engine} at {host}"
        engines.setdefault(engine, []).append(host)
        for name in num_ctx:
            if (host, name) in targets:
                _check_same(targets[host, name], targets[engines[engine][0], name])
    if len(engines) > 1:
        cells = [
            replace(cell, engine=engine)
            for engine, (host, *_) in engines.items()
            for cell in cells
            if (host, cell.model) in targets
        ]
    firsts = [hosts[0] for hosts in engines.values()]
    same_program = len({*programs.values()}) == 1
    for one in targets.values() if logprobs else ():
        need_logprobs(one.engine, one.engine_version, one.host)
    for cell in cells:
        host = engines[cell.engine][0] if cell.engine else firsts[0]
        need_vision(cell.prompt, cell.model, host)
        need_tools(cell.options, cell.model, host)
        if same_program:
            need_options(targets[host, cell.model], dict(cell.options))
    return [*cells], targets, engines


def _program(targets: Targets, host: str) -> str:
    return next(one.engine for (of, _), one in targets.items() if of == host)


def _targets(num_ctx: Mapping[str, int], servers: Sequence[str]) -> Targets:
    """What each server says of each model; of several of OpenAI's API each for its own models."""
    several = [host for host in servers if speaks_openai(host)]
    targets: Targets = {}
    lacking: dict[tuple[str, str], ModelError] = {}
    for host, name in itertools.product(servers, num_ctx):
        try:
            targets[host, name] = resolve_target(name, num_ctx[name], host)
        except ModelError as error:
            if len(several) < 2 or host not in several:
                raise
            lacking[host, name] = error
    for host in several:
        if all((host, name) in lacking for name in num_ctx):
            raise lacking[host, next(iter(num_ctx))]
    programs = {host: _program(targets, host) for host in several}
    for program, name in itertools.product({*programs.values()}, num_ctx):
        group = [host for host, of in programs.items() if of == program]
        having = [host for host in group if (host, name) in targets]
        if not having:
            raise lacking[group[0], name]
        if len(having) > 1:
            raise ModelError(
                f"{' and '.join(having)} both have a model {name!r}, and both are {program}, so no "
                "table could tell their answers apart. Start one of them with another name for it: "
                "llama-server takes one as --alias, vLLM as --served-model-name."
            )
    return targets


def _check_same(found: Target, first: Target) -> None:
    if any(
        getattr(found, name) != getattr(first, name)
        for name in ("digest", "engine", "engine_version")
    ):
        raise ModelError(
            f"{found.model} at {found.host} differs from the one at {first.host} (model "
            f"{found.digest[:12]} on {found.engine} {found.engine_version}, there "
            f"{first.digest[:12]} on {first.engine} {first.engine_version}). Servers of one engine "
            "share a comparison, and need the same models and versions."
        )


def unload_all(hosts: Iterable[str]) -> None:
    """Free the memory of this machine that servers hold, as far as they can be asked to."""
    for host in hosts:
        if is_local(host) and not speaks_openai(host):
            with contextlib.suppress(SlmlabError):
                for one in models.loaded(host=host):
                    models.unload(one.name, host=host)

"""A Dask cluster on this machine, as an executor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor

import pytest


@contextlib.contextmanager
def dask_executor(workers: int) -> Iterator[Executor]:
    """An executor of so many worker processes; the test is skipped without Dask."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()

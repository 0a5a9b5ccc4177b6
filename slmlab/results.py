"""Records as tables: a DataFrame of generations, and its summary by model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from slmlab.generation import Generation

TABLE_COLUMNS = {
    "model": "model",
    "engine": "engine",
    "ttft_s": "first token (s)",
    "tokens_per_s": "tokens/s",
    "tokens": "tokens",
    "wall_s": "seconds",
    "stop_reason": "stop",
}


def to_frame(records: Iterable[Generation]) -> pd.DataFrame:
    """One row for each generation, with every field of the record as a column."""
    import pandas as pd

    return pd.DataFrame([record.to_dict() for record in records])


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that people read, rounded, with an error in place of the stop reason."""
    short = frame.copy()
    failed = short["error"].notna()
    short.loc[failed, "stop_reason"] = "failed"
    short = short[list(TABLE_COLUMNS)].rename(columns=TABLE_COLUMNS)
    return short.round({"first token (s)": 2, "tokens/s": 1, "seconds": 1})


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each model: median and range of speed and time to first token over its runs.

    Columns: ``runs``, ``failed``, then for ``tokens_per_s`` and ``ttft_s`` the median, min and max,
    ``load_s`` (seconds to load the model, measured once) and ``cut`` (answers that reached the
    length limit). Failed and cold runs count in no speed.
    """
    import pandas as pd

    rows = []
    for model, runs in frame.groupby("model", sort=False):
        good = runs[runs["error"].isna() & ~runs["cold"]]
        row = {"model": model, "runs": len(runs), "failed": int(runs["error"].notna().sum())}
        for column in ("tokens_per_s", "ttft_s"):
            values = good[column].dropna().astype(float)
            row[column] = values.median()
            row[f"{column}_min"], row[f"{column}_max"] = values.min(), values.max()
        row["model_load_s"] = runs["model_load_s"].max() if "model_load_s" in runs else None
        row["cut"] = int((good["stop_reason"] == "length").sum())
        rows.append(row)
    return pd.DataFrame(rows)

"""Votes that others are casting just now, read again and again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import ResultsError
from slmlab.evaluation.votes import COLUMNS, vote_files, votes_in

if TYPE_CHECKING:
    import pandas as pd


class VoteReader:
    """The votes in files, or in folders where each voter writes a file, whatever the others do.

    Only files that changed are read again. What cannot be read becomes a sentence in ``problems``,
    and everything else still counts. A vote counts once, also if a drive made a copy of its file.
    """

    def __init__(self, *paths: str | Path) -> None:
        self.paths = paths
        self.problems: list[str] = []
        self._read: dict[Path, tuple[tuple[int, int], list[dict[str, Any] | ResultsError]]] = {}

    def update(self) -> bool:
        """Read what has changed; returns whether anything did."""
        before = {path: stamp for path, (stamp, _) in self._read.items()}, self.problems
        self.problems = []
        read = {}
        try:
            files = vote_files(*self.paths)
        except ResultsError as error:
            files, read = [], self._read
            self.problems.append(str(error))
        for path in files:
            try:
                status = path.stat()
                stamp = status.st_size, status.st_mtime_ns
                known = self._read.get(path)
                read[path] = known if known and known[0] == stamp else (stamp, [*votes_in(path)])
            except FileNotFoundError:
                continue
            except (OSError, ResultsError) as error:
                self.problems.append(str(error))
                if path in self._read:
                    read[path] = self._read[path]
        self._read = read
        self.problems += [
            str(one) for _, votes in read.values() for one in votes if isinstance(one, ResultsError)
        ]
        return ({path: stamp for path, (stamp, _) in read.items()}, self.problems) != before

    @property
    def frame(self) -> pd.DataFrame:
        """The votes as ``read_votes`` gives them."""
        import pandas as pd

        votes = {
            one["id"]: one
            for _, found in self._read.values()
            for one in found
            if not isinstance(one, ResultsError)
        }
        return pd.DataFrame(votes.values(), columns=COLUMNS)

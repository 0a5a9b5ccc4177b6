"""The progress bar of a comparison."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from slmlab.run.record import Generation
from slmlab.terminal import printable


class Progress:
    """One line: cells done, the running model, the time left, and the tokens and energy so far."""

    def __init__(self, total: int, before: int, folder: Path, quiet: bool) -> None:
        self.tokens = 0
        self.joules: float | None = None
        self.description = ""
        self.failed: list[str] = []
        self.bar: Any = None
        self.quiet, self.total = quiet, total
        if quiet:
            return
        if before:
            print(
                f"{before} of {total} cells were measured before (in {folder}; "
                "fresh=True measures them again)."
            )
        if before < total:
            self._open(before)

    def _open(self, before: int) -> None:
        from tqdm.auto import tqdm

        self.bar = tqdm(
            total=self.total, initial=before, unit="cell", file=sys.stdout, mininterval=0.5
        )

    def show(self, description: str) -> None:
        """Describe the current step."""
        if self.bar is not None and description != self.description:
            self.description = description
            self.bar.set_description_str(printable(description))

    def more(self, cells: int) -> None:
        """Cells that came to the plan."""
        if not cells or self.quiet:
            return
        before, self.total = self.total, self.total + cells
        if self.bar is not None:
            self.bar.total = self.total
        else:  # all others were measured before
            self._open(before)

    def step(self, record: Generation) -> None:
        """Count one finished cell."""
        self.tokens += record.prompt_tokens + record.tokens
        if record.error is not None:
            self.failed.append(record.error)
        if record.energy_j is not None:
            self.joules = (self.joules or 0.0) + record.energy_j
        if self.bar is not None:
            energy = f", {self.joules:.0f} J" if self.joules is not None else ""
            self.bar.set_postfix_str(f"{self.tokens:,} tokens{energy}", refresh=False)
            self.bar.update()

    def tick(self) -> None:
        """Update the clock while nothing finishes; not where that would fill a log file."""
        if self.bar is not None and sys.stdout.isatty():
            self.bar.refresh()

    def close(self) -> None:
        """Finish; the line stays, and below it stands what failed."""
        if self.bar is not None:
            self.bar.close()
            if self.failed:
                print(printable(f"Cells that failed: {len(self.failed)}. {self.failed[0]}"))

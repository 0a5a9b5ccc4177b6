"""How llama.cpp's threads wait for each other: they spin first, or sleep where models share cores.

They synchronize several hundred times for each token. A thread that spins goes on soonest; but
where several models have more threads than there are cores, it blocks a core for the very thread
that it waits for. Measured on two cores, two SmolLM2 at once, together: 116 tokens/s if threads
sleep, 96 after 300 spins, 50 with the default.

GNU's OpenMP decides anew at each wait: "If there are more OpenMP threads than available CPUs, […]
100 spins are used" (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html). So a
team of idle threads, one more than there are cores, makes all others of the process sleep soon.
"""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path

# What the engine writes to a worker to have its threads sleep, or spin again.
SLEEP, SPIN = "sleep\n", "spin\n"


class WaitingThreads:
    """Lets the threads of this process spin, as they do at first, or sleep almost at once."""

    def __init__(self) -> None:
        self._idle_team: threading.Event | None = None

    def sleep(self, wanted: bool) -> None:
        """Let them sleep, or spin again. Without GNU's OpenMP this does nothing."""
        if wanted and self._idle_team is None and (library := _gnu_openmp()):
            self._idle_team = threading.Event()
            threading.Thread(target=_hold, args=(library, self._idle_team), daemon=True).start()
        elif not wanted and self._idle_team:
            self._idle_team.set()
            self._idle_team = None


def _hold(library: ctypes.CDLL, end: threading.Event) -> None:
    """Start a team that does nothing; it belongs to this thread, and ends with it."""
    from slmlab import hardware  # few models ever need it, and it takes as long as all the rest

    nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)
    threads = ctypes.c_uint(hardware.usable_cores() + 1)
    library.GOMP_parallel(nothing, None, threads, ctypes.c_uint(0))
    end.wait()


def _gnu_openmp() -> ctypes.CDLL | None:
    """GNU's OpenMP library where this process has loaded it, under whatever name."""
    try:
        mapped = Path("/proc/self/maps").read_text().splitlines()
        return next((ctypes.CDLL(line.split()[-1]) for line in mapped if "libgomp" in line), None)
    except OSError:  # not Linux
        return None

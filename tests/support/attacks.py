"""Runs code in slmlab's sandbox, and says what came of it; a script, for any user and any kernel.

Reads JSON from standard input: ``codes`` by name; and ``refuse``, pairs of a system call's number
and the first argument (or null) that the kernel shall refuse, as an older one or a container does.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import struct
import sys
from pathlib import Path
from types import ModuleType


def the_sandbox() -> ModuleType:
    """``slmlab.evaluation.code_runner``, without the packages that slmlab needs."""
    path = Path(__file__).parents[2] / "slmlab/evaluation/code_runner.py"
    spec = importlib.util.spec_from_file_location("code_runner", path)
    assert spec
    assert spec.loader
    module = sys.modules["code_runner"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refuse(calls: list[tuple[int, int | None]]) -> None:
    """Have the kernel answer these calls as if it did not know them."""
    program: list[tuple[int, int, int, int]] = []
    for number, first in calls:
        program += [(0x20, 0, 0, 0), (0x15, 0, 1 if first is None else 3, number)]
        if first is not None:
            program += [(0x20, 0, 0, 16), (0x15, 0, 1, first)]
        program.append((0x06, 0, 0, 0x00050000 | 38))
    program.append((0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    packed = struct.pack("@HP", len(program), ctypes.addressof(code))
    libc, zero = ctypes.CDLL(None, use_errno=True), ctypes.c_ulong(0)
    libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero)
    if libc.prctl(22, ctypes.c_ulong(2), ctypes.c_char_p(packed), zero, zero):
        raise OSError(ctypes.get_errno(), "no seccomp filter")


def main() -> None:
    """Run each of the codes."""
    code_runner = the_sandbox()
    job = json.load(sys.stdin)
    if job["refuse"]:
        refuse(job["refuse"])
    found = {}
    for name, code in job["codes"].items():
        try:
            result = code_runner.run_tests(code, "", seconds=20)
            found[name] = "passed" if result.passed else result.why
        except (code_runner.Unconfined, code_runner.NoWriting) as error:
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()

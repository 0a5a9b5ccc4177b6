"""A file system as some network drives are: slow, without locks, and now and then away.

It is a real one (FUSE), over a folder of this machine. ``mounted`` serves it from a process of its
own, so that a test which ends badly leaves nothing that hangs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def mounted(folder: Path, behind: Path, delay: float) -> Iterator[subprocess.Popen]:
    """The drive, mounted at ``folder``; each operation takes ``delay`` seconds.

    Raises:
        OSError: there is no FUSE here, or no right to use it.
    """
    behind.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    command = [sys.executable, __file__, str(folder), str(behind), str(delay)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 20
        while not os.path.ismount(folder):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise OSError(f"no network drive here: {process.stderr.read().decode()[-300:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        subprocess.run(["umount", "-l", str(folder)], capture_output=True)


def main() -> None:
    """Serve until unmounted or killed."""
    import mfusepy

    folder, behind, delay = sys.argv[1], sys.argv[2], float(sys.argv[3])

    class Drive(mfusepy.Operations):
        use_ns = True

        def _behind(self, path: str) -> str:
            time.sleep(delay)
            return behind + path

        def getattr(self, path, fh=None):
            found = os.lstat(self._behind(path))
            names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size")
            times = {f"st_{one}time": getattr(found, f"st_{one}time_ns") for one in "amc"}
            return {name: getattr(found, name) for name in names} | times

        def statfs(self, path):
            found = os.statvfs(self._behind(path))
            return {name: getattr(found, name) for name in dir(found) if name.startswith("f_")}

        def readdir(self, path, fh):
            return [".", "..", *os.listdir(self._behind(path))]

        def mkdir(self, path, mode):
            os.mkdir(self._behind(path), mode)

        def rmdir(self, path):
            os.rmdir(self._behind(path))

        def unlink(self, path):
            os.unlink(self._behind(path))

        def rename(self, old, new):
            os.rename(self._behind(old), behind + new)

        def chmod(self, path, mode):
            os.chmod(self._behind(path), mode)

        def utimens(self, path, times=None):
            os.utime(self._behind(path), ns=times)

        def truncate(self, path, length, fh=None):
            os.truncate(self._behind(path), length)

        def create(self, path, mode, fi=None):
            return os.open(self._behind(path), os.O_CREAT | os.O_RDWR, mode)

        def open(self, path, flags):
            # The kernel says where each piece goes, also of what is appended.
            return os.open(self._behind(path), flags & ~os.O_APPEND)

        def read(self, path, size, offset, fh):
            self._behind(path)
            return os.pread(fh, size, offset)

        def write(self, path, data, offset, fh):
            self._behind(path)
            return os.pwrite(fh, data, offset)

        def flush(self, path, fh):
            return 0

        def release(self, path, fh):
            os.close(fh)

        def flock(self, path, fh, op):
            raise mfusepy.FuseOSError(errno.ENOLCK)

        def lock(self, path, fh, cmd, lock):
            raise mfusepy.FuseOSError(errno.ENOLCK)

        def symlink(self, path, target):
            raise mfusepy.FuseOSError(errno.EPERM)

        def link(self, path, target):
            raise mfusepy.FuseOSError(errno.EPERM)

    mfusepy.FUSE(Drive(), folder, foreground=True)


if __name__ == "__main__":
    main()

"""Confine a process of Linux to computing: no network, no other processes, no files of others.

Two of the kernel's own means are used, which need no privileges and work for root too. A seccomp
filter lets through only the system calls that are listed here; none of them makes a socket, a
process or a signal to another process, whatever the kernel offers. Landlock (Linux 6.2 or newer)
confines writing to one folder, and hides the memory and environments of other processes. Without
Landlock the filter lets nothing be written at all.

Both hold until the process ends, and it cannot lift them.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

# Calls on the process itself and on files that are open: their numbers on x86_64 and aarch64.
_HARMLESS = """
read 0 63, write 1 64, close 3 57, fstat 5 80, lseek 8 62, mmap 9 222, mprotect 10 226,
munmap 11 215, brk 12 214, rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139,
rt_sigtimedwait 128 137, rt_sigpending 127 136, rt_sigsuspend 130 133, sigaltstack 131 132,
pread64 17 67, pwrite64 18 68, readv 19 65, writev 20 66, preadv 295 69, pwritev 296 70,
preadv2 327 286, pwritev2 328 287, sched_yield 24 124, mremap 25 216, msync 26 227, mincore 27 232,
madvise 28 233, dup 32 23, dup3 292 24, nanosleep 35 101, getitimer 36 102, setitimer 38 103,
getpid 39 172, sendfile 40 71, exit 60 93, exit_group 231 94, uname 63 160, fsync 74 82,
fdatasync 75 83, ftruncate 77 46, fallocate 285 47, getcwd 79 17, chdir 80 49, fchdir 81 50,
getdents64 217 61, readlinkat 267 78, gettimeofday 96 169, getrlimit 97 163, getrusage 98 165,
sysinfo 99 179, times 100 153, getuid 102 174, getgid 104 176, geteuid 107 175, getegid 108 177,
getppid 110 173, getpgid 121 155, getsid 124 156, getpriority 140 141, getgroups 115 158,
getresuid 118 148, getresgid 120 150, umask 95 166, futex 202 98, sched_getaffinity 204 123,
sched_getparam 143 121, sched_getscheduler 145 120, set_tid_address 218 96, clock_gettime 228 113,
clock_getres 229 114, clock_nanosleep 230 115, epoll_create1 291 20, epoll_ctl 233 21,
epoll_pwait 281 22, eventfd2 290 19, pipe2 293 59, getrandom 318 278, membarrier 324 283,
rseq 334 293, set_robust_list 273 99, gettid 186 178, statx 332 291, newfstatat 262 79,
faccessat 269 48, faccessat2 439 439, statfs 137 43, fstatfs 138 44, pselect6 270 72, ppoll 271 73,
getcpu 309 168, restart_syscall 219 128, close_range 436 436, copy_file_range 326 285,
recvfrom 45 207, stat 4 -, lstat 6 -, poll 7 -, select 23 -, access 21 -, pipe 22 -, dup2 33 -,
alarm 37 -, getdents 78 -, readlink 89 -, time 201 -, epoll_wait 232 -, epoll_create 213 -,
eventfd 284 -, arch_prctl 158 -, getpgrp 111 -
"""
# Calls that change folders: Landlock says which.
_CHANGES = """
mkdir 83 -, mkdirat 258 34, rmdir 84 -, unlink 87 -, unlinkat 263 35, rename 82 -, renameat 264 38,
renameat2 316 276
"""
# Calls that are let through with some values of an argument: its position, then the values.
_FCNTL = (0, 1, 2, 3, 4, 1030)  # duplicate, get and set flags; neither owners, signals nor locks
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal, how wide; blocking
_STREAM = (1, 1 | 0o4000, 1 | 0o2000000, 1 | 0o2004000)  # joined to each other only, as asyncio has
_ARGUMENTS: tuple[tuple[tuple[int, int], int, tuple[int, ...]], ...] = (
    ((72, 25), 1, _FCNTL),
    ((16, 29), 1, _IOCTL),
    ((53, 199), 1, _STREAM),  # socketpair
    ((44, 206), 4, (0,)),  # sendto, without an address
    ((302, 261), 2, (0,)),  # prlimit64, to read
)
_SIGNALS = ((62, 129), (234, 131))  # kill and tgkill: this process only
_OPENS: tuple[tuple[tuple[int, int | None], int], ...] = (
    ((2, None), 1),
    ((257, 56), 2),
)  # open, openat
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _EROFS = 1, 30
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_RIGHTS = 0b111_1111_1111_0010  # all that Landlock 3 knows of writing: make, remove, move, cut
_OWN_FOLDER = 0b110_0001_1011_0010  # files and folders; no links, devices, sockets, pipes
_NULL = 0b100_0000_0000_0010


class Unconfined(Exception):
    """This system cannot confine a process; the text says what is missing."""


def confine(folder: str) -> bool:
    """Confine this process for good; it may write into ``folder`` only.

    Returns:
        Whether it may write there; False if the kernel has no Landlock, and nothing can be written.

    Raises:
        Unconfined: the system cannot do it; nothing has changed.
    """
    if sys.platform != "linux" or os.uname().machine not in _MACHINES:
        raise Unconfined("Linux on x86_64 or aarch64 is needed")
    libc = ctypes.CDLL(None, use_errno=True)
    # It must not outlive a parent that is killed, and no program that it might find gives it more.
    zero = ctypes.c_ulong(0)
    libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(9), zero, zero, zero)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero)
    # Root's privileges would let it read the environments of others.
    libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24))
    writable = _landlock(libc, folder)
    program = seccomp_program(writable)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    packed = struct.pack("@HP", len(program), ctypes.addressof(code))
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.c_char_p(packed), zero, zero):
        raise Unconfined(f"this kernel takes no seccomp filter ({os.strerror(ctypes.get_errno())})")
    return writable


def _landlock(libc: ctypes.CDLL, folder: str) -> bool:
    """Confine writing to the folder; False if the kernel cannot."""
    create, add, restrict = 444, 445, 446
    version = libc.syscall(create, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = _RIGHTS if version >= 3 else _RIGHTS & 0b1_1111_1111_0010
    rules = libc.syscall(create, struct.pack("=Q", rights), ctypes.c_size_t(8), 0)
    if rules < 0:
        return False
    for path, allowed in ((folder, _OWN_FOLDER), ("/dev/null", _NULL)):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        libc.syscall(add, rules, 1, struct.pack("=Qi", allowed & rights, place), 0)
        os.close(place)
    done = libc.syscall(restrict, rules, 0) == 0
    os.close(rules)
    # Before its third version Landlock did not know of files that are cut to nothing.
    return bool(done and version >= 3)


def seccomp_program(writable: bool) -> list[tuple[int, int, int, int]]:
    """The filter as instructions of the kernel's virtual machine (see seccomp(2)).

    Each is a code, how many to skip if it holds and if it does not, and a value.
    """
    column, audit = _MACHINES[os.uname().machine]

    def ends(value: int) -> tuple[int, int, int, int]:
        return (_RETURN, 0, 0, value)

    def argument(position: int, upper: bool = False) -> tuple[int, int, int, int]:
        return (_LOAD, 0, 0, 16 + 8 * position + 4 * upper)

    refused = ends(_ERRNO | _EPERM)
    no_writing = ends(_ERRNO | _EROFS)
    # Programs for another kind of processor have other numbers for their calls.
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), ends(_KILL), (_LOAD, 0, 0, 0)]
    harmless = _HARMLESS + ("," + _CHANGES if writable else "")
    for calls, verdict in ((harmless, ends(_ALLOW)), (_CHANGES, no_writing)):
        for call in calls.split(","):
            if (text := call.split()[1 + column]) != "-":
                program += [(_EQUAL, 0, 1, int(text)), verdict]
    rules: list[tuple[int | None, list[tuple[int, int, int, int]]]] = []
    for pair, position in _OPENS:
        reads = [argument(position), (_ANY_BIT, 0, 1, _WRITING), no_writing]
        rules.append((pair[column], [*([] if writable else reads), ends(_ALLOW)]))
    own = (os.getpid(),)
    for pair, position, values in (*_ARGUMENTS, *((pair, 0, own) for pair in _SIGNALS)):
        # Of a pointer both halves count.
        upper = [argument(position, upper=True), (_EQUAL, 1, 0, 0), refused]
        allowed = [one for value in values for one in ((_EQUAL, 0, 1, value), ends(_ALLOW))]
        rules.append(
            (
                pair[column],
                [*(upper if values == (0,) else []), argument(position), *allowed, refused],
            )
        )
    for number, body in rules:
        if number is not None:
            program += [(_EQUAL, 0, len(body), number), *body]
    return [*program, refused]

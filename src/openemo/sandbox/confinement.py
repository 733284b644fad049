"""Takes from this process what a decoder does not need: memory, time, files, programs, the network."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import struct
import sys
from typing import Final

from openemo.decoding_limits import DecodingLimits

__all__ = ["confine"]

# What the interpreter and the libraries need themselves.
_OWN_BYTES: Final = 2**28

# System calls by their numbers on x86-64. Those with an open file, memory, threads, clocks and signals of
# this process stay; opening, connecting, starting and changing anything else fails with EPERM.
_ALLOWED: Final = {
    *{"read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "pread64": 17}.values(),
    *{"pwrite64": 18, "readv": 19, "writev": 20, "dup": 32, "fcntl": 72, "ppoll": 271}.values(),
    *{"mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "madvise": 28}.values(),
    *{"rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sigaltstack": 131}.values(),
    *{
        "sched_yield": 24,
        "sched_getaffinity": 204,
        "futex": 202,
        "set_robust_list": 273,
        "rseq": 334,
    }.values(),
    *{"nanosleep": 35, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230}.values(),
    *{"gettimeofday": 96, "getpid": 39, "gettid": 186, "getcpu": 309, "membarrier": 324}.values(),
    *{"uname": 63, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "getrandom": 318}.values(),
    *{"restart_syscall": 219, "exit": 60, "exit_group": 231}.values(),
}
# Allowed where an argument (its place, its bits) says so: a thread, no process; an open file, no path.
_ALLOWED_WITH: Final = {56: (0, 0x10000), 262: (3, 0x1000)}  # clone, newfstatat
_TGKILL, _CLONE3 = 234, 435

_AUDIT_ARCH_X86_64: Final = 0xC000003E
_LOAD, _EQUAL, _HAS_BITS, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in the kernel's seccomp_data
_PR_SET_NO_NEW_PRIVS, _SYS_SECCOMP, _SET_MODE_FILTER, _ALL_THREADS = 38, 317, 1, 1


def confine(limits: DecodingLimits, *, cpu_s: float | None = None) -> None:
    """Confines this process for good, as far as the system can: fully on Linux on x86-64.

    Everything that decoding imports must be imported before.

    Args:
        cpu_s: processor time of a decoder that waits for its reader; it has no limit of wall time.
    """
    _set_limits(limits, cpu_s)
    if sys.platform == "linux" and platform.machine() == "x86_64":
        _filter_system_calls()


def _set_limits(limits: DecodingLimits, cpu_s: float | None) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    seconds = int(cpu_s or limits.timeout_s) + 1
    for name, value in (
        ("RLIMIT_DATA", limits.max_memory_bytes + _OWN_BYTES),
        ("RLIMIT_AS", 2 * limits.max_memory_bytes + 8 * _OWN_BYTES),  # libraries and stacks included
        ("RLIMIT_CPU", seconds),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", 32),
    ):
        # A limit that the system lacks, or a lower one that is set already.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))
    if cpu_s is None:
        signal.alarm(seconds)  # also where the parent has died


def _filter_system_calls() -> None:
    """A seccomp filter. A kernel without it leaves the limits above."""
    code = _program()
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, _ALL_THREADS, header)


def _program() -> bytes:
    """The filter in classic BPF. A jump counts the instructions that it leaves out."""
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _EPERM),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number in sorted(_ALLOWED):
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    # The arguments of clone3 cannot be seen; without it, glibc takes clone.
    steps += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ENOSYS)]
    for number, (place, bits) in _ALLOWED_WITH.items():
        steps += _if_argument(number, place, _HAS_BITS, bits)
    steps += _if_argument(_TGKILL, 0, _EQUAL, os.getpid())  # abort signals itself
    steps.append((_RETURN, 0, 0, _EPERM))
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _if_argument(number: int, place: int, test: int, value: int) -> list[tuple[int, int, int, int]]:
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _ARGUMENTS + 8 * place),
        (test, 0, 1, value),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _EPERM),
    ]

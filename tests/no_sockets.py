"""Runs Python in a process that Linux ends at its first network socket, whoever opens it.

    python tests/no_sockets.py animate PORTRAIT VOICE -o VIDEO      a command of openemo
    python tests/no_sockets.py --import                             each module of the package
    python tests/no_sockets.py --probe                              opens a socket through the C library

A seccomp filter sees the system calls of native code too, of all threads and child processes. A DNS look-up
needs a socket as well. Sockets between the processes of one machine are allowed.
"""

from __future__ import annotations

import ctypes
import importlib
import pkgutil
import platform
import sys
from typing import Final

__all__ = ["SUPPORTED", "forbid_sockets"]

# Numbers of the system calls `socket` and `io_uring_setup`, and the kernel's name of the machine.
_MACHINES: Final = {"x86_64": (41, 425, 0xC000003E), "aarch64": (198, 425, 0xC00000B7)}
SUPPORTED: Final = sys.platform == "linux" and platform.machine() in _MACHINES
_AF_UNIX: Final = 1
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_CALL, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in the kernel's `seccomp_data`


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def forbid_sockets() -> None:
    """From now on a socket other than AF_UNIX ends the process with SIGSYS."""
    socket, io_uring, machine = _MACHINES[platform.machine()]
    instructions = (
        (_LOAD, 0, 0, _ARCH),
        (_IF_EQUAL, 0, 5, machine),  # else: kill
        (_LOAD, 0, 0, _CALL),
        (_IF_EQUAL, 3, 0, io_uring),  # could open sockets too
        (_IF_EQUAL, 0, 3, socket),  # else: allow
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_EQUAL, 1, 0, _AF_UNIX),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_RETURN, 0, 0, _ALLOW),
    )
    array = (_Instruction * len(instructions))(*(_Instruction(*fields) for fields in instructions))
    program = _Program(len(instructions), array)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filters here")


def _import_all() -> None:
    import openemo

    for module in pkgutil.walk_packages(openemo.__path__, "openemo."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            sys.stdout.write(f"{module.name}\n")


def main(arguments: list[str]) -> int:
    forbid_sockets()
    sys.stdout.write("filtered\n")
    sys.stdout.flush()
    if arguments == ["--import"]:
        _import_all()
        return 0
    if arguments == ["--probe"]:
        ctypes.CDLL(None).socket(2, 1, 0)
        return 0
    from openemo.cli.main import main as run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Runs Python in a process that Linux ends at its first connection or DNS look-up, whoever makes it.

    python tests/no_connections.py animate PORTRAIT VOICE -o VIDEO      a command of openemo
    python tests/no_connections.py --import animate ...                 the same after importing each module
    python tests/no_connections.py --probe KIND                         a connection through the C library

A seccomp filter sees the system calls of native code too, of all threads and child processes. It allows what
reaches nobody: pairs of sockets between processes, and a TCP socket without a connection, which urllib3 opens
when it is imported, to see whether there is IPv6.
"""

from __future__ import annotations

import ctypes
import importlib
import pkgutil
import platform
import sys
from typing import Final

__all__ = ["SUPPORTED", "forbid_connections"]

# System calls socket, connect, sendto, listen, io_uring_setup, and the kernel's number of the machine.
_MACHINES: Final = {
    "x86_64": (41, 42, 44, 50, 425, 0xC000003E),
    "aarch64": (198, 203, 206, 201, 425, 0xC00000B7),
}
SUPPORTED: Final = sys.platform == "linux" and platform.machine() in _MACHINES
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_TYPE_MASK, _STREAM = 0xF, 1
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
# Offsets in the kernel's `seccomp_data`: number of the call, machine, arguments of 8 bytes from 16.
_CALL, _MACHINE = 0, 4
_FAMILY, _TYPE, _ADDRESS = 16, 24, 16 + 4 * 8
_Rule = tuple[int, int, int, int]


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def forbid_connections() -> None:
    """From now on a connection, also of datagrams, ends the process with SIGSYS."""
    socket, connect, sendto, listen, io_uring, machine = _MACHINES[platform.machine()]
    kill, allow = (_RETURN, 0, 0, _KILL_PROCESS), (_RETURN, 0, 0, _ALLOW)
    rules: list[_Rule] = [(_LOAD, 0, 0, _MACHINE), (_IF_EQUAL, 1, 0, machine), kill, (_LOAD, 0, 0, _CALL)]
    # The last could make sockets as well.
    for number in (connect, listen, io_uring):
        rules += [(_IF_EQUAL, 0, 1, number), kill]
    # With the address of a receiver, of which the lower half is enough to see.
    rules += [(_IF_EQUAL, 0, 4, sendto), (_LOAD, 0, 0, _ADDRESS), (_IF_EQUAL, 0, 1, 0), allow, kill]
    # Datagrams and all other families: netlink sockets come before a DNS look-up.
    rules += [(_IF_EQUAL, 1, 0, socket), allow, (_LOAD, 0, 0, _FAMILY)]
    rules += [(_IF_EQUAL, 0, 1, _AF_UNIX), allow, (_IF_EQUAL, 2, 0, _AF_INET), (_IF_EQUAL, 1, 0, _AF_INET6)]
    rules += [kill, (_LOAD, 0, 0, _TYPE), (_AND, 0, 0, _TYPE_MASK), (_IF_EQUAL, 0, 1, _STREAM), allow, kill]
    array = (_Instruction * len(rules))(*(_Instruction(*rule) for rule in rules))
    program = _Program(len(rules), array)
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


def _probe(kind: str) -> None:
    """Through the C library, as native code does it."""
    libc = ctypes.CDLL(None)
    address = (ctypes.c_ubyte * 16)(2, 0, 0, 9, 127, 0, 0, 1)  # port 9 of this machine
    if kind == "tcp":
        libc.connect(libc.socket(_AF_INET, 1, 0), address, 16)
    elif kind == "udp":
        libc.socket(_AF_INET, 2, 0)
    elif kind == "dns":
        libc.getaddrinfo(b"example.com", None, None, ctypes.byref(ctypes.c_void_p()))
    elif kind == "allowed":
        assert libc.socket(_AF_INET6, 1, 0) != 0
        assert libc.socketpair(_AF_UNIX, 1, 0, (ctypes.c_int * 2)()) == 0


def main(arguments: list[str]) -> int:
    forbid_connections()
    sys.stdout.write("filtered\n")
    sys.stdout.flush()
    if arguments[:1] == ["--import"]:
        _import_all()
        arguments = arguments[1:]
    if arguments[:1] == ["--probe"]:
        _probe(arguments[1])
        return 0
    from openemo.cli.main import main as run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

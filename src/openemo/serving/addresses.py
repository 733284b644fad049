"""Where a server listens, and by which names it is asked."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from openemo.errors import ConfigError

__all__ = ["http_address", "is_loopback", "listening", "local_hosts"]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def http_address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def local_hosts(port: int) -> frozenset[str]:
    """Names by which a browser on this machine asks. A page of another name, which somebody may point at this
    machine, gets nothing.
    """
    return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there. Whoever comes before the server is ready waits.

    Raises:
        ConfigError: the port is in use, or there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(128)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                "the server cannot listen there",
                got=f"{host}, port {port}: {getattr(error, 'strerror', None) or error}",
                fix="Choose another with `--port`; 0 takes a free one",
            ) from error
        yield listener

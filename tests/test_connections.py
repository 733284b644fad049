"""No connection and no file that the user did not ask for: seen by the kernel, native code included."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.no_connections import SUPPORTED

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "src" / "openemo"
filtered = pytest.mark.skipif(not SUPPORTED, reason="system calls are only filtered on Linux")
NETWORK = ("socket", "connect", "listen", "sendto", "sendmsg", "sendmmsg", "bind")
# What changes a file system, or reaches beyond the process.
CALLS = (
    "socket,connect,listen,sendto,sendmsg,sendmmsg,bind,open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,"
    "renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,truncate,chmod,fchmodat,chown,fchownat,utimensat"
)
# Connections, datagrams to an address, look-ups, and sockets that others on the network could reach.
REACHING = (
    r" connect\(| listen\(| send(to|msg|mmsg)\(.*sa_family=AF_(?!UNIX)"
    r"| socket\((?!AF_UNIX|AF_INET6?, SOCK_STREAM)"
    r'| bind\((?!.*("::1"|"127\.0\.0\.1"|AF_UNIX))'
)
NOWHERE = ("/dev/null", "/dev/tty", "/dev/shm/", "/proc/self/", "/sys/fs/cgroup/")


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Home, temporary files, working directory and output, all empty."""
    folders = {name: tmp_path / name for name in ("home", "temp", "work", "out")}
    for folder in folders.values():
        folder.mkdir()
    return folders


@pytest.fixture
def animate(portrait_path: Path, places: dict[str, Path], tmp_path: Path) -> list[str]:
    """A command of a third of a second of video."""
    voice = tmp_path / "voice.wav"
    samples = 6000 * np.sin(np.arange(5_000) * 0.2) * np.sin(np.arange(5_000) * 0.004)
    with wave.open(str(voice), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return ["animate", str(portrait_path), str(voice), "-o", str(places["out"] / "video.mp4")]


def run(arguments: list[str], places: dict[str, Path], prefix: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "HF_", "ORT_"))
    }
    environment |= {
        "HOME": str(places["home"]),
        "TMPDIR": str(places["temp"]),
        "PYTHONPATH": f"{PACKAGE.parent}{os.pathsep}{TESTS.parent}",
        "PYTHONDONTWRITEBYTECODE": "1",  # caches of modules are Python's own
    }
    return subprocess.run(
        [*prefix, sys.executable, *arguments],
        env=environment,
        cwd=places["work"],
        capture_output=True,
        text=True,
        timeout=600,
    )


@filtered
@pytest.mark.parametrize("kind", ["tcp", "udp", "dns"])
def test_the_filter_ends_native_code_at_its_first_connection(kind: str, places: dict[str, Path]) -> None:
    done = run([str(TESTS / "no_connections.py"), "--probe", kind], places, [])
    assert done.stdout == "filtered\n", done.stderr
    assert done.returncode == -signal.SIGSYS


@filtered
def test_the_filter_lets_pass_what_reaches_nobody(places: dict[str, Path]) -> None:
    done = run([str(TESTS / "no_connections.py"), "--probe", "allowed"], places, [])
    assert done.returncode == 0, done.stderr


@filtered
@pytest.mark.slow
@pytest.mark.parametrize("command", ["animate", "demo"])
def test_nothing_is_connected_to_and_nothing_left(
    command: str, animate: list[str], places: dict[str, Path], tmp_path: Path
) -> None:
    """Filtered; where strace is installed, traced as well. `animate` has each module imported first."""
    arguments = ["--import", *animate] if command == "animate" else ["demo", "-o", str(places["out"])]
    log = tmp_path / "calls.txt"
    done = run([str(TESTS / "no_connections.py"), *arguments], places, tracer(log))
    assert done.returncode == 0, (done.stdout[-200:], done.stderr[-2000:])
    if command == "animate":
        assert done.stdout.count("\nopenemo.") > 150
    names = {"animate": ["video.mp4"], "demo": ["demo.mp4", "demo.png"]}[command]
    assert sorted(path.name for path in places["out"].iterdir()) == names
    # Kept: networks where OpenVINO is installed, and the key that signs.
    compiled = places["home"] / ".cache" / "openemo" / "openvino"
    identity = places["home"] / ".local" / "share" / "openemo"
    for name in ("home", "temp", "work"):
        left = [path for path in places[name].rglob("*") if path.is_file()]
        assert [path for path in left if path.parent not in (compiled, identity)] == []
    if log.exists():
        text = log.read_text(errors="replace")
        assert text.count("openat(") > 1000
        kept = [str(places["home"] / name) for name in (".cache", ".local")]
        allowed = (str(places["out"]), str(places["temp"]), *kept, *NOWHERE)
        assert [call for call in changes(text) if not any(f'"{place}' in call for place in allowed)] == []
        assert [line for line in text.splitlines() if re.search(REACHING, line)] == []


def tracer(log: Path) -> list[str]:
    """The start of a command that writes its system calls to `log`; nothing where they cannot be traced."""
    command = ["strace", "-f", "-y", "--seccomp-bpf", "-s", "300", "-e", f"trace={CALLS}", "-o", str(log)]
    if shutil.which("strace") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        return []
    return command


def changes(text: str) -> Iterator[str]:
    """The successful calls that change a file system. Opening to read changes none."""
    for line in text.splitlines():
        call = re.match(r"\d+ +(\w+)\((.*)\) += (\d+)", line)
        if call is None or call[1] in NETWORK:
            continue
        if call[1].startswith("open") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", call[2]):
            continue
        yield line

"""Files are complete or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from openemo.files import whole_file


def test_a_complete_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for text in (b"first", b"second"):
        before = path.read_bytes() if path.exists() else None
        with whole_file(path) as file:
            file.write(text)
            file.flush()
            assert (path.read_bytes() if path.exists() else None) == before
            assert not [found for found in tmp_path.glob("*.npz") if found != path]
        assert path.read_bytes() == text
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"first")

    def interrupted() -> None:
        with whole_file(path) as file:
            file.write(b"sec")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"first"


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "data.npz", tmp_path / "a.npz"
    target.write_bytes(b"first")
    link.symlink_to(target)
    with whole_file(link) as file:
        file.write(b"second")
    assert link.readlink() == target
    assert not target.is_symlink()
    assert target.read_bytes() == b"second"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.npz", "data.npz", "elsewhere"]

"""Files say what made them, signed; a change is seen; nothing fails where nothing can be signed."""

from __future__ import annotations

import stat
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from openemo.errors import ConfigError
from openemo.provenance.content_credentials import read_credentials
from openemo.provenance.marking import Marking
from openemo.provenance.origin import Origin
from openemo.provenance.plain_metadata import COMMENT, DIGITAL_SOURCE_TYPE, says_made_with_ai
from openemo.provenance.sealing import Seal, check_identity
from openemo.provenance.signing_identity import data_folder, local_identity
from openemo.video.video_reader import read_frames
from openemo.video.video_writer import VideoWriter

pytest.importorskip("c2pa", reason="c2pa-python has no wheel here")

ORIGIN = Origin.of("tiny", "ab" * 32, 7, np.zeros((4, 6, 3), np.uint8), np.zeros((1, 9), np.float32))


def write(path: Path, marking: Marking | None = None, origin: Origin = ORIGIN) -> Seal:
    marking = marking or Marking()
    seal = Seal.of(marking, origin, path)
    comment = COMMENT if marking.credentials else None
    with VideoWriter(
        path, fps=Fraction(25), width=64, height=48, audio=None, comment=comment, seal=seal
    ) as writer:
        for level in (60, 90, 120):
            writer.write(np.full((48, 64, 3), level, np.uint8))
    return seal


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webp", "a.gif", "frames/%05d.png"])
def test_files_are_signed_and_say_so_in_plain_metadata(name: str, tmp_path: Path) -> None:
    assert write(tmp_path / name).note is None
    path = tmp_path / name.replace("%05d", "00002")
    reading = read_credentials(path)
    assert reading is not None
    assert (reading.state, reading.problems) == ("valid", ("signingCredential.untrusted",))
    assert reading.signer == "openemo on this computer, openemo"
    assert reading.digital_source_types == (DIGITAL_SOURCE_TYPE,)
    assert reading.mark_id == ORIGIN.mark_id
    assert reading.generation == {
        "model": "tiny",
        "weights_sha256": ORIGIN.weights_sha256,
        "seed": 7,
        "portrait_pixels_sha256": ORIGIN.portrait_sha256,
        "voice_samples_sha256": ORIGIN.voice_sha256,
    }
    assert reading.time is None
    assert says_made_with_ai(path)
    if path.suffix in (".webp", ".gif", ".png"):
        with Pillow.open(path) as picture:
            assert path.suffix == ".gif" or b"trainedAlgorithmicMedia" in picture.info["xmp"]
            assert getattr(picture, "n_frames", 1) == (1 if path.suffix == ".png" else 3)
    else:
        assert len(list(read_frames(path))) == 3


@pytest.mark.parametrize("name", ["a.webm", "a.mkv"])
def test_containers_without_a_place_for_credentials_have_the_comment(name: str, tmp_path: Path) -> None:
    note = write(tmp_path / name).note
    assert note is not None
    assert "has no place" in note
    assert read_credentials(tmp_path / name) is None
    assert says_made_with_ai(tmp_path / name)


def test_a_change_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"mdat") + 40
    data[place] ^= 1
    path.write_bytes(data)
    reading = read_credentials(path)
    assert reading is not None
    assert not reading.is_intact
    assert "assertion.bmffHash.mismatch" in reading.problems


def test_credentials_of_the_inputs_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "portrait.gif")
    voice = tmp_path / "voice.bin"
    voice.write_bytes(b"no credentials")
    origin = ORIGIN.with_files(tmp_path / "portrait.gif", voice)
    write(tmp_path / "out.mp4", origin=origin)
    reading = read_credentials(tmp_path / "out.mp4")
    assert reading is not None
    assert reading.is_intact
    assert reading.ingredients == ("portrait",)
    assert reading.generation["voice_file_sha256"] == origin.files[1].sha256
    assert b"portrait.gif" not in (tmp_path / "out.mp4").read_bytes()


def test_arrays_and_missing_files_are_no_input_files(tmp_path: Path) -> None:
    assert ORIGIN.with_files(np.zeros(3), tmp_path / "missing").files == ()
    assert ORIGIN.with_files(b"bytes", None).files == ()


def test_nothing_is_written_where_nothing_is_asked_for(tmp_path: Path) -> None:
    marking = Marking(credentials=False)
    write(tmp_path / "a.mp4", marking)
    write(tmp_path / "b.mp4", marking)
    assert read_credentials(tmp_path / "a.mp4") is None
    assert not says_made_with_ai(tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_the_key_is_made_once_and_for_this_user_alone() -> None:
    first, again = local_identity(), local_identity()
    assert first == again
    assert "PRIVATE" not in repr(first)
    (path,) = data_folder().iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_users_own_certificate_signs(tmp_path: Path) -> None:
    own = local_identity()
    (tmp_path / "chain.pem").write_text(own.certificates)
    (tmp_path / "key.pem").write_text(own.private_key)
    marking = Marking(certificate=tmp_path / "chain.pem", private_key=tmp_path / "key.pem")
    check_identity(marking)
    write(tmp_path / "a.mp4", marking)
    reading = read_credentials(tmp_path / "a.mp4")
    assert reading is not None
    assert reading.is_intact


def test_certificates_that_cannot_sign_are_refused_early(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    chain, other, text = (tmp_path / name for name in ("chain.pem", "other.pem", "text.pem"))
    chain.write_text(local_identity().certificates)
    key = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    other.write_bytes(key.private_bytes(pem, form, plain))
    text.write_text("no key")
    with pytest.raises(ConfigError, match="belongs to another key"):
        check_identity(Marking(certificate=chain, private_key=other))
    with pytest.raises(ConfigError, match="cannot be used"):
        check_identity(Marking(certificate=chain, private_key=text))
    with pytest.raises(ConfigError, match=r"private key .*missing.pem cannot be read"):
        check_identity(Marking(certificate=chain, private_key=tmp_path / "missing.pem"))
    with pytest.raises(ConfigError, match="go together"):
        Marking(certificate=chain)
    with pytest.raises(ConfigError, match="no address"):
        Marking(timestamp_server="file:///etc/passwd")
    with pytest.raises(ConfigError, match="without credentials"):
        Marking(credentials=False, timestamp_server="https://time.example")


def test_without_c2pa_a_note_says_so_and_metadata_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    note = write(tmp_path / "a.mp4").note
    assert note is not None
    assert "c2pa-python is not installed" in note
    assert says_made_with_ai(tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match="without c2pa-python"):
        read_credentials(tmp_path / "a.mp4")


def test_a_folder_that_cannot_be_written_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    note = write(tmp_path / "a.mp4").note
    assert note is not None
    assert "the key cannot be kept" in note

"""Portraits, sounds and numbers in the forms of other programs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from openemo.audio import Audio, read_audio
from openemo.errors import AudioError, ConfigError, ImageError
from openemo.pipeline import EmoPipeline
from openemo.pipeline.inputs import to_audio, to_image, to_integer, to_seed
from openemo.video.images import read_image, write_image

HEIGHT, WIDTH, RATE_HZ = 11, 13, 16_000


def picture(channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, channels), np.uint8)


def sixteen_bits(channels: int) -> NDArray[np.int16]:
    """(N, channels), full scale included."""
    samples = np.random.default_rng(4).integers(-(2**15), 2**15, (801, channels), np.int16)
    samples[7] = -(2**15)
    return samples


def write_wav(path: Path, samples: NDArray[np.int16]) -> Path:
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE_HZ, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", layout)
        frame.sample_rate = RATE_HZ
        for part in (frame, None):
            container.mux(stream.encode(part))
    return path


@pytest.fixture
def photo_path(tmp_path: Path) -> Path:
    write_image(tmp_path / "photo.png", picture())
    return tmp_path / "photo.png"


FORMS_OF_A_PICTURE: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
    "array": lambda image: image,
    "float": lambda image: image / np.float32(255),
    "double": lambda image: image / 255,
    "a little out of range": lambda image: np.where(image == 255, 1.004, image / 255),
    "opaque": lambda image: np.dstack([image, np.full((HEIGHT, WIDTH), 255, np.uint8)]),
    "PIL": Pillow.fromarray,
    "channels first": lambda image: torch.from_numpy(image).permute(2, 0, 1),
    "channels last": lambda image: torch.from_numpy(image),
    "with gradients": lambda image: torch.tensor(image / 255, requires_grad=True),
    "ComfyUI": lambda image: torch.from_numpy(image)[None] / 255,
    "batch of one, channels first": lambda image: torch.from_numpy(image).permute(2, 0, 1)[None],
}


@pytest.mark.parametrize("form", FORMS_OF_A_PICTURE)
def test_every_form_of_a_picture_is_the_same_picture(form: str) -> None:
    image = to_image(FORMS_OF_A_PICTURE[form](picture()))
    assert image.dtype == np.uint8
    assert np.array_equal(image, picture())


def test_the_file_as_path_bytes_and_open_file(photo_path: Path) -> None:
    data = photo_path.read_bytes()
    with photo_path.open("rb") as file:
        forms: list[Any] = [photo_path, str(photo_path), data, bytearray(data), io.BytesIO(data), file]
        for given in forms:
            assert np.array_equal(to_image(given), picture())
    with Pillow.open(photo_path) as opened:
        assert np.array_equal(to_image(opened), picture())


def test_grey_becomes_rgb_and_transparent_becomes_white() -> None:
    grey = picture(1)
    for given in (grey, grey[:, :, 0], grey / 255, torch.from_numpy(grey).permute(2, 0, 1)):
        assert np.array_equal(to_image(given), np.repeat(grey, 3, axis=2))
    clear = picture(4)
    clear[:, :, 3] = 0
    assert (to_image(clear) == 255).all()
    assert (to_image(torch.from_numpy(clear).permute(2, 0, 1) / 255) == 255).all()


def test_bfloat16_has_the_precision_that_it_has() -> None:
    given = torch.from_numpy(picture() / np.float32(255)).to(torch.bfloat16)
    assert np.abs(to_image(given).astype(int) - picture()).max() <= 1  # 8 bits of mantissa


def test_pil_image_is_turned_upright_and_stays_as_it_is() -> None:
    image = Pillow.fromarray(picture())
    image.getexif()[0x0112] = 3  # upside down
    assert np.array_equal(to_image(image), picture()[::-1, ::-1])
    assert np.array_equal(np.asarray(image), picture())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "object of type NoneType; expected a path, the bytes of a file"),
        ([[1, 2], [3, 4]], "object of type list; expected a path"),
        (b"", "the picture is empty"),
        (b"no picture", "the picture is not an image"),
        (io.BytesIO(), "the picture is empty"),
        (io.StringIO("text"), 'open for reading text. Open it with mode "rb"'),
        (Path("missing.png"), "there is no image missing.png"),
        (np.zeros((2, HEIGHT, WIDTH, 3), np.uint8), r"got shape \(2, 11, 13, 3\)"),
        (np.zeros((HEIGHT, WIDTH, 2), np.uint8), r"got shape \(11, 13, 2\)"),
        (np.zeros((0, WIDTH, 3), np.uint8), r"got shape \(0, 13, 3\)"),
        (np.zeros(7, np.uint8), r"got shape \(7,\)"),
        (picture().astype(np.int64), "got int64; expected uint8 from 0 to 255, or float from 0 to 1"),
        (picture().astype(np.float32), "got 0 to 255; expected 0 to 1, or uint8"),
        (picture() / 127.5 - 1, "got -1 to 1; expected 0 to 1"),
        (np.full((HEIGHT, WIDTH, 3), np.nan), "got nan to nan"),
    ],
)
def test_no_picture(given: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        to_image(given)


def test_a_closed_file_is_said(photo_path: Path) -> None:
    file = photo_path.open("rb")
    file.close()
    with pytest.raises(ImageError, match="open file cannot be read; got read of closed file"):
        to_image(file)


@pytest.mark.parametrize("channels", [1, 2])
def test_every_form_of_a_sound_is_the_same_sound(tmp_path: Path, channels: int) -> None:
    samples = sixteen_bits(channels)
    path = write_wav(tmp_path / "voice.wav", samples)
    expected, data = read_audio(path), path.read_bytes()
    wave = torch.from_numpy(expected.samples.copy())
    with path.open("rb") as file:
        forms: list[Any] = [
            path,
            str(path),
            data,
            io.BytesIO(data),
            file,
            expected,
            (RATE_HZ, samples),
            (np.int64(RATE_HZ), samples.astype(np.int32) * 2**16),
            (RATE_HZ, expected.samples.T),
            (RATE_HZ, expected.samples.T.astype(np.float64)),
            {"waveform": wave[None], "sample_rate": RATE_HZ},
            {"waveform": wave[None].requires_grad_(), "sample_rate": np.int32(RATE_HZ)},
        ]
        if channels == 1:
            forms += [(RATE_HZ, samples[:, 0]), (RATE_HZ, wave[0])]
        for form in forms:
            audio = to_audio(form)
            assert audio.sample_rate_hz == RATE_HZ
            assert audio.samples.dtype == np.float32
            assert np.array_equal(audio.samples, expected.samples)


def test_a_compressed_file_is_the_same_from_memory(voice_path: Path) -> None:
    from_path, from_memory = read_audio(voice_path), to_audio(voice_path.read_bytes())
    assert np.array_equal(from_path.samples, from_memory.samples)
    assert from_path.sample_rate_hz == from_memory.sample_rate_hz


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "object of type NoneType; expected a path, the bytes of a file"),
        (np.zeros(800, np.float32), "object of type ndarray"),
        (
            (np.zeros(800, np.float32), RATE_HZ),
            r"\(sample rate, array\), in this order; got \(ndarray, int\)",
        ),
        ((RATE_HZ,), r"got \(int\)"),
        ((True, np.zeros(800, np.float32)), r"got \(bool, ndarray\)"),
        (
            (RATE_HZ, np.zeros((2, 800), np.float32)),
            r"got shape \(2, 800\); expected .*\(samples, channels\)",
        ),
        ((RATE_HZ, np.zeros(800, np.uint8)), "got uint8; expected int16, int32 or float"),
        ((RATE_HZ, np.full(800, 12_000.0)), "got a peak of 12000; expected -1 to 1"),
        ((RATE_HZ, np.full(800, np.nan)), "got a peak of nan"),
        ((0, np.zeros(800, np.float32)), "sample rate of the sound is out of range; got 0 Hz"),
        ({"waveform": torch.zeros(1, 1, 800)}, "a mapping with waveform; expected"),
        ({"waveform": torch.zeros(1, 800), "sample_rate": RATE_HZ}, r"got shape \(1, 800\)"),
        ({"waveform": torch.zeros(2, 1, 800), "sample_rate": RATE_HZ}, r"got shape \(2, 1, 800\)"),
        ({"waveform": torch.zeros(1, 1, 800), "sample_rate": "16000"}, "wrong sample rate; got '16000'"),
        (b"", "the sound is empty"),
        (b"no sound", "the sound cannot be read as sound"),
        (io.StringIO("text"), 'Open it with mode "rb"'),
        (Path("missing.wav"), "there is no file missing.wav"),
    ],
)
def test_no_sound(given: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        to_audio(given)


def test_pipeline_takes_them(tiny_pipeline: EmoPipeline, portrait_path: Path) -> None:
    """Forms of one portrait and one voice give one video."""
    photo = read_image(portrait_path)
    wave = np.random.default_rng(6).normal(0, 0.1, 640).clip(-1, 1).astype(np.float32)
    videos = [
        np.stack(list(tiny_pipeline(portrait, sound, framing="crop", size_px=64, num_inference_steps=1)))
        for portrait, sound in (
            (photo, Audio(wave[None], RATE_HZ)),
            (portrait_path.read_bytes(), (RATE_HZ, wave)),
            (
                torch.from_numpy(photo)[None] / 255,
                {"waveform": torch.from_numpy(wave)[None, None], "sample_rate": RATE_HZ},
            ),
        )
    ]
    assert all(np.array_equal(video, videos[0]) for video in videos)


def test_whole_numbers() -> None:
    right: list[Any] = [3, np.int64(3), np.uint8(3), 3.0, np.float32(3)]
    for given in right:
        number = to_integer("size_px", given)
        assert number == 3
        assert type(number) is int
    assert to_integer("size_px", None) is None
    wrong: list[Any] = [True, np.True_, "0", 2.5, float("nan"), [1]]
    for given in wrong:
        with pytest.raises(ConfigError, match=r"`size_px` is not a whole number; got"):
            to_integer("size_px", given)


def test_seeds() -> None:
    for seed in (0, 1, 2**63 - 1):
        assert to_seed(seed) == seed
    drawn = {to_seed(-1) for _ in range(4)}
    assert len(drawn) > 1  # all four alike once in 2**96
    assert all(0 <= seed < 2**63 for seed in drawn)
    for wrong in (-2, 2**63):
        with pytest.raises(ConfigError, match=f"seed is out of range; got {wrong}"):
            to_seed(wrong)


@pytest.mark.parametrize("name", ["seed", "size_px", "face_index", "num_inference_steps"])
def test_pipeline_refuses_what_is_no_number(
    tiny_pipeline: EmoPipeline, portrait_path: Path, name: str
) -> None:
    voice = Audio(np.zeros((1, 640), np.float32), RATE_HZ)
    for wrong in (True, "1"):
        options: dict[str, Any] = {name: wrong}
        with pytest.raises(ConfigError, match=f"`{name}` is not a whole number; got {wrong!r}"):
            tiny_pipeline(portrait_path, voice, **options)


def test_a_drawn_seed_makes_the_video_again_also_with_numbers_of_numpy(
    tiny_pipeline: EmoPipeline, portrait_path: Path
) -> None:
    voice, photo = Audio(np.zeros((1, 640), np.float32), RATE_HZ), read_image(portrait_path)
    drawn = tiny_pipeline(
        photo, voice, seed=-1, framing="crop", size_px=64, face_index=0, num_inference_steps=1
    )
    again = tiny_pipeline(
        photo,
        voice,
        seed=np.int64(drawn.seed),  # type: ignore[arg-type]
        framing="crop",
        size_px=np.int16(64),  # type: ignore[arg-type]
        face_index=np.uint8(0),  # type: ignore[arg-type]
        num_inference_steps=np.int32(1),  # type: ignore[arg-type]
    )
    assert again.seed == drawn.seed
    assert np.array_equal(np.stack(list(drawn)), np.stack(list(again)))

"""Whole inputs, which the fuzzer damages. Each function makes one folder per input below the given folder."""

from __future__ import annotations

import io
import json
import math
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image, features
from safetensors.torch import save_file

from benchmarks.fuzzing.absurd import wav_header
from openemo import checkpoints
from openemo.checkpoints.folder import file_sha256
from openemo.checkpoints.importing import import_weights
from openemo.data.sequences import FrameSequence
from openemo.data.songs import Song
from openemo.face import FaceAnalyzer
from openemo.models import EmoUNet
from openemo.training.datasets.latent_sequences import LatentSequence
from openemo.training.datasets.sync_data import SyncData
from openemo.training.recipes import LoopRecipe
from openemo.training.training_state import TrainingState
from tests.checkpoints.conftest import write_openai_whisper
from tests.checkpoints.test_published_end_to_end import write_echomimic, write_hallo, write_wav2vec2
from tests.conftest import make_tiny_pipeline

__all__ = [
    "TrainedModule",
    "checkpoint",
    "combinable",
    "commands",
    "face_networks",
    "pictures",
    "published",
    "recipes",
    "reports",
    "sounds",
    "training_data",
    "training_states",
    "videos",
]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
_CHANNELS: Final = (32, 64)  # 8 heads and 32 groups divide them
EMBEDDED: Final = checkpoints.resolve(checkpoints.EMBEDDED)
PORTRAIT: Final = REPOSITORY / "src/openemo/assets/demo_portrait.jpg"


def _place(folder: Path, name: str) -> Path:
    """The place of a file that is an input of its own."""
    path = folder / name.replace(".", "_") / name
    path.parent.mkdir(parents=True)
    return path


def pictures(folder: Path) -> None:
    y, x = np.mgrid[:19, :23]
    grey = (5 * x + 7 * y).astype(np.uint8)
    rgb = Image.fromarray(np.stack([grey, 255 - grey, 3 * grey], -1))
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(grey))
    palette = rgb.quantize(17)
    exif = Image.Exif()
    exif[0x0112] = 6
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    files: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rgb.png": (rgb, {}),
        "rgba.png": (rgba, {"icc_profile": profile}),
        "palette.png": (palette, {"transparency": 3}),
        "grey16.png": (Image.fromarray(grey.astype(np.uint16) * 200), {}),
        "bits.png": (rgb.convert("1"), {}),
        "la.png": (rgba.convert("LA"), {"icc_profile": profile}),
        "rgb.jpg": (rgb, {"exif": exif, "icc_profile": profile}),
        "progressive.jpg": (rgb, {"progressive": True}),
        "grey.jpg": (rgb.convert("L"), {}),
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "lossy.webp": (rgba, {"exif": exif}),
        "lossless.webp": (rgba, {"lossless": True}),
        "animated.webp": (rgb, {"save_all": True, "append_images": [rgb.rotate(90)]}),
        "plain.tiff": (rgb, {"exif": exif}),
        "lzw.tiff": (rgba, {"compression": "tiff_lzw"}),
        "jpeg.tiff": (rgb, {"compression": "jpeg"}),
        "float.tiff": (Image.fromarray(grey.astype(np.float32) / 255), {}),
        "cmyk.tiff": (rgb.convert("CMYK"), {}),
        "fax.tiff": (rgb.convert("1"), {"compression": "group4"}),
        "animated.gif": (
            palette,
            {"save_all": True, "append_images": [palette.rotate(90)], "transparency": 2},
        ),
        "plain.bmp": (rgb, {}),
        "palette.bmp": (palette, {}),
        "icon.ico": (rgba, {}),
        "icon.icns": (rgba.resize((32, 32)), {}),
        "plain.ppm": (rgb, {}),
        "run.tga": (rgba, {"compression": "tga_rle"}),
        "plain.pcx": (rgb, {}),
        "plain.sgi": (rgb, {}),
        "plain.dds": (rgba, {}),
        "plain.im": (rgb, {}),
        "plain.xbm": (rgb.convert("1"), {}),
        "plain.msp": (rgb.convert("1"), {}),
        "plain.spider": (Image.fromarray(grey.astype(np.float32)), {"format": "SPIDER"}),
    }
    if features.check("jpg_2000"):
        files["plain.jp2"] = rgba, {}
    if features.check("avif"):
        files["plain.avif"] = rgb, {"exif": exif}
    for name, (image, options) in files.items():
        image.save(_place(folder, name), **options)


def _tone(seconds: float, rate_hz: int, channels: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    tones = [9000 * np.sin(2 * math.pi * 190 * (1 + 0.1 * channel) * times) for channel in range(channels)]
    return np.stack(tones).astype(np.int16)


def _encode(path: Path, codec: str, rate_hz: int, channels: int = 1, *, picture: bool = False) -> None:
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    # Without random identifiers, so that a seed makes the same input again.
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        container.metadata["title"] = "t"
        video = container.add_stream("mpeg4", rate=25) if picture else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if video is not None:
            for index in range(4):
                image = np.full((24, 32, 3), 40 * index, np.uint8)
                container.mux(video.encode(av.VideoFrame.from_ndarray(image)))
        samples = _tone(0.24, rate_hz, channels)
        frame = av.AudioFrame.from_ndarray(samples, format="s16p", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        resampler = av.AudioResampler(
            stream.format, layout, rate_hz, frame_size=stream.codec_context.frame_size or None
        )
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        if video is not None:
            container.mux(video.encode(None))
        container.mux(stream.encode(None))


_SOUNDS: Final = (
    ("pcm16.wav", "pcm_s16le", 16_000, 2),
    ("pcm24.wav", "pcm_s24le", 48_000, 1),
    ("float.wav", "pcm_f32le", 8000, 1),
    ("adpcm.wav", "adpcm_ms", 22_050, 2),
    ("law.wav", "pcm_alaw", 8000, 1),
    ("six.wav", "pcm_s16le", 16_000, 6),
    ("plain.flac", "flac", 16_000, 2),
    ("plain.mp3", "libmp3lame", 44_100, 2),
    ("plain.m4a", "aac", 44_100, 2),
    ("plain.aac", "aac", 16_000, 1),
    ("opus.ogg", "libopus", 48_000, 1),
    ("vorbis.ogg", "libvorbis", 44_100, 2),
    ("flac.ogg", "flac", 16_000, 1),
    ("opus.webm", "libopus", 48_000, 2),
    ("pcm.mka", "pcm_s16le", 16_000, 1),
    ("aac.mka", "aac", 16_000, 1),
    ("plain.aiff", "pcm_s16be", 22_050, 1),
    ("plain.au", "pcm_mulaw", 8000, 1),
    ("plain.caf", "pcm_s16le", 16_000, 1),
    ("alac.m4a", "alac", 44_100, 2),
    ("plain.ac3", "ac3", 48_000, 6),
    ("plain.wma", "wmav2", 44_100, 2),
    ("plain.wv", "wavpack", 44_100, 2),
    ("plain.tta", "tta", 44_100, 2),
    ("plain.w64", "pcm_s16le", 16_000, 1),
    ("plain.voc", "pcm_u8", 16_000, 1),
    ("plain.amr", "libopencore_amrnb", 8000, 1),
)
_VIDEOS: Final = (
    ("plain.mp4", "aac"),
    ("plain.mkv", "aac"),
    ("plain.avi", "mp2"),
    ("plain.mov", "pcm_s16le"),
    ("plain.ts", "mp2"),
    ("plain.flv", "aac"),
    ("plain.mpg", "mp2"),
)


def sounds(folder: Path) -> None:
    """Every kind that this build of FFmpeg can write."""
    for name, codec, rate_hz, channels in _SOUNDS:
        if codec in av.codecs_available:
            _try_encode(_place(folder, name), codec, rate_hz, channels)
    _try_encode(_place(folder, "film.mp4"), "aac", 16_000, 1, picture=True)
    raw = _tone(0.2, 16_000, 1).tobytes()
    _place(folder, "plain.wav").write_bytes(wav_header(16_000, 1, 16, 1, len(raw)) + raw)


def videos(folder: Path) -> None:
    for name, codec in _VIDEOS:
        _try_encode(_place(folder, name), codec, 44_100, 1, picture=True)


def _try_encode(path: Path, codec: str, rate_hz: int, channels: int, *, picture: bool = False) -> None:
    try:
        _encode(path, codec, rate_hz, channels, picture=picture)
    except (av.FFmpegError, ValueError):  # this build cannot write it
        shutil.rmtree(path.parent)


def checkpoint(folder: Path) -> None:
    pipeline = make_tiny_pipeline(FaceAnalyzer.from_pretrained(EMBEDDED / "face"))
    pipeline.save_pretrained(folder / "tiny", dtype=torch.float32)


def face_networks(folder: Path) -> None:
    shutil.copytree(EMBEDDED / "face", folder / "face")


def _write_sd15(folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        UNet2DConditionModel(
            block_out_channels=_CHANNELS,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=6,
            attention_head_dim=8,
        ).save_pretrained(folder / "unet")
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(4, 8),
            norm_num_groups=4,
        ).save_pretrained(folder / "vae")


def _write_motion(path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        unet = EmoUNet(
            block_out_channels=_CHANNELS,
            attention_levels=(True, False),
            layers_per_block=1,
            audio_feature_dim=None,
            locator_downscale=None,
            speed_dim=None,
            max_frames=24,
        )
    state = {name: tensor for name, tensor in unet.state_dict().items() if ".motion_modules." in name}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3}, path)


def _write_whisper_folder(folder: Path) -> None:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperModel

    with torch.random.fork_rng():
        torch.manual_seed(6)
        WhisperModel(
            WhisperConfig(
                d_model=12,
                encoder_layers=2,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=20,
                decoder_ffn_dim=20,
                vocab_size=60,
                max_target_positions=8,
                max_source_positions=30,
                pad_token_id=1,
                bos_token_id=1,
                eos_token_id=1,
                decoder_start_token_id=1,
            )
        ).save_pretrained(folder)


def published(form: str, folder: Path) -> None:
    """What `openemo weights import FORMAT` reads; tiny, with random weights."""
    if form == "sd15":
        _write_sd15(folder / "pipeline")
        shutil.copytree(folder / "pipeline/unet", folder / "unet")
    elif form == "animatediff":
        _write_motion(_place(folder, "mm.ckpt"))
        _write_motion(_place(folder, "mm.safetensors"))
    elif form == "wav2vec2":
        write_wav2vec2(folder / "encoder")
        (folder / "encoder/preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    elif form == "whisper":
        write_openai_whisper(_place(folder, "tiny.pt"), width=12, layers=2, positions=30)
        _write_whisper_folder(folder / "encoder")
    elif form == "hallo":
        write_hallo(folder / "whole")
        shutil.copytree(folder / "whole/hallo", folder / "alone")
    else:
        write_echomimic(folder / "whole")


def combinable(folder: Path) -> None:
    """Three imports and the face networks, as `openemo weights combine` takes them."""
    made = folder / "parts"
    raw = folder.parent / "raw"
    _write_sd15(raw / "sd15")
    _write_motion(raw / "mm.ckpt")
    write_wav2vec2(raw / "wav2vec2")
    for form, path in (
        ("sd15", raw / "sd15"),
        ("animatediff", raw / "mm.ckpt"),
        ("wav2vec2", raw / "wav2vec2"),
    ):
        import_weights(form, path, made / form)
    shutil.rmtree(raw)


def recipes(folder: Path) -> None:
    """Every recipe of the repository, and the lists of clips."""
    for path in sorted((REPOSITORY / "recipes").glob("*.yaml")):
        shutil.copy(path, _place(folder, path.name))
    clips = _place(folder, "clips.yaml")
    listed = {}
    for name in ("a.mp4", "b.mp4"):
        (clips.parent / name).write_bytes(name.encode())
        listed[name] = file_sha256(clips.parent / name)
    clips.write_text(json.dumps({"title": "t", "source": "s", "command": "c", "seeds": [0], "clips": listed}))


class TrainedModule(torch.nn.Module):
    """What the training states are of."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 5)
        self.second = torch.nn.Linear(5, 2)


LOOP: Final = LoopRecipe(output=Path("run"), data=Path("data"), steps=9, learning_rate=1e-3)


def training_states(folder: Path) -> None:
    module = TrainedModule()
    state = TrainingState({"net": module}, LOOP)
    module.second(module.first(torch.ones(1, 3))).sum().backward()
    state.update(1e-3)
    (folder / "run").mkdir(parents=True)
    state.save(folder / "run")


def training_data(folder: Path) -> None:
    """What `openemo data prepare` and the training stages write: .npy and .npz."""
    rng = np.random.default_rng(3)

    def floats(*shape: int) -> Any:
        return rng.uniform(0, 1, shape).astype(np.float32)

    data = folder / "data"
    for name in ("voices/sung", "tracks", "sequences", "latents"):
        (data / name).mkdir(parents=True)
    for name in ("c1.0", "c1.1", "quiet.0"):
        np.save(data / f"voices/{name}.npy", floats(22, 6).astype(np.float16))
    Song(floats(20, 6).astype(np.float16), np.linspace(0, 7, 9)).save(data / "voices/sung/c1.0.npz")
    np.save(data / "tracks/c1.npy", floats(9, 478, 3))
    np.save(data / "teeth.npy", floats(4, 12, 34))
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "brown").save(buffer, "JPEG")
    jpegs = (buffer.getvalue(),) * 4
    FrameSequence(jpegs, 16 * floats(4, 478, 2), 16 * floats(478), 16, "c1", 2, floats(3)).save(
        data / "sequences/real-c1.npz"
    )
    LatentSequence(
        floats(3, 4, 2, 2).astype(np.float16),
        floats(5, 2, 2).astype(np.float16),
        floats(3, 4),
        floats(478, 3),
        floats(8, 4, 2, 2).astype(np.float16),
        floats(4, 4),
        "c1",
        2,
        floats(3),
    ).save(data / "latents/real-c1.npz")
    SyncData(
        np.zeros((7, 8, 8), np.uint8),
        np.array([0, 4, 7]),
        np.array([0, 0]),
        np.array([0, 2]),
        np.array([False, True]),
        floats(1, 2, 40, 80).astype(np.float16),
    ).save(data / "sync.npz")
    np.savez(data / "record.npz", fd=floats(3, 8), blend=floats(2, 5))


def reports(folder: Path) -> None:
    """Two reports of two clips, and a record."""
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6, "clips": 2}
    clips = {"a.mp4": "0" * 64, "b.mp4": "1" * 64}
    facts = {"title": "mouth opening, correlation", "unit": "", "better": "higher", "source": "Pearson's r"}
    for index in range(2):
        figures = {"lip_r": 0.1 * index, "sync_own_offset_frames": None}
        report = {
            "harness_version": 1,
            "subject": "model",
            "title": "embedded",
            "command": "openemo evaluate",
            "environment": {"python": "3.11"},
            "seeds": [0],
            "clips": clips,
            "failures": {"c.mp4": "no face"},
            "metrics": {"lip_r": facts, "sync_own_offset_frames": facts | {"better": "info"}},
            "rows": {row: dict.fromkeys(clips, figures) for row in ("real", "model")},
            "summary": {row: {"lip_r": estimate} for row in ("real", "model")},
            "seed_spread": {},
            "order": [
                {
                    "metric": "lip_r",
                    "higher": "real",
                    "lower": "model",
                    "difference": estimate,
                    "verdict": "within noise",
                }
            ],
            "notes": ["n"],
        }
        path = folder / "pair" / f"{'ab'[index]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report))
    record = {"inputs": {"a": 1}, "values": {"lip_r": 0.5}, "opening": [0.1, None], "fps": 25.0}
    (folder / "pair/record.json").write_text(json.dumps(record))


def commands(folder: Path) -> None:
    """Arguments of the command line."""
    lines = [
        ["animate", "p.png", "v.wav", "-o", "x.mp4", "--seed", "0", "--size-px", "256", "--fps", "25"],
        [
            "evaluate",
            "--clips",
            "c",
            "--list",
            "l.yaml",
            "--seeds",
            "0,1",
            "--rows",
            "real",
            "-o",
            "r",
            "--limit",
            "2",
        ],
        ["compare", "a.json", "b.json", "-o", "c.json"],
        ["train", "image", "r.yaml", "steps=3"],
        ["data", "prepare", "r.yaml"],
        ["weights", "import", "sd15", "p", "-o", "new", "--dtype", "float16"],
        ["weights", "list"],
        ["--version"],
        ["weights", "verify", "w"],
        ["weights", "upgrade", "w", "-o", "new"],
        ["assemble", "r", "-o", "new"],
    ]
    for index, line in enumerate(lines):
        _place(folder, f"line{index}.json").write_text(json.dumps(line))

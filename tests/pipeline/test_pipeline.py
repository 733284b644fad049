"""From portrait and sound to frames, with tiny random networks of the real classes."""

from __future__ import annotations

import copy
import gc
import math
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler

from openemo.audio import Audio
from openemo.errors import AudioError, ConfigError, FaceError, ImageError
from openemo.face.turning import PictureTurn
from openemo.pipeline import EmoPipeline
from openemo.pipeline.output import Frame
from openemo.video.images import read_image


@pytest.fixture(scope="module")
def portrait(portrait_path: Path) -> Frame:
    return read_image(portrait_path)


def tone(duration_s: float, sample_rate_hz: int = 16_000, channels: int = 1) -> Audio:
    """A wobbling tone, so that every moment sounds different."""
    times_s = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
    wave = 0.3 * np.sin(2 * np.pi * (180 * times_s + 40 * times_s**2)) * (0.6 + 0.4 * np.sin(9 * times_s))
    return Audio(np.tile(wave.astype(np.float32), (channels, 1)), sample_rate_hz)


def frames_of(pipeline: EmoPipeline, portrait: Frame, audio: Audio, **options: object) -> Frame:
    settings = {"framing": "crop", "size_px": 96} | options
    return np.stack(list(pipeline(portrait, audio, **settings)))  # type: ignore[arg-type]


def test_video_is_as_long_as_the_sound(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    for num_samples, fps in (
        (16_000, 25),
        (5_000, 25),
        (16_001, 30),
        (7_777, "29.97"),
        (320, 25),
        (16_000, 12.5),
    ):
        audio = Audio(tone(1.2).samples[:, :num_samples], 16_000)
        animation = tiny_pipeline(portrait, audio, fps=fps, framing="crop", size_px=64, num_inference_steps=1)
        expected = int(Fraction(num_samples, 16_000) * animation.fps + Fraction(1, 2))
        assert animation.num_frames == len(list(animation)) == len(animation) == expected


def test_frames_fit_what_was_promised(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    photo = portrait[:, 150:, :]  # not square
    for options, size in (
        ({"framing": "full"}, (1024, 874)),
        ({"framing": "full", "size_px": 400}, (400, 341)),
        ({"framing": "crop"}, (512, 512)),
        ({"framing": "crop", "size_px": 130}, (130, 130)),
    ):
        animation = tiny_pipeline(photo, tone(0.1), **options)
        assert (animation.height, animation.width) == size
        for frame in animation:
            assert frame.shape == (*size, 3)
            assert frame.dtype == np.uint8


def test_full_frame_moves_the_head_and_not_what_is_far_from_it(
    tiny_pipeline: EmoPipeline, portrait: Frame
) -> None:
    wide = cv2.copyMakeBorder(portrait, 0, 0, 500, 500, cv2.BORDER_REFLECT)
    for frame in tiny_pipeline(wide, tone(0.2), framing="full", size_px=1012):
        small = cv2.resize(wide, frame.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert (frame != small).any(axis=2).sum() > 10_000
        for far in (np.s_[:, :60], np.s_[:, -60:]):
            assert np.array_equal(frame[far], small[far])


def test_a_seed_means_one_video(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    animation = tiny_pipeline(portrait, tone(0.5), seed=3, framing="crop", size_px=96)
    first, again = np.stack(list(animation)), np.stack(list(animation))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, frames_of(tiny_pipeline, portrait, tone(0.5), seed=4))


def test_global_random_state_is_neither_read_nor_changed(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = frames_of(tiny_pipeline, portrait, tone(0.3))
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert np.array_equal(first, frames_of(tiny_pipeline, portrait, tone(0.3)))


def test_frames_stream(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    """The first frame comes after one clip's work, and a longer sound does not change it."""
    calls: list[tuple[int, int]] = []
    animation = tiny_pipeline(portrait, tone(2.0), framing="crop", size_px=96)
    frames = animation.make(lambda done, total: calls.append((done, total)))
    next(frames)
    assert len(calls) == 3  # the steps of the first clip
    list(frames)
    num_clips = 10
    assert calls == [(done, num_clips * 4) for done in range(1, num_clips * 4 + 1)]


def test_two_animations_interleave(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    """Nothing is kept on the networks or the schedule between frames."""
    alone = [frames_of(tiny_pipeline, portrait, tone(0.5), seed=seed) for seed in (1, 2)]
    animations = [
        tiny_pipeline(portrait, tone(0.5), seed=seed, framing="crop", size_px=96) for seed in (1, 2)
    ]
    for k, (first, second) in enumerate(zip(*animations, strict=True)):
        assert np.array_equal(first, alone[0][k])
        assert np.array_equal(second, alone[1][k])


def test_a_call_changes_no_component(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    def state() -> dict[str, torch.Tensor]:
        networks = ("unet", "reference_net", "autoencoder")
        return {
            f"{name}.{key}": value.clone()
            for name in networks
            for key, value in getattr(tiny_pipeline, name).state_dict().items()
        }

    before, schedule, config = state(), dict(vars(tiny_pipeline.scheduler)), tiny_pipeline.config
    names = set(vars(tiny_pipeline.unet))
    frames_of(
        tiny_pipeline, portrait, tone(0.3), num_inference_steps=2, guidance_scale=2.5, speed=0.4, fps=30
    )
    after = state()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(vars(tiny_pipeline.scheduler)[key] is value for key, value in schedule.items())
    assert tiny_pipeline.config is config
    assert set(vars(tiny_pipeline.unet)) == names


def test_memory_does_not_grow_with_length(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    """Late in a video no more is alive than early in it: frames and latents that are through are let go."""
    animation = tiny_pipeline(portrait, tone(5.0), framing="crop", size_px=96, num_inference_steps=1)
    frames: list[weakref.ref[Frame]] = []
    tensors: dict[int, int] = {}
    for number, frame in enumerate(animation):
        frames.append(weakref.ref(frame))
        assert sum(reference() is not None for reference in frames) <= 4  # those decoded together
        if number in (30, 32, 110, 112):
            tensors[number] = live_numbers()
    # A thread makes the next frames meanwhile, so this is not exact.
    all_frames_since = 80 * 3 * 96**2
    assert max(tensors[110], tensors[112]) < max(tensors[30], tensors[32]) + all_frames_since / 3


def live_numbers() -> int:
    """Numbers in all tensors that exist."""
    gc.collect()
    return sum(math.prod(item.shape) for item in gc.get_objects() if type(item) is torch.Tensor)


def test_every_condition_reaches_the_frames(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    plain = frames_of(tiny_pipeline, portrait, tone(0.4))
    louder = Audio(tone(0.4).samples[:, ::-1].copy(), 16_000)
    for other in (
        frames_of(tiny_pipeline, portrait, louder),
        frames_of(tiny_pipeline, portrait, tone(0.4), guidance_scale=3.0),
        frames_of(tiny_pipeline, portrait, tone(0.4), speed=1.0),
        frames_of(tiny_pipeline, portrait, tone(0.4), num_inference_steps=4),
        frames_of(tiny_pipeline, portrait, tone(0.4), head_motion=0.0),
    ):
        assert other.shape == plain.shape
        assert not np.array_equal(other, plain)


def test_blinks_and_head_can_be_asked_for_or_left_out(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    """Frames differ where the eyes blink, and in no other."""
    sound, settings = tone(2.0), {"head_motion": 0.0, "fps": 12.5}
    still = frames_of(tiny_pipeline, portrait, sound, blinks_per_minute=0.0, **settings)
    blinking = frames_of(tiny_pipeline, portrait, sound, blinks_per_minute=60.0, **settings)
    is_same = (blinking == still).all((1, 2, 3))
    behaviour = tiny_pipeline.prepare_behaviour(
        sound,
        tiny_pipeline.prepare_portrait(portrait, framing="crop", size_px=96),
        fps=Fraction(25, 2),
        config=tiny_pipeline.config.override(blinks_per_minute=60.0, head_motion=0.0),
    )
    closed = behaviour.eyes_closed_F2[: len(still)].max(1)
    assert is_same[closed == 0].all()
    assert not is_same[closed > 0.2].any()
    assert (closed > 0.2).sum() > 1
    with pytest.raises(ConfigError, match="blinks_per_minute"):
        tiny_pipeline(portrait, tone(1.0), blinks_per_minute=-1.0)


def test_guidance_of_one_is_no_guidance(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    """Just beside a scale of 1 the two runs of guidance give nearly the same picture as one run."""
    plain = frames_of(tiny_pipeline, portrait, tone(0.2), guidance_scale=1.0).astype(int)
    guided = frames_of(tiny_pipeline, portrait, tone(0.2), guidance_scale=1.0001).astype(int)
    assert np.abs(plain - guided).max() <= 2  # rounding to 8 bits, at edges that moved by 1e-4


def test_the_past_reaches_the_next_clip(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    """Motion frames taken away, the first clip stays as it is, for it has none; the second does not."""

    def forget(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        sample_BCNHW = inputs[0].clone()
        sample_BCNHW[:, 24:] = 0.0  # behind the reference's own 24 channels
        return (sample_BCNHW,)

    remembering = frames_of(tiny_pipeline, portrait, tone(0.4))
    hook = tiny_pipeline.reference_net.register_forward_pre_hook(forget)
    forgetting = frames_of(tiny_pipeline, portrait, tone(0.4))
    hook.remove()
    assert np.array_equal(remembering[:5], forgetting[:5])
    assert not np.array_equal(remembering[5:], forgetting[5:])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers
def test_any_schedule_of_diffusers(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    for scheduler in (
        DDIMScheduler(clip_sample=False),
        DPMSolverMultistepScheduler(),
        EulerAncestralDiscreteScheduler(),  # adds noise at each step, scales its input
    ):
        pipeline = copy.copy(tiny_pipeline)
        pipeline.scheduler = scheduler
        one, again = (frames_of(pipeline, portrait, tone(0.3)) for _ in range(2))
        assert np.array_equal(one, again)


def test_silence_works(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    silence = Audio(np.zeros((2, 8_000), np.float32), 16_000)
    assert len(frames_of(tiny_pipeline, portrait, silence, num_inference_steps=1)) == 13  # 12.5, halves go up
    assert "silent throughout" in tiny_pipeline(portrait, silence).warnings[0]
    assert tiny_pipeline(portrait, tone(0.1)).warnings == ()


def test_bfloat16(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    names = ("unet", "reference_net", "autoencoder", "scheduler", "speech_encoder", "config")
    parts = copy.deepcopy({name: getattr(tiny_pipeline, name) for name in names})
    half = EmoPipeline(face_analyzer=tiny_pipeline.face_analyzer, **parts).to("cpu", torch.bfloat16)
    full = frames_of(tiny_pipeline, portrait, tone(0.2)).astype(float)
    # 8 bits of mantissa: the mean difference stays under 2 of 255 levels.
    assert np.abs(frames_of(half, portrait, tone(0.2)) - full).mean() < 2


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_face_turned_by_quarters_moves_as_if_upright(
    tiny_pipeline: EmoPipeline, portrait: Frame, quarters: int
) -> None:
    small = np.ascontiguousarray(portrait[::4, 25::4])
    settings = {"framing": "full", "size_px": None, "num_inference_steps": 1}
    upright = frames_of(tiny_pipeline, small, tone(0.2), **settings)
    turned = frames_of(tiny_pipeline, np.ascontiguousarray(np.rot90(small, quarters)), tone(0.2), **settings)
    difference = np.abs(turned.astype(int) - np.rot90(upright, quarters, axes=(1, 2)))
    assert difference.max() <= 2  # positions are rounded elsewhere
    assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("framing", ["full", "crop"])
def test_a_tilted_face_is_upright_for_the_networks(
    tiny_pipeline: EmoPipeline, portrait: Frame, framing: Any
) -> None:
    height, width = portrait.shape[:2]
    tilted = PictureTurn(320, width, height).apply(portrait)  # 40 degrees clockwise
    settings: dict[str, Any] = {"framing": framing, "size_px": 512}
    upright, prepared = (tiny_pipeline.prepare_portrait(image, **settings) for image in (portrait, tilted))
    assert np.abs(prepared.crop.astype(int) - upright.crop).mean() < 4
    np.testing.assert_allclose(prepared.points, upright.points, atol=0.02)
    still = prepared.composite(np.zeros_like(prepared.picture))
    assert still.shape == (prepared.height, prepared.width, 3)
    assert prepared.warnings == ()


def test_a_face_that_lies_is_mentioned(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    for quarters, way in ((1, "on its side"), (2, "upside down"), (3, "on its side")):
        picture = np.ascontiguousarray(np.rot90(portrait, quarters))
        (warning,) = tiny_pipeline.prepare_portrait(picture).warnings
        assert way in warning


def test_several_faces(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    small = portrait[::2, ::2]
    pair = np.full((1024, 1536, 3), 127, np.uint8)
    pair[256:768, :512] = small
    pair[:, 512:] = portrait
    animation = tiny_pipeline(pair, tone(0.1))
    assert animation.warnings == (
        "2 faces were found; the largest is animated, which is face 1 (0 is the leftmost, 1 the rightmost); "
        "choose another by its number",
    )
    boxes = [np.round(face.box_px).astype(int) for face in tiny_pipeline.face_analyzer.find_all(pair)]
    left, right = (np.s_[y0:y1, x0:x1] for x0, y0, x1, y1 in sorted(boxes, key=lambda box: box[0]))
    for index, moving, still in ((0, left, right), (1, right, left)):
        chosen = tiny_pipeline(pair, tone(0.1), face_index=index)
        assert chosen.warnings == ()
        frame = next(iter(chosen))
        assert np.array_equal(frame[still], pair[still])
        assert not np.array_equal(frame[moving], pair[moving])
    with pytest.raises(FaceError, match="no face with this number"):
        tiny_pipeline(pair, tone(0.1), face_index=2)


def test_large_photos_are_shown_smaller_and_this_is_said(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    wide = np.full((1024, 8000, 3), 200, np.uint8)
    wide[:, 3000:4024] = portrait
    animation = tiny_pipeline(wide, tone(0.05))
    assert (animation.width, animation.height) == (1920, 246)
    assert "8000x1024" in animation.warnings[0]
    kept = tiny_pipeline(wide, tone(0.05), size_px=8000)
    assert (kept.width, kept.height, kept.warnings) == (8000, 1024, ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_inference_steps": 0},
            "`num_inference_steps` of the pipeline is wrong; got 0; expected greater than or equal to 1",
        ),
        ({"guidance_scale": float("nan")}, "`guidance_scale`"),
        ({"speed": -1.0}, "`speed`"),
        ({"fps": 0}, "frame rate is out of range"),
        ({"fps": "fast"}, "frame rate is not a number"),
        ({"size_px": 10}, "size is out of range"),
        ({"framing": "half"}, "unknown `framing`"),
    ],
)
def test_wrong_settings(
    tiny_pipeline: EmoPipeline, portrait: Frame, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_pipeline(portrait, tone(0.1), **options)


def test_wrong_inputs(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    with pytest.raises(AudioError, match=r"shorter than a frame; got 19\.9 ms; expected 20\.0 ms or more"):
        tiny_pipeline(portrait, Audio(np.zeros((1, 319), np.float32), 16_000))
    with pytest.raises(FaceError, match="no face found"):
        tiny_pipeline(np.full((300, 400, 3), 90, np.uint8), tone(0.1))
    with pytest.raises(FaceError, match="too small"):
        tiny_pipeline(np.ascontiguousarray(portrait[::16, ::16]), tone(0.1))
    with pytest.raises(ImageError, match="wrong form"):
        tiny_pipeline(portrait[:, :, :2], tone(0.1))


def test_lips_move_as_far_as_asked_and_only_they(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    """With a gain of 0 the mouth goes along with the head; far from it nothing changes."""
    settings = {"blinks_per_minute": 0.0, "head_motion": 0.0, "framing": "crop"}
    plain, still, wild = (
        frames_of(tiny_pipeline, portrait, tone(0.3), lip_motion=scale, **settings).astype(int)
        for scale in (1.0, 0.0, 2.0)
    )
    assert np.array_equal(plain, frames_of(tiny_pipeline, portrait, tone(0.3), **settings))
    face = tiny_pipeline.face_analyzer.find(still[0].astype(np.uint8))
    x, y = face.points_px[13, :2].astype(int)
    mouth = (slice(None), slice(y - 6, y + 7), slice(x - 12, x + 13))
    moved = [np.ptp(frames[mouth], axis=0).mean() for frames in (still, plain, wild)]
    assert moved[0] < 0.8 * moved[1] < 0.8 * moved[2]
    assert np.abs(wild - plain)[:, :20].mean() < 0.2 * np.abs(wild - plain)[mouth].mean()

"""The steps of a build, one by one: frames, sound, shots, plans, text, fingerprints, people, shards."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.raw_videos.made_videos import shifted, subtitled, write
from openemo.arrays import Image
from openemo.audio.audio_reader import Audio, decode_audio, read_audio
from openemo.corpus.build_folder import BuildFolder
from openemo.corpus.build_settings import FPS, BuildSettings, read_settings
from openemo.corpus.burnt_in_text import has_text
from openemo.corpus.clip_filters import CLIP_FILTERS, failed_filters
from openemo.corpus.clip_plans import plan_stretches, plan_track
from openemo.corpus.duplicates import find_duplicates
from openemo.corpus.face_scan import FaceTrack, Scan, ShotFinder
from openemo.corpus.people import People, Split, group_splits
from openemo.corpus.shard_packing import pack, read_packed
from openemo.corpus.sound_print import difference, sound_print
from openemo.corpus.source_files import find_sources, open_source
from openemo.corpus.steady_frames import steady_frames
from openemo.corpus.sync_shift import in_step, shift_of_clips
from openemo.decoding_limits import DEFAULT_LIMITS
from openemo.errors import ConfigError, InputError
from openemo.face import FaceAnalyzer
from openemo.sandbox.decoding import ClipDecoding, FactsDecoding
from openemo.video.clip_frames import TimedFrame, decode_clip
from openemo.video.images import read_image
from openemo.video.media_facts import LONGEST_S, read_facts
from tests.video.test_clip_frames import write_at


def frame(value: float) -> Image:
    return np.full((1, 1, 3), value, np.uint8)


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(60)])
def test_frames_at_another_rate_do_not_drift(fps: Fraction) -> None:
    """Frame k is what is shown at (k + 1/2) / 25: off by no more than a frame of the source."""
    picture, count = frame(0), int(900 * fps)
    times_s = [float(number / fps) for number in range(count)]
    shown = iter(times_s)
    last_s = 0.0

    def frames() -> Iterator[TimedFrame]:
        nonlocal last_s
        for time_s in shown:
            yield TimedFrame(time_s, picture)
            last_s = time_s

    errors = []
    numbers = []
    for number, _ in steady_frames(frames(), 0, 900):
        numbers.append(number)
        errors.append((number + 0.5) / FPS - last_s)  # the frame that is given was taken before the next one
    assert numbers == list(range(len(numbers)))
    assert len(numbers) == pytest.approx(900 * FPS, abs=1)
    assert min(errors) >= -1e-3
    assert max(errors) <= 1 / fps + 1e-3


def test_frames_of_a_variable_rate_are_those_that_are_shown() -> None:
    times_s = [0.0, 0.017, 0.05, 0.1, 0.3, 0.31, 0.45]
    frames = [TimedFrame(time_s, frame(index)) for index, time_s in enumerate(times_s)]
    found = {number: int(image[0, 0, 0]) for number, image in steady_frames(frames, 0.0, 0.56)}
    for number, value in found.items():
        middle_s = (number + 0.5) / FPS
        assert value == max(index for index, time_s in enumerate(times_s) if time_s <= middle_s)
    assert list(found) == list(range(14))


def test_a_gap_in_the_times_is_a_gap_in_the_numbers() -> None:
    frames = [TimedFrame(time_s, frame(0)) for time_s in (0.0, 0.04, 0.08, 5.0, 5.04)]
    numbers = [number for number, _ in steady_frames(frames, 0.0, 6.0)]
    assert numbers[-2:] == [125, 126]
    assert max(number for number in numbers if number < 100) <= 0.6 * FPS


@pytest.mark.parametrize("sandbox", [False, True])
def test_a_stretch_of_a_video_is_what_the_whole_has_there(tmp_path: Path, sandbox: bool) -> None:
    path = tmp_path / "a.mkv"
    write_at(path, [0, 33, 80, 120, 300, 333, 400, 480])
    with path.open("rb") as file:
        whole = list(decode_clip(file, "a", DEFAULT_LIMITS, max_s=9))
        if sandbox:
            with ClipDecoding(file, "a", DEFAULT_LIMITS, max_s=0.4, start_s=0.1) as decoding:
                part = list(decoding.frames())
        else:
            part = list(decode_clip(file, "a", DEFAULT_LIMITS, max_s=0.4, start_s=0.1))
    assert [round(1000 * one.time_s) for one in part] == [100, 120, 300, 333]
    np.testing.assert_array_equal([one.image for one in part], [one.image for one in whole[2:6]])


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm"])
def test_a_stretch_of_a_sound_is_what_the_whole_has_there(
    tmp_path: Path, voice_path: Path, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    write(path, (np.zeros((32, 48, 3), np.uint8) for _ in range(100)), read_audio(voice_path))
    whole = read_audio(path)
    rate_hz = whole.sample_rate_hz
    part = decode_audio(path.read_bytes(), "a", span_s=(2.1, 3.4))
    assert part.num_samples == round(1.3 * rate_hz)
    # Matroska counts milliseconds; a decoder that begins in the middle differs in the last bits.
    shifts = range(-rate_hz // 900, rate_hz // 900 + 1)
    starts = [round(2.1 * rate_hz) + shift for shift in shifts]
    errors = [np.abs(part.samples - whole.samples[:, at : at + part.num_samples]).max() for at in starts]
    assert min(errors) < 5e-3
    before = decode_audio(path.read_bytes(), "a", span_s=(-1.0, 0.5))
    assert not before.samples[:, : rate_hz - rate_hz // 900].any()
    assert before.samples[:, rate_hz:].any()


def test_a_video_says_what_it_is(tmp_path: Path) -> None:
    write_at(tmp_path / "a.mp4", [0, 17, 50, 100, 133])
    with (tmp_path / "a.mp4").open("rb") as file:
        facts = read_facts(file, "a", DEFAULT_LIMITS)
        with FactsDecoding(file, "a", DEFAULT_LIMITS) as decoding:
            assert decoding.result() == facts
    assert (facts.width, facts.height, facts.sound_tracks, facts.sound_track) == (48, 32, 0, None)
    assert facts.is_variable
    assert 0.13 < facts.duration_s < 0.3 < LONGEST_S


def test_cuts_are_found_where_they_are_and_a_moving_camera_is_none() -> None:
    rng = np.random.default_rng(0)
    scenes = [cv2.resize(rng.integers(0, 255, (6, 15, 3), np.uint8), (600, 180)) for _ in range(3)]
    shots, found = ShotFinder(), []
    for number in range(60):
        scene = scenes[(number >= 20) + (number >= 41)]
        found += shots.add(number, np.ascontiguousarray(scene[:, 2 * number : 2 * number + 320]))
    assert found == [20, 41]
    assert shots.add(70, scenes[0][:, :320]) == [70]


@pytest.mark.parametrize(
    ("count", "lengths"), [(74, []), (75, [75]), (300, [300]), (301, [150, 151]), (1000, [250] * 4)]
)
def test_stretches_are_cut_into_equal_clips(count: int, lengths: list[int]) -> None:
    clips = plan_stretches(40, 40 + count, BuildSettings())
    assert sorted(stop - first for first, stop in clips) == sorted(lengths)
    assert not clips or (clips[0][0], clips[-1][1]) == (40, 40 + count)
    assert all(stop == first for (_, stop), (first, _) in pairwise(clips))


@pytest.fixture(scope="module")
def portrait(portrait_path: Path, face_analyzer: FaceAnalyzer) -> tuple[Image, NDArray[np.float32]]:
    image = read_image(portrait_path)
    return image, face_analyzer.find(image).points_px


def test_a_clip_has_the_head_in_it_and_what_is_beside_it_counts(
    portrait: tuple[Image, NDArray[np.float32]],
) -> None:
    image, points = portrait
    height, width = image.shape[:2]
    still = np.repeat(points[None], 80, axis=0)
    scan = Scan(80, height, width, [], [FaceTrack(0, still)])
    (plan,) = plan_track(scan.tracks[0], scan, BuildSettings())
    x0, y0, x1, y1 = plan.region.box_px
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert plan.others == plan.jump == 0
    assert (points[:, 0] > x0).all()
    assert (points[:, 0] < x1).all()
    beside = still + np.array(((x1 - x0) / 4, 0, 0), np.float32)
    scan.tracks.append(FaceTrack(60, beside))
    moved = np.concatenate([still[:40], still[40:] + np.array((300, 0, 0), np.float32)])
    assert plan_track(scan.tracks[0], scan, BuildSettings())[0].others == pytest.approx(20 / 80)
    assert plan_track(FaceTrack(0, moved), scan, BuildSettings())[0].jump > 0.3
    low = still + np.array((0, 1 - points[:, 1].min(), 0), np.float32)  # no room above the forehead
    assert plan_track(FaceTrack(0, low), scan, BuildSettings())[0].head_cut > 0.15


@pytest.mark.parametrize("size_px", [16, 22, 34])
@pytest.mark.parametrize("colour", ["white", "yellow"])
def test_burnt_in_text_is_seen(
    portrait: tuple[Image, NDArray[np.float32]], size_px: int, colour: str
) -> None:
    image, points = portrait
    scale = 512 / image.shape[0]
    crop = cv2.resize(image[: image.shape[0], : image.shape[0]], (512, 512), interpolation=cv2.INTER_AREA)
    points = points * np.float32(scale)
    assert not has_text(crop, points)
    assert has_text(subtitled(crop, "I never said that", size_px=size_px, colour=colour), points)
    assert not has_text(subtitled(crop, "-", size_px=size_px, colour=colour), points)


def test_the_print_of_a_sound_survives_encoding(tmp_path: Path, voice_path: Path) -> None:
    voice = read_audio(voice_path)
    write(tmp_path / "a.webm", (np.zeros((32, 48, 3), np.uint8) for _ in range(10)), voice)
    encoded = read_audio(tmp_path / "a.webm")
    quieter = Audio(encoded.samples * np.float32(0.3), encoded.sample_rate_hz)
    mine = sound_print(voice)
    assert difference(mine, sound_print(quieter), 0) < 0.15
    assert difference(mine, sound_print(shifted(quieter, 7)), -7) < 0.15
    assert difference(mine, mine[::-1].copy(), 0) > 0.35


def test_copies_are_found_where_they_are_cut_elsewhere(voice_path: Path) -> None:
    voice = read_audio(voice_path).mono()
    whole = sound_print(voice)
    rng = np.random.default_rng(0)
    other = rng.integers(0, 2**16, len(whole)).astype(np.uint16)
    late = whole[20:]
    noisy = whole ^ (np.uint16(1) << rng.integers(0, 16, len(whole)).astype(np.uint16)) * (
        rng.random(len(whole)) < 0.5
    )
    prints = [whole, other, late, noisy, whole]
    assert find_duplicates(prints, [0, 0, 0, 0, 1], 0.25) == {2: 0, 3: 0}


def curve(best: int, depth: float) -> NDArray[np.float64]:
    """Flat but for a dent; `best` is the shift of the sound, -15 to 15."""
    values = np.asarray(1.2 + 0.001 * np.arange(31), np.float64)
    values[15 + best] -= depth
    return values


def test_the_shift_of_a_file_is_that_of_those_who_speak() -> None:
    assert shift_of_clips([curve(-8, 0.3), curve(-8, 0.2), curve(3, 0.05), None]) == 8
    assert shift_of_clips([curve(5, 0.3)]) == -5
    assert shift_of_clips([curve(5, 0.05)]) == shift_of_clips([None]) == shift_of_clips([]) == 0
    almost = curve(7, 0.3)
    almost[15] -= 0.2  # a short clip errs: in step it fits nearly as well
    assert shift_of_clips([almost]) == 0
    assert in_step(curve(-8, 0.3), 8).remaining_frames == 0
    assert in_step(curve(-8, 0.3), 8).score == pytest.approx(0.3, abs=0.02)
    assert in_step(curve(-8, 0.3), 0).remaining_frames == 8
    assert in_step(curve(-8, 0.02), 0).remaining_frames is None
    assert in_step(None, 0).score == 0


def test_people_are_clusters_and_keep_their_numbers() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 128)) * 0.1
    of = rng.integers(0, 5, 60)
    embeddings = centres[of] + rng.normal(size=(60, 128)) * 0.01
    people = People(0.5)
    first = people.assign(embeddings[:40])
    assert len(set(first)) == len(set(of[:40]))
    again = People(0.5)
    again.add_known(embeddings[:40], first)
    second = again.assign(embeddings[40:])
    for one, person in zip(of[40:], second, strict=True):
        assert person in {first[i] for i in np.flatnonzero(of[:40] == one)} or one not in of[:40]


def test_splits_share_neither_people_nor_files() -> None:
    rng = np.random.default_rng(1)
    persons = [int(person) for person in rng.integers(0, 300, 900)]
    sources = [f"file{person // 2 if rng.random() < 0.1 else 1000 + person}" for person in persons]
    splits = group_splits(persons, sources, [None] * 900, 0.2)
    for held in (map(str, persons), sources):
        sides: dict[str, Split | None] = {}
        for one, split in zip(held, splits, strict=True):
            assert sides.setdefault(one, split) == split
    assert 0.08 < splits.count("val") / 900 < 0.35
    known: list[Split | None] = ["train", "val", None, None]
    assert group_splits([0, 1, 0, 2], ["a", "b", "b", "c"], known, 0.5)[:3] == ["train", "val", None]


@pytest.mark.parametrize("one", CLIP_FILTERS, ids=lambda one: one.setting)
def test_each_filter_has_its_limit(one: object) -> None:
    settings = BuildSettings()
    filter_ = next(found for found in CLIP_FILTERS if found is one)
    limit = filter_.limit(settings)
    step = 1.0 if filter_.is_least else -1.0
    assert failed_filters({filter_.score: limit}, settings) == []
    assert failed_filters({filter_.score: limit - step}, settings) == [filter_.reason]
    assert failed_filters({filter_.score: limit + step}, settings) == []
    assert failed_filters({filter_.score: None}, settings) == []


def test_a_wrong_setting_is_named() -> None:
    assert read_settings(["min_face_px=120"]).min_face_px == 120
    with pytest.raises(ConfigError, match=r"`min_face`.*Settings of a build: size_px"):
        read_settings(["min_face=120"])
    with pytest.raises(ConfigError, match="longest clip is shorter"):
        read_settings(["max_clip_s=3", "min_clip_s=4"])


def test_sources_are_folders_lists_and_shards(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    (folder / "deep").mkdir(parents=True)
    for name in ("b.MOV", "deep/a.mkv", "notes.txt", "a.jpg"):
        (folder / name).write_bytes(b"x")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, data in (("k/1.mp4", b"film"), ("k/1.json", b'{"licence": "CC0"}'), ("k/2.webm", b"cine")):
            (tmp_path / "member").write_bytes(data)
            tar.add(tmp_path / "member", name)
    (tmp_path / "bad.tar").write_bytes(b"no tar" * 200)
    (tmp_path / "list.jsonl").write_text(
        '{"path": "raw/b.MOV", "licence": "mine"}\n\n{"path": "s.tar"}\n'
        '{"path": "gone.mp4"}\n{"path": "bad.tar"}\n'
    )
    assert [Path(one.path).name for one in find_sources(folder)] == ["b.MOV", "a.mkv"]
    found = list(find_sources(tmp_path / "list.jsonl", "theirs"))
    names = [one.name.removeprefix(f"{tmp_path}/") for one in found]
    assert names == ["raw/b.MOV", "s.tar#k/1.mp4", "s.tar#k/2.webm", "gone.mp4", "bad.tar"]
    assert [one.licence for one in found] == ["mine", "CC0", "theirs", "theirs", "theirs"]
    assert len({one.key() for one in found}) == 5
    with open_source(found[2], tmp_path) as file:
        assert file.read() == b"cine"
    with pytest.raises(InputError, match=r"there is no video file"), open_source(found[3], tmp_path):
        pass
    with pytest.raises(InputError, match="there is no source"):
        list(find_sources(tmp_path / "none"))
    (tmp_path / "list.jsonl").write_text('{"file": 1}\n')
    with pytest.raises(InputError, match="line 1 of"):
        list(find_sources(tmp_path / "list.jsonl"))


def test_a_shard_that_was_being_written_counts_as_nothing(tmp_path: Path) -> None:
    folder = BuildFolder(tmp_path)
    part = tmp_path / "part.tar"
    names = [f"clip{index}" for index in range(5)]
    with tarfile.open(part, "w") as tar:
        for name in names:
            for ending in ("mp4", "flac", "npz"):
                (tmp_path / "member").write_bytes(name.encode() * 300)
                tar.add(tmp_path / "member", f"{name}.{ending}")
    assert pack((({"name": name}, part) for name in names[:2]), "train", folder, 0.002) == 2
    (folder.shards / "train-000009.jsonl").write_text('{"name": "lost"}\n')  # killed before its shard
    assert [one.facts["name"] for one in read_packed(folder)] == names[:2]
    assert not (folder.shards / "train-000009.jsonl").exists()
    assert pack((({"name": name}, part) for name in names[2:]), "val", folder, 100) == 3
    shards = sorted(folder.shards.glob("*.tar"))
    assert [shard.name for shard in shards] == ["train-000000.tar", "train-000001.tar", "val-000000.tar"]
    with tarfile.open(shards[-1]) as tar:
        members = tar.getnames()
        said = tar.extractfile("clip2.json")
        assert said is not None
        label = json.load(said)
    assert members[:4] == ["clip2.mp4", "clip2.flac", "clip2.npz", "clip2.json"]
    assert label == {"name": "clip2"}

"""Data preparation: the split, the tracks, and all steps on three tiny clips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import Wav2Vec2Config, Wav2Vec2Model

from openemo.audio import Audio, Wav2VecEncoder, WhisperEncoder, read_audio
from openemo.audio.whisper_network import WhisperConfig, WhisperNetwork
from openemo.data.data_recipe import DataRecipe
from openemo.data.landmark_tracks import decode_frames, track_clips
from openemo.data.prepare import draw_teeth, make_spoken, prepare, split_clips, split_portraits
from openemo.data.sequences import FrameSequence
from openemo.data.speech_synthesis import Phone, Utterance
from openemo.data.spoken import save_utterance
from openemo.data.voice_features import encode_songs, encode_voices
from openemo.face import FaceAnalyzer
from openemo.face.landmarks import mouth_opening
from openemo.timing import parse_fps
from openemo.training.datasets.voice_files import load_songs, load_voices
from openemo.video.images import read_image, write_image
from openemo.video.video_writer import VideoWriter

SIDE, NUM_FRAMES, SPEECH_DIM = 192, 7, 12


def _recipe(folder: Path, **changes: object) -> DataRecipe:
    settings = {
        "clips": folder / "clips",
        "portraits": [folder / "portraits", folder / "more"],
        "face_weights": folder / "face",
        "speech_weights": folder / "speech",
        "output": folder / "data",
        "held_out_clips": 4,
        "held_out_portraits": 3,
        "max_clips": 100,
    }
    return DataRecipe.model_validate(settings | changes)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Empty files with the right names."""
    for folder, names, suffix in (("clips", 19, "mp4"), ("portraits", 8, "jpg"), ("more", 5, "jpg")):
        (tmp_path / folder).mkdir()
        for index in range(names):
            (tmp_path / folder / f"{folder}-{index}.{suffix}").touch()
        (tmp_path / folder / "README.md").touch()
    return tmp_path


def test_splits_are_disjoint_complete_and_stay_the_same(corpus: Path) -> None:
    recipe = _recipe(corpus)
    for split, held_out, everything in (
        (split_clips, 4, set((corpus / "clips").glob("*.mp4"))),
        (split_portraits, 3, {*(corpus / "portraits").glob("*.jpg"), *(corpus / "more").glob("*.jpg")}),
    ):
        training, held = split(recipe)
        assert len(held) == held_out
        assert not set(training) & set(held)
        assert {*training, *held} == everything
        assert split(_recipe(corpus)) == (training, held)
        assert split(_recipe(corpus, split_seed=1)) != (training, held)


def test_with_fewer_training_clips_the_same_clips_are_held_out(corpus: Path) -> None:
    training, held = split_clips(_recipe(corpus))
    fewer, held_too = split_clips(_recipe(corpus, max_clips=6))
    assert (fewer, held_too) == (training[:6], held)


def _still(path: Path, picture: NDArray[np.uint8], voice: Audio) -> None:
    with VideoWriter(path, fps=parse_fps(25), width=SIDE, height=SIDE, audio=voice) as video:
        for index in range(NUM_FRAMES):
            video.write(np.roll(picture, index, axis=1))


@pytest.fixture(scope="module")
def portrait(portrait_path: Path) -> NDArray[np.uint8]:
    """The bundled portrait, small."""
    import cv2

    image = read_image(portrait_path)
    side = min(image.shape[:2])
    return np.asarray(cv2.resize(image[:side, :side], (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def voice(voice_path: Path) -> Audio:
    sound = read_audio(voice_path)
    return Audio(sound.samples[:, : round(NUM_FRAMES / 25 * sound.sample_rate_hz)], sound.sample_rate_hz)


def test_tracks_follow_the_face_and_leave_out_clips_without_a_face(
    tmp_path: Path, portrait: NDArray[np.uint8], voice: Audio, face_analyzer: FaceAnalyzer
) -> None:
    clips = [tmp_path / "good.mp4", tmp_path / "empty.mp4"]
    _still(clips[0], portrait, voice)
    _still(clips[1], np.full_like(portrait, 90), voice)
    assert len(decode_frames(clips[0])) == NUM_FRAMES
    assert track_clips(clips, face_analyzer, tmp_path / "tracks") == clips[:1]
    track = np.load(tmp_path / "tracks" / "good.npy")
    assert track.shape == (NUM_FRAMES, 478, 3)
    # The picture moves by a pixel a frame; the landmark network is steady to about a pixel of this size.
    moved = (track[-1] - track[0])[:, :2].mean(0)
    np.testing.assert_allclose(moved, (NUM_FRAMES - 1, 0), atol=1)
    assert [file.name for file in (tmp_path / "tracks").iterdir()] == ["good.npy"]


def _speech_encoder() -> WhisperEncoder:
    """Deep enough for the hidden states that the embedded model reads, and very narrow."""
    config = WhisperConfig(
        d_model=SPEECH_DIM, encoder_layers=6, encoder_attention_heads=2, encoder_ffn_dim=20, num_mel_bins=80
    )
    return WhisperEncoder(WhisperNetwork(config))


def _four_clips(folder: Path, voice: Audio, **changes: object) -> tuple[DataRecipe, list[Path]]:
    """Clips with audio, and a speech encoder."""
    _speech_encoder().save_pretrained(folder / "speech")
    clips = [folder / f"c{index}.mp4" for index in range(4)]
    for clip in clips:
        _still(clip, np.full((SIDE, SIDE, 3), 90, np.uint8), voice)
    return _recipe(folder, **changes), clips


def test_a_missing_voice_is_made_as_in_a_run_without_interruption(tmp_path: Path, voice: Audio) -> None:
    recipe, clips = _four_clips(tmp_path, voice, voice_variants=2)
    encode_voices(recipe, clips)
    made = {path: path.read_bytes() for path in recipe.voices.iterdir()}
    for name in ("c1.1", "c3.1", "c2.0"):
        (recipe.voices / f"{name}.npy").unlink()
    encode_voices(recipe, clips)
    assert {path: path.read_bytes() for path in recipe.voices.iterdir()} == made


def test_songs_have_a_frame_of_the_clip_for_each_of_their_frames(tmp_path: Path, voice: Audio) -> None:
    recipe, clips = _four_clips(tmp_path, voice, sung_variants=2)
    encode_songs(recipe, clips)
    made = {path: path.read_bytes() for path in recipe.songs.iterdir()}
    songs = load_songs(recipe.voices)
    assert set(songs) == {clip.stem for clip in clips}
    for first, second in songs.values():
        for song in (first, second):
            assert song.tokens.dtype == np.float16
            assert song.tokens.shape[1] == 2 * SPEECH_DIM
            # Two tokens to a frame.
            assert 0 <= len(song.tokens) / 2 - len(song.frames) <= 1
            assert (np.diff(song.frames) >= 0).all()
            assert song.frames[0] == pytest.approx(0, abs=0.2)
            assert song.frames[-1] < NUM_FRAMES + 1
        assert first.tokens.shape != second.tokens.shape or not np.array_equal(first.tokens, second.tokens)

    # Missing files are made as in a run without interruption.
    for name in ("c1.1", "c3.0"):
        (recipe.songs / f"{name}.npz").unlink()
    encode_songs(recipe, clips)
    assert {path: path.read_bytes() for path in recipe.songs.iterdir()} == made


def _wav2vec_encoder() -> Wav2VecEncoder:
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=20,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        conv_dim=(8,) * 7,
    )
    return Wav2VecEncoder(Wav2Vec2Model(config))


@pytest.mark.slow
def test_all_steps_on_a_tiny_corpus_and_nothing_is_made_twice(
    tmp_path: Path,
    portrait: NDArray[np.uint8],
    voice: Audio,
    face_weights_dir: Path,
) -> None:
    for folder in ("clips", "portraits", "more"):
        (tmp_path / folder).mkdir()
    for index in range(3):
        _still(tmp_path / "clips" / f"c{index}.mp4", portrait, voice)
        write_image(tmp_path / "portraits" / f"p{index}.jpg", np.roll(portrait, index, axis=0))
    write_image(tmp_path / "more" / "nobody.jpg", np.full((50, 60, 3), 90, np.uint8))
    _speech_encoder().save_pretrained(tmp_path / "speech")
    recipe = _recipe(
        tmp_path,
        face_weights=face_weights_dir,
        held_out_clips=1,
        held_out_portraits=0,
        driven_frames=4,
        quiet_frames=3,
        quiet_every=2,
        real_sequences=1,
        voice_variants=2,
        size_px=64,
        workers=2,
    )
    prepare(recipe)
    made = {path: path.stat().st_mtime_ns for path in recipe.output.rglob("*.np?")}
    names = {path.parent.name: set[str]() for path in made}
    for path in made:
        names[path.parent.name].add(path.name.split("-")[0] if path.suffix == ".npz" else path.name)
    assert names["tracks"] == {"c0.npy", "c1.npy", "c2.npy"}
    assert names["sequences"] == {"driven", "quiet", "real"}
    clips = [clip.stem for clip in split_clips(recipe)[0]]
    assert names["voices"] == {f"{clip}.{v}.npy" for clip in clips for v in (0, 1)} | {
        f"quiet.{k}.npy" for k in range(5)
    }
    driven = [path for path in made if path.name.startswith("driven")]
    assert len(driven) == 3
    sequence = FrameSequence.load(driven[0])
    assert (sequence.num_frames, sequence.size_px, sequence.picture(4).shape) == (4, 64, (64, 64, 3))
    values = np.load(recipe.voices / f"{clips[0]}.0.npy")
    assert values.dtype == np.float16
    assert values.shape == (round(NUM_FRAMES / 25 * 50), 2 * SPEECH_DIM)

    # The same clips for networks that read wav2vec 2.0: one row per frame, all layers concatenated.
    _wav2vec_encoder().save_pretrained(tmp_path / "wav2vec")
    other = _recipe(
        tmp_path,
        speech="wav2vec2",
        speech_weights=tmp_path / "wav2vec",
        output=tmp_path / "other",
        voice_variants=2,
    )
    encode_voices(other, split_clips(recipe)[0])
    voices = load_voices(other.voices)
    assert voices.keys() == {"", *clips}
    # The audio of these files ends within a further frame.
    assert {value.shape for clip in clips for value in voices[clip]} == {(NUM_FRAMES + 1, 2 * 16)}
    assert {value.shape for value in voices[""]} == {(100, 2 * 16)}  # four seconds
    plain, varied = voices[clips[0]]
    assert not np.allclose(plain, varied, atol=0.01)

    prepare(recipe.model_copy(update={"workers": 1}))
    # Features of silence are made again each time; this is fast.
    kept = {path: path.stat().st_mtime_ns for path in made if not path.name.startswith("quiet.")}
    assert len(kept) > 9
    assert kept.items() <= made.items()


@pytest.mark.slow
def test_portraits_speak_what_was_said(
    tmp_path: Path, portrait: NDArray[np.uint8], face_weights_dir: Path, shapes_path: Path
) -> None:
    for folder in ("clips", "portraits", "more"):
        (tmp_path / folder).mkdir()
    write_image(tmp_path / "portraits" / "p0.jpg", portrait)
    write_image(tmp_path / "more" / "nobody.jpg", np.full((50, 60, 3), 90, np.uint8))
    recipe = _recipe(
        tmp_path,
        face_weights=face_weights_dir,
        held_out_portraits=0,
        spoken_sequences=4,
        spoken_utterances=1,
        nonsense_utterances=1,
        sentences={"es": ["Ma."]},
        shapes=shapes_path,
        size_px=64,
        workers=1,
    )
    for made in (recipe.utterances, recipe.sequences):
        made.mkdir(parents=True)
    phones = (Phone("", 0, 0.2), Phone("m", 0.2, 0.3), Phone("a", 0.3, 0.5))
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
    for name in ("es-000", "nonsense-0000"):
        save_utterance(Utterance(sound, phones), recipe.utterances / f"{name}.wav")
    make_spoken(recipe)
    made, other = sorted(recipe.sequences.iterdir())
    assert (made.name, other.name) == ("spoken-p0.es-000.npz", "spoken-p0.nonsense-0000.npz")
    sequence = FrameSequence.load(made)
    assert (sequence.num_frames, sequence.clip) == (12, "es-000")
    openings = [mouth_opening(points) for points in sequence.points_px]
    assert openings[7] < 0.01 < 0.04 < max(openings[9:])


def test_teeth_are_made_once_from_the_training_portraits(
    tmp_path: Path, portrait: NDArray[np.uint8], face_weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("clips", "portraits", "more"):
        (tmp_path / folder).mkdir()
    for index in range(3):
        write_image(tmp_path / "portraits" / f"p{index}.jpg", np.roll(portrait, index, axis=0))
    write_image(tmp_path / "more" / "nobody.jpg", np.full((50, 60, 3), 90, np.uint8))
    recipe = _recipe(tmp_path, face_weights=face_weights_dir, held_out_portraits=1)
    recipe.output.mkdir()
    seen: list[NDArray[np.uint8]] = []

    def mean(portraits: Iterable[tuple[NDArray[np.uint8], NDArray[np.floating]]]) -> NDArray[np.float32]:
        for picture, points in portraits:
            assert points.shape[0] == 478
            seen.append(picture)
        return np.ones((4, 2, 2), np.float32)

    monkeypatch.setattr("openemo.data.prepare.mean_teeth", mean)
    draw_teeth(recipe)
    draw_teeth(recipe)
    assert np.load(recipe.teeth).shape == (4, 2, 2)
    faces = [path for path in split_portraits(recipe)[0] if path.name != "nobody.jpg"]
    assert len(seen) == len(faces)
    for picture, path in zip(seen, faces, strict=True):
        np.testing.assert_array_equal(picture, read_image(path))

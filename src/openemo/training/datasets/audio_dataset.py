"""Clips of audio features and the face shapes that belong to them: data of the audio stage.

Synthetic voices have targets of their own beside those of filmed ones: what rules say of a mouth has another
mean and other components.

Shape letters: F frames, T speech tokens of one frame, D their width, P landmarks, K components.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from openemo.arrays import Doubles
from openemo.audio.speech_features import SpeechFeatures
from openemo.data.landmark_tracks import load_track
from openemo.data.sequences import FrameSequence, spoken_paths
from openemo.errors import TrainingError
from openemo.face.landmarks import STABLE, face_width_px, mouth_opening
from openemo.face.similarity import fit_similarity
from openemo.rendering.landmark_flow import FLOW_POINTS
from openemo.timing import parse_fps
from openemo.training.datasets.voice_files import (
    Voices,
    concatenate_features,
    load_songs,
    load_voices,
    pick_voice,
)
from openemo.training.recipes import AudioRecipe

__all__ = ["AudioBatch", "AudioDataset", "face_shapes"]

_FPS = parse_fps(25)
_OPENING_WEIGHT: Final = 2.0  # of the mouth's opening in the loss; the first component has 1


@dataclass(frozen=True)
class AudioBatch:
    """All clips of a step in a row.

    Attributes:
        audio_FTD: windows of audio features.
        teacher_audio_FTD: the same windows in the features that the teacher reads; D is 0 without a teacher.
        target_FK: those of filmed voices, then those of synthetic ones if there are any: whitened components
            of the face shape, the last one the standardised mouth opening.
        weight_FK: of each in the loss; 0 for those that do not apply.
    """

    audio_FTD: Tensor
    teacher_audio_FTD: Tensor
    target_FK: Tensor
    weight_FK: Tensor


def face_shapes(track: NDArray[np.float32]) -> Doubles:
    """(F, 478, 3) landmarks -> (F, 2P) shape of each frame, in face widths.

    Without head motion, and relative to the clip's median.
    """
    stable = list(STABLE)
    points = np.asarray(track[..., :2], np.float64)
    still = np.stack([fit_similarity(frame[stable], points[0, stable])(frame) for frame in points])
    rest = np.median(still, 0)
    shapes = (still - rest)[:, FLOW_POINTS] / face_width_px(rest)
    return np.asarray(shapes.reshape(len(shapes), -1), np.float64)


class AudioDataset:
    """Clips with landmarks, in one of their voices, sung, or without a voice; and synthetic voices.

    Attributes:
        num_targets: K.
        opening: which of the targets is the opening of a filmed mouth.

    Raises:
        TrainingError: there are no clips, or no songs or synthetic voices where some are wanted.
    """

    def __init__(self, recipe: AudioRecipe, *, feature_dim: int, num_tokens: int) -> None:
        """
        Args:
            feature_dim: D of the layers that are trained. num_tokens: T.
        """
        self.recipe, self.feature_dim, self.num_tokens = recipe, feature_dim, num_tokens
        self.voices = load_voices(recipe.data / "voices")
        if recipe.teacher is not None:
            others = self.voices if recipe.teacher_voices is None else load_voices(recipe.teacher_voices)
            self.voices = concatenate_features(self.voices, others)
        self.songs = load_songs(recipe.data / "voices") if recipe.sung_share else {}
        tracks = {path.stem: load_track(path) for path in sorted((recipe.data / "tracks").glob("*.npy"))}
        self.clips = [clip for clip in tracks if clip in self.voices]
        if not self.clips:
            raise TrainingError(
                f"no clips with landmarks and voices in {recipe.data}",
                fix="Run `openemo data prepare` first, with the same folder",
            )
        self.targets, self.weight_K = _targets([tracks[clip] for clip in self.clips], recipe.components)
        # Without a voice: the mouth as far closed as it gets, the mean over the clips.
        self.quiet_K = torch.stack([target[target[:, -1].argmin()] for target in self.targets]).mean(0)
        self.spoken = _spoken_tracks(recipe.data / "sequences", self.voices) if recipe.spoken_share else []
        self.spoken_targets: list[Tensor] = []
        self.spoken_weight_K = torch.zeros(0)
        if self.spoken:
            self.spoken_targets, self.spoken_weight_K = _targets(
                [track for _, track in self.spoken], recipe.components
            )
        self.opening = len(self.weight_K) - 1
        self.num_targets = len(self.weight_K) + len(self.spoken_weight_K)

    def draw(self, generator: torch.Generator) -> AudioBatch:
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        clips = [self.draw_clip(rng) for _ in range(self.recipe.clips)]
        return AudioBatch(*(torch.cat(parts) for parts in zip(*clips, strict=True)))

    def draw_clip(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One clip's tensors, in the order of `AudioBatch`."""
        if self.spoken and rng.random() < self.recipe.spoken_share:
            index = int(rng.integers(len(self.spoken)))
            target_FK = self.spoken_targets[index]
            features_FTD = self._windows(pick_voice(self.voices, self.spoken[index][0], rng), len(target_FK))
            return *self._split(features_FTD), *self._placed(target_FK, self.spoken_weight_K, -1)
        *features, target_FK = self._filmed_clip(rng)
        return features[0], features[1], *self._placed(target_FK, self.weight_K, 0)

    def _placed(self, target_FK: Tensor, weight_K: Tensor, end: Literal[0, -1]) -> tuple[Tensor, Tensor]:
        """Targets and weights (F, `num_targets`) from those of one kind of voices, first or last."""
        rest = self.num_targets - target_FK.shape[1]
        padding = (0, rest) if end == 0 else (rest, 0)
        return F.pad(target_FK, padding), F.pad(weight_K, padding).expand(len(target_FK), -1)

    def _filmed_clip(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Features, the teacher's, and targets of a clip.

        The teacher reads a sung clip as it was spoken, at the pace of the song: of that it is right.
        """
        index = int(rng.integers(len(self.clips)))
        clip, target_FK = self.clips[index], self.targets[index]
        draw = rng.random()
        if draw < self.recipe.quiet_share:
            features_FTD = self._windows(pick_voice(self.voices, "", rng), len(target_FK))
            return *self._split(features_FTD), self.quiet_K.expand(len(target_FK), -1)
        songs = self.songs.get(clip, [])
        if not songs or draw < 1 - self.recipe.sung_share:
            features_FTD = self._windows(pick_voice(self.voices, clip, rng), len(target_FK))
            return *self._split(features_FTD), target_FK
        song = songs[int(rng.integers(len(songs)))]
        frames_F = torch.from_numpy(song.frames).clamp(0, len(target_FK) - 1)
        spoken_FTD = self._windows(torch.from_numpy(self.voices[clip][0]).float(), len(target_FK))
        return (
            self._windows(torch.from_numpy(song.tokens).float(), len(frames_F)),
            self._split(spoken_FTD)[1][frames_F.round().long()],
            _interpolate(target_FK, frames_F.float()),
        )

    def _windows(self, tokens: Tensor, num_frames: int) -> Tensor:
        return SpeechFeatures(tokens).windows(range(num_frames), _FPS, self.num_tokens)

    def _split(self, features_FTD: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the layers that are trained, and of the teacher."""
        return features_FTD[..., : self.feature_dim], features_FTD[..., self.feature_dim :]


def _spoken_tracks(folder: Path, voices: Voices) -> list[tuple[str, NDArray[np.float32]]]:
    """Clip and (F, 478, 2) landmarks of each portrait that speaks with a synthetic voice.

    Raises:
        TrainingError: there are none.
    """
    sequences = map(FrameSequence.load, spoken_paths(folder))
    tracks = [(each.clip, each.points_px[1:]) for each in sequences if each.clip in voices]
    if not tracks:
        raise TrainingError(
            f"no synthetic voices in {folder}",
            fix="Run `openemo data prepare` with `spoken_sequences`, or train with `spoken_share: 0`",
        )
    return tracks


def _interpolate(values_FK: Tensor, frames_M: Tensor) -> Tensor:
    """(M, K) at fractional frames."""
    before_M = frames_M.long()
    share_M1 = (frames_M - before_M)[:, None]
    after_M = (before_M + 1).clamp_max(len(values_FK) - 1)
    return torch.lerp(values_FK[before_M], values_FK[after_M], share_M1)


def _targets(tracks: list[NDArray[np.float32]], components: int) -> tuple[list[Tensor], Tensor]:
    """For each track (F, K): whitened components, and the standardised opening; and the weight of each."""
    shapes = [face_shapes(track) for track in tracks]
    every = np.concatenate(shapes)
    mean = every.mean(0)
    # Of the covariance: an SVD of all frames would need a large matrix.
    values, vectors = np.linalg.eigh(np.cov(every - mean, rowvar=False))
    spread = np.sqrt(values[::-1][:components].clip(1e-12))
    basis = vectors[:, ::-1][:, :components] / spread
    openings = [np.array([mouth_opening(points) for points in track]) for track in tracks]
    centre, width = np.concatenate(openings).mean(), max(float(np.concatenate(openings).std()), 1e-9)
    targets = [
        torch.from_numpy(
            np.concatenate([(shape - mean) @ basis, ((opening - centre) / width)[:, None]], 1)
        ).float()
        for shape, opening in zip(shapes, openings, strict=True)
    ]
    return targets, torch.from_numpy(np.append(spread / spread[0], _OPENING_WEIGHT)).float()

"""Mouth crops and log-mel rows of all training clips in one file: the source of the sync dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.array_files import REPAIR, ArrayKind, read_arrays
from openemo.audio.audio_reader import read_audio
from openemo.audio.relative_mel import relative_log_mel
from openemo.data.data_recipe import DataRecipe
from openemo.data.landmark_tracks import decode_frames, load_track
from openemo.data.prepare import split_clips
from openemo.data.sequences import FrameSequence
from openemo.data.voice_augmentation import SAMPLE_RATE_HZ, vary_voice
from openemo.errors import TrainingError
from openemo.face.mouth_crops import mouth_crops
from openemo.files import whole_file
from openemo.models.sync_embedder import MEL_BINS, rows_of_frames

__all__ = ["MARGIN_PX", "SyncData", "pack_sync_data"]

_KINDS: Final = {
    "crops": ArrayKind(np.uint8, (None,) * 3),
    "starts": ArrayKind(np.int64, (None,)),
    "clips": ArrayKind(np.int64, (None,)),
    "first_frames": ArrayKind(np.int64, (None,)),
    "driven": ArrayKind(np.bool_, (None,)),
    "voices": ArrayKind(np.float16, (None, None, None, MEL_BINS)),
}

log = logging.getLogger(__name__)

MARGIN_PX = 8
"""Kept on every side beyond what the network reads, for shifts and rotations."""


@dataclass(frozen=True)
class SyncData:
    """Sequences of mouth crops, and the voices of their clips.

    Attributes:
        crops: (all frames, H, W) uint8 grey, one sequence after the other.
        starts: (sequences + 1,) first frame of each sequence in `crops`, and the end of the last one.
        clips: (sequences,) index of the clip that the sequence belongs to.
        first_frames: (sequences,) frame of the clip at which the sequence starts.
        driven: (sequences,) bool: a portrait that moves as the clip does, not the clip itself.
        voices: (clips, variants, rows, 80) float16 relative log-mel; variant 0 is the clip's own voice.
    """

    crops: NDArray[np.uint8]
    starts: NDArray[np.int64]
    clips: NDArray[np.int64]
    first_frames: NDArray[np.int64]
    driven: NDArray[np.bool_]
    voices: NDArray[np.float16]

    def num_frames(self, index: int) -> int:
        return int(self.starts[index + 1] - self.starts[index])

    @classmethod
    def load(cls, path: Path) -> SyncData:
        """Raises TrainingError if the file is damaged."""
        data = cls(**read_arrays(path, _KINDS))
        owners = data.clips
        if (
            len(data.starts) != len(owners) + 1
            or {len(data.first_frames), len(data.driven)} != {len(owners)}
            or (np.diff(data.starts) < 1).any()
            or data.starts[[0, -1]].tolist() != [0, len(data.crops)]
            or not ((owners >= 0) & (owners < len(data.voices))).all()
        ):
            raise TrainingError(f"the arrays in {path} do not belong together", fix=REPAIR)
        return data

    def save(self, path: Path) -> None:
        """Writes one .npz, complete or not at all."""
        with whole_file(path) as file:
            np.savez(file, **{name: getattr(self, name) for name in self.__dataclass_fields__})


def pack_sync_data(
    recipe: DataRecipe, path: Path, size_px: tuple[int, int], voice_variants: int, seed: int
) -> SyncData:
    """Reads `path`, or makes it from what `openemo data prepare` left in `recipe.output`.

    Only training clips and the portraits that they drive; nothing of the clips that are held out.

    Args:
        size_px: height and width that the network reads; the crops are larger by `MARGIN_PX` on every side.

    Raises:
        TrainingError: nothing was prepared.
    """
    if path.exists():
        return SyncData.load(path)
    clips = [clip for clip in split_clips(recipe)[0] if (recipe.tracks / f"{clip.stem}.npy").exists()]
    if not clips:
        raise TrainingError(
            f"no landmarks of clips in {recipe.tracks}", fix="Run `openemo data prepare` with the same recipe"
        )
    stored = (size_px[0] + 2 * MARGIN_PX, size_px[1] + 2 * MARGIN_PX)
    numbers = {clip.stem: index for index, clip in enumerate(clips)}
    real = [(numbers[clip], 0, crops) for clip, crops in _real_mouths(recipe, clips, stored)]
    driven = [(numbers[clip], first, crops) for clip, first, crops in _driven_mouths(recipe, numbers, stored)]
    owners, firsts, crops = zip(*real, *driven, strict=True)
    longest = max(first + len(mouths) for first, mouths in zip(firsts, crops, strict=True))
    data = SyncData(
        np.concatenate(crops),
        np.cumsum([0, *(len(mouths) for mouths in crops)]),
        np.array(owners),
        np.array(firsts),
        np.arange(len(crops)) >= len(real),
        _voices(clips, rows_of_frames(longest), voice_variants, seed),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save(path)
    return data


def _real_mouths(
    recipe: DataRecipe, clips: list[Path], size_px: tuple[int, int]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for done, clip in enumerate(clips, 1):
        crops, seen = mouth_crops(
            decode_frames(clip), load_track(recipe.tracks / f"{clip.stem}.npy"), size_px
        )
        if seen.all():
            yield clip.stem, crops
        if done % 50 == 0:
            log.info("mouths of %d of %d clips", done, len(clips))


def _driven_mouths(
    recipe: DataRecipe, numbers: dict[str, int], size_px: tuple[int, int]
) -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
    for path in sorted(recipe.sequences.glob("driven-*.npz")):
        sequence = FrameSequence.load(path)
        if sequence.clip in numbers:
            frames = (sequence.picture(i) for i in range(1, sequence.num_frames + 1))
            crops, _ = mouth_crops(frames, sequence.points_px[1:], size_px)
            yield sequence.clip, sequence.first_frame, crops


def _voices(clips: list[Path], num_rows: int, variants: int, seed: int) -> NDArray[np.float16]:
    voices = np.empty((len(clips), variants, num_rows, MEL_BINS), np.float16)
    for index, clip in enumerate(clips):
        sound = read_audio(clip).mono().resample(SAMPLE_RATE_HZ).samples[0]
        rng = np.random.default_rng((seed, index))
        for variant in range(variants):
            voice = vary_voice(sound, rng) if variant else sound
            voices[index, variant] = relative_log_mel(voice, num_rows)
        if (index + 1) % 100 == 0:
            log.info("voices of %d of %d clips", index + 1, len(clips))
    return voices

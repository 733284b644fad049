"""Settings of the data preparation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from openemo.data.songs import SUNG_FOLDER
from openemo.settings import StrictModel

__all__ = ["DataRecipe"]


class DataRecipe(StrictModel):
    """What to make from which corpora.

    Paths are relative to the working directory of the command. Unknown keys are errors.
    """

    clips: Path = Field(description="folder of .mp4 clips of a speaker, with audio")
    portraits: list[Path] = Field(description="folders of .jpg portraits")
    face_weights: Path
    speech_weights: Path
    speech: Literal["whisper", "wav2vec2"] = Field(
        "whisper", description="kind of `speech_weights`; the same as `speech` of the denoising stages"
    )
    speech_layers: tuple[int, ...] | None = Field(
        None, description="hidden states of the encoder; None: those that the embedded model reads"
    )
    output: Path
    voices_name: str = Field(
        "voices", description="folder of the speech features in `output`; one for each choice of states"
    )

    size_px: int = Field(256, description="side of the crops")
    crop_scale: float = Field(
        1.6, description="side of the crop over the longer side of the face; equal to the checkpoint's"
    )
    max_clips: int = 860
    held_out_clips: int = 40
    held_out_portraits: int = 60
    real_sequences: int = Field(250, description="number of real clips beside the driven portraits")
    driven_frames: int = 48
    quiet_every: int = Field(10, description="every n-th portrait also gets a sequence without speech")
    quiet_frames: int = 12
    voice_variants: int = 4
    sung_variants: int = Field(0, description="songs of each clip; needs the extra `data`")
    split_seed: int = 0
    workers: int = 2

    @property
    def tracks(self) -> Path:
        return self.output / "tracks"

    @property
    def sequences(self) -> Path:
        return self.output / "sequences"

    @property
    def voices(self) -> Path:
        return self.output / self.voices_name

    @property
    def songs(self) -> Path:
        return self.voices / SUNG_FOLDER

    @property
    def teeth(self) -> Path:
        """The mean teeth of smiling portraits, for the autoencoder."""
        return self.output / "teeth.npy"

"""Settings of the data preparation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from openemo.data.songs import SUNG_FOLDER

__all__ = ["DataRecipe"]


class DataRecipe(BaseModel):
    """What to build from which corpora.

    Paths are relative to the folder the command runs in. Unknown keys are errors.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clips: Path = Field(description="folder of .mp4 clips of a speaker, sound included")
    portraits: list[Path] = Field(description="folders of .jpg portraits")
    face_weights: Path
    speech_weights: Path
    speech: Literal["whisper", "wav2vec2"] = Field(
        "whisper", description="what those are; the denoising stages' `speech` must be the same"
    )
    speech_layers: tuple[int, ...] | None = Field(
        None, description="which of its hidden states; None: those that the model of this project hears"
    )
    output: Path
    voices_name: str = Field(
        "voices", description="folder of the speech features in `output`: other states need another one"
    )

    size_px: int = Field(256, description="side of the crops")
    crop_scale: float = Field(1.6, description="side of the crop over the longer side of the face")
    max_clips: int = 860
    held_out_clips: int = 40
    held_out_portraits: int = 60
    real_sequences: int = Field(250, description="real clips beside the driven portraits")
    driven_frames: int = 48
    quiet_every: int = Field(10, description="every n-th portrait is also shown being quiet")
    quiet_frames: int = 12
    head_strength: float = Field(0.7, description="how much of the clip's head motion a portrait keeps")
    min_face_px: float = 60.0
    voice_variants: int = 4
    sung_variants: int = Field(0, description="of each clip; needs the extra `data`")
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
        """The mean of the portraits' smiles, for the autoencoder."""
        return self.output / "teeth.npy"

"""Settings of the data preparation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from openemo.data.songs import SUNG_FOLDER
from openemo.settings import StrictModel

__all__ = ["DataRecipe"]


class DataRecipe(StrictModel, allow_inf_nan=False):
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
        None,
        max_length=100,
        description="hidden states of the encoder; None: those that the embedded model reads",
    )
    output: Path
    voices_name: str = Field(
        "voices", description="folder of the speech features in `output`; one for each choice of states"
    )

    size_px: int = Field(256, ge=16, le=4096, description="side of the crops")
    crop_scale: float = Field(
        1.6,
        gt=1,
        le=4,
        description="side of the crop over the longer side of the face; equal to the checkpoint's",
    )
    max_clips: int = Field(860, ge=1)
    held_out_clips: int = Field(40, ge=0)
    held_out_portraits: int = Field(60, ge=0)
    real_sequences: int = Field(250, ge=0, description="number of real clips beside the driven portraits")
    driven_frames: int = Field(48, ge=1, le=10_000)
    quiet_every: int = Field(10, ge=1, description="every n-th portrait also gets a sequence without speech")
    quiet_frames: int = Field(12, ge=1, le=10_000)
    voice_variants: int = Field(4, ge=1, le=1000)
    sung_variants: int = Field(0, ge=0, le=1000, description="songs of each clip; needs the extra `data`")
    spoken_sequences: int = Field(
        0, ge=0, description="speaking portraits with synthetic voices, in turn; needs the extra `spoken`"
    )
    spoken_utterances: int = Field(72, ge=1, le=100_000, description="number of sentences that they say")
    nonsense_utterances: int = Field(
        0, ge=0, le=100_000, description="sentences without meaning beside them, with every kind of mouth"
    )
    sentences: dict[str, list[str]] = Field(
        default_factory=dict, description="what is said, by espeak-ng's name of the language, such as en-us"
    )
    shapes: Path | None = Field(
        None, description="displacements of the landmarks by ICT-FaceKit's shapes, for spoken sequences"
    )
    split_seed: int = Field(0, ge=0)
    workers: int = Field(2, ge=1, le=1000)

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
    def utterances(self) -> Path:
        return self.output / "utterances"

    @model_validator(mode="after")
    def _spoken_parts(self) -> Self:
        said = [sentence for sentences in self.sentences.values() for sentence in sentences]
        if self.spoken_sequences and (self.shapes is None or not said or not all(self.sentences.values())):
            raise ValueError("`spoken_sequences` need `shapes`, and `sentences` of each language")
        return self

    @property
    def teeth(self) -> Path:
        """The mean teeth of smiling portraits, for the autoencoder."""
        return self.output / "teeth.npy"

"""Teaches the sound layers to hear: from speech features to the shape that a real face takes with that sound.

A denoiser that starts from nothing needs hours to find out, through noisy pictures, what a sound does to a
mouth; a regression on the landmarks of real clips finds it in minutes. Only the layers are kept, not the
regression: the network still goes from sound to picture (EMO 3.2), as one whose speech encoder has also seen
people speak.

Shape letters: F frames, T speech tokens of one frame, D their width, P landmarks, K components.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openemo.audio.features import SpeechFeatures
from openemo.data.motion import FLOW_POINTS
from openemo.errors import CheckpointError, TrainingError
from openemo.face.geometry import STABLE, face_width_px, mouth_opening
from openemo.face.similarity import fit_similarity
from openemo.models import EmoUNet, unet_config
from openemo.models.conditioning import AudioProjection, AudioTimeEmbedding, zero_
from openemo.timing import parse_fps
from openemo.training.exports import load_export
from openemo.training.recipe import AudioRecipe
from openemo.training.voices import load_songs, load_voices, pick_voice, side_by_side

__all__ = ["AudioStage", "face_shapes", "is_audio_layer", "load_audio_layers", "swap_audio_layers"]

_FPS = parse_fps(25)
_FILE = "audio_layers.safetensors"
_LAYERS = ("audio_projection.", "audio_embedding.linear_1.")
Floats = NDArray[np.float64]


def is_audio_layer(name: str) -> bool:
    """Is this parameter of an `EmoUNet` one that this stage trains?"""
    return name.startswith(_LAYERS)


def face_shapes(track: NDArray[np.float32]) -> Floats:
    """(F, 478, 3) landmarks -> (F, 2P) shape of each frame: head motion taken out, less the clip's median,
    in face widths."""
    stable = list(STABLE)
    points = np.asarray(track[..., :2], np.float64)
    still = np.stack([fit_similarity(frame[stable], points[0, stable])(frame) for frame in points])
    rest = np.median(still, 0)
    shapes = (still - rest)[:, FLOW_POINTS] / face_width_px(rest)
    return np.asarray(shapes.reshape(len(shapes), -1), np.float64)


class AudioStage:
    """Regression from each frame's window of speech features to the principal components of the face's shape,
    and to the mouth's opening."""

    def __init__(self, recipe: AudioRecipe) -> None:
        self.recipe = recipe
        self.voices = load_voices(recipe.data / "voices")
        if recipe.like is not None:
            others = self.voices if recipe.like_voices is None else load_voices(recipe.like_voices)
            self.voices = side_by_side(self.voices, others)
        self.songs = load_songs(recipe.data / "voices") if recipe.sung_share else {}
        tracks = {path.stem: np.load(path) for path in sorted((recipe.data / "tracks").glob("*.npy"))}
        self.clips = [clip for clip in tracks if clip in self.voices]
        if not self.clips:
            raise TrainingError(
                f"no clips with landmarks and voices in {recipe.data}",
                fix="Run `openemo data prepare` first, with the same folder",
            )
        self.targets, self.weight_K = _targets([tracks[clip] for clip in self.clips], recipe.components)
        # Without a voice: the mouth as far closed as it gets, on average over the clips.
        self.quiet_K = torch.stack([target[target[:, -1].argmin()] for target in self.targets]).mean(0)
        config = unet_config(recipe.preset)
        self.num_tokens, self.feature_dim = int(config["audio_tokens"]), int(config["audio_feature_dim"])
        width = 4 * int(config["block_out_channels"][0])
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(recipe.seed)
            self.projection = AudioProjection(self.feature_dim, self.num_tokens, config["audio_dim"])
            self.embedding = AudioTimeEmbedding(self.num_tokens, config["audio_dim"], width)
            self.head = nn.Linear(width, len(self.weight_K))
            self.like = None if recipe.like is None else self._go_on_from(recipe.like)
        self.embedding.linear_2.requires_grad_(False)
        self.modules: Mapping[str, nn.Module] = {
            "audio_projection": self.projection,
            "audio_embedding": self.embedding,
            "head": self.head,
        }
        self.start = _named(self.modules)

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared error of the whitened components, each weighted by its spread, and what is unlike `like`;
        beside it the explained part of the mouth opening's variance, 0..1."""
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        clips = [self._clip(rng) for _ in range(self.recipe.clips)]
        audio_FTD, other_FTD, target_FK = (torch.cat(parts) for parts in zip(*clips, strict=True))
        kept = torch.rand(audio_FTD.shape, generator=generator) >= self.recipe.dropout
        said = _said(self.projection, self.embedding, (audio_FTD * kept)[None])
        prediction_FK = self.head(said[1])[0]
        error_FK = (prediction_FK - target_FK) ** 2
        opening = target_FK[:, -1]
        explained = 1 - error_FK[:, -1].mean() / opening.var().clamp_min(1e-6)
        losses = {"loss": (error_FK * self.weight_K).mean(), "explained": explained}
        if self.like is not None:
            with torch.no_grad():
                kept_said = _said(*self.like, other_FTD[None])
            losses["unlike"] = sum(map(_unlike, said, kept_said), start=torch.zeros(()))
            losses["loss"] = losses["loss"] + self.recipe.like_weight * losses["unlike"]
        return losses

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes the layers under the names that they have in `EmoUNet`; the head is not needed again."""
        layers = {
            name: torch.lerp(value, self.start[name], self.recipe.start_share)
            for name, value in _named(modules).items()
            if is_audio_layer(name)
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_file(layers, folder / _FILE)

    def _go_on_from(self, folder: Path) -> tuple[AudioProjection, AudioTimeEmbedding]:
        """Starts as the layers of an exported network are, where shapes fit, and returns those."""
        unet = load_export(EmoUNet, folder / "unet").requires_grad_(False)
        others = (unet.audio_projection, unet.audio_embedding)
        for own, other in zip((self.projection, self.embedding), others, strict=True):
            state = own.state_dict()
            fitting = {k: v for k, v in other.state_dict().items() if v.shape == state[k].shape}
            own.load_state_dict(state | fitting)
        return others

    def _clip(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Of a clip in one of its voices, sung, or of no voice: (F, T, D) windows, those that the layers of
        `like` hear, (F, K) targets.

        The latter hear a song as the clip was spoken, at the song's pace: what they said then is right.
        """
        index = int(rng.integers(len(self.clips)))
        clip, target_FK = self.clips[index], self.targets[index]
        draw = rng.random()
        if draw < self.recipe.quiet_share:
            heard_FTD = self._windows(pick_voice(self.voices, "", rng), len(target_FK))
            return *self._apart(heard_FTD), self.quiet_K.expand(len(target_FK), -1)
        songs = self.songs.get(clip, [])
        if not songs or draw < 1 - self.recipe.sung_share:
            return *self._apart(self._windows(pick_voice(self.voices, clip, rng), len(target_FK))), target_FK
        song = songs[int(rng.integers(len(songs)))]
        frames_F = torch.from_numpy(song.frames).clamp(0, len(target_FK) - 1)
        spoken_FTD = self._windows(torch.from_numpy(self.voices[clip][0]).float(), len(target_FK))
        return (
            self._windows(torch.from_numpy(song.tokens).float(), len(frames_F)),
            self._apart(spoken_FTD)[1][frames_F.round().long()],
            _between(target_FK, frames_F.float()),
        )

    def _windows(self, tokens: Tensor, num_frames: int) -> Tensor:
        return SpeechFeatures(tokens).windows(range(num_frames), _FPS, self.num_tokens)

    def _apart(self, heard_FTD: Tensor) -> tuple[Tensor, Tensor]:
        """What lies side by side: for these layers, for those of `like`."""
        return heard_FTD[..., : self.feature_dim], heard_FTD[..., self.feature_dim :]


def _between(values_FK: Tensor, frames_M: Tensor) -> Tensor:
    """(M, K) at frames that lie between those given, linearly."""
    before_M = frames_M.long()
    share_M1 = (frames_M - before_M)[:, None]
    after_M = (before_M + 1).clamp_max(len(values_FK) - 1)
    return torch.lerp(values_FK[before_M], values_FK[after_M], share_M1)


def _named(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Copies of all weights, by the names that they have in `EmoUNet`."""
    return {
        f"{part}.{key}": value.detach().clone()
        for part, module in modules.items()
        for key, value in module.state_dict().items()
    }


def _said(
    projection: AudioProjection, embedding: AudioTimeEmbedding, audio_BFTD: Tensor
) -> tuple[Tensor, Tensor]:
    """All that the rest of the network reads of a sound: tokens (B, F, T, A), features (B, F, E)."""
    tokens = projection(audio_BFTD)
    return tokens, embedding.features(tokens)


def _unlike(said: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference, in parts of the variance over frames and tokens of `other`."""
    return (said - other).square().mean() / other.flatten(0, -2).var(0).mean().clamp_min(1e-6)


def _targets(tracks: list[NDArray[np.float32]], components: int) -> tuple[list[Tensor], Tensor]:
    """For each track (F, K + 1): whitened components and standardised opening; and the weight of each."""
    shapes = [face_shapes(track) for track in tracks]
    every = np.concatenate(shapes)
    mean = every.mean(0)
    # Of the covariance: as many rows as frames would be a large matrix.
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
    return targets, torch.from_numpy(np.append(spread / spread[0], 2.0)).float()


def load_audio_layers(unet: EmoUNet, folder: Path) -> None:
    """Puts exported sound layers into a network, and resets to zero what reads them: it would misread them.

    A network that has these layers already, also rounded to float16 as what ships is, goes on unchanged.

    Raises:
        CheckpointError: no such file, or layers of another shape.
    """
    tensors, own = _read(unet, folder), unet.state_dict()
    if all(torch.equal(own[name].half(), value.half()) for name, value in tensors.items()):
        return  # trained with these very layers: what reads them understands them
    unet.load_state_dict(own | tensors)
    for name, module in unet.named_modules():
        if name.endswith("attn_audio"):
            zero_(module.to_out[0])
        elif isinstance(module, AudioTimeEmbedding):
            zero_(module.linear_2)


def swap_audio_layers(unet: EmoUNet, folder: Path) -> None:
    """Puts exported sound layers that were taught to speak `like` the network's own in their place.

    Raises:
        CheckpointError: no such file, or layers of another shape.
    """
    unet.load_state_dict(unet.state_dict() | _read(unet, folder))


def _read(unet: EmoUNet, folder: Path) -> dict[str, Tensor]:
    """Exported layers by the names and in the shapes that they have in this network."""
    path = folder / _FILE
    if not path.is_file():
        raise CheckpointError(f"no sound layers in {folder}", fix="Run `openemo train audio` first")
    tensors = load_file(path)
    wanted = {name: tuple(value.shape) for name, value in unet.state_dict().items() if is_audio_layer(name)}
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    if got != wanted:
        raise CheckpointError(
            f"the sound layers in {path} do not fit the network",
            got=str(sorted(set(got.items()) - set(wanted.items()))),
            expected=str(sorted(set(wanted.items()) - set(got.items()))),
        )
    return tensors

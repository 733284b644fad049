"""The layers that hear: taught on landmarks and voices, then handed to the denoiser as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from openemo import training
from openemo.errors import CheckpointError, TrainingError
from openemo.models import EmoUNet, unet_config
from openemo.training.audio import AudioStage, face_shapes, is_audio_layer, load_audio_layers
from openemo.training.denoiser import trained_in
from openemo.training.recipe import AudioRecipe, DenoiserRecipe
from openemo.training.voices import load_voices, pick_voice

NUM_FRAMES, SPEECH_DIM = 20, 1024


def _track(opening: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    """(F, 478, 3): a face of random landmarks whose lower lip (14) follows `opening`."""
    rng = np.random.default_rng(seed)
    track = np.repeat(rng.uniform(40, 200, (1, 478, 3)), len(opening), 0)
    track[:, 234, :2], track[:, 454, :2] = (30, 120), (210, 120)
    track[:, 13, :2] = (120, 150)
    track[:, 14, :2] = np.stack([np.full_like(opening, 120), 150 + 180 * opening], 1)
    return track.astype(np.float32)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips in which the first speech feature says how far the mouth is open, and quiet sound."""
    folder = tmp_path_factory.mktemp("heard")
    (folder / "tracks").mkdir()
    (folder / "voices").mkdir()
    rng = np.random.default_rng(3)
    for seed, name in enumerate("ab"):
        opening = np.repeat(rng.uniform(0, 0.2, NUM_FRAMES // 4), 4)
        np.save(folder / "tracks" / f"{name}.npy", _track(opening, seed))
        values = rng.standard_normal((2 * NUM_FRAMES, SPEECH_DIM)) * 0.1
        values[:, :64] += 20 * np.repeat(opening, 2)[:, None]
        np.save(folder / "voices" / f"{name}.0.npy", values.astype(np.float16))
    np.save(folder / "voices" / "quiet.0.npy", np.zeros((2 * NUM_FRAMES, SPEECH_DIM), np.float16))
    return folder


def _recipe(data: Path, output: Path, **changes: object) -> AudioRecipe:
    return AudioRecipe.model_validate(
        dict(data=data, output=output, steps=4, learning_rate=1e-3, clips=2, components=3) | changes
    )


def _explained(stage: AudioStage) -> float:
    return float(stage.loss(torch.Generator().manual_seed(0))["explained"].detach())


def test_learns_what_the_sound_tells(heard: Path, tmp_path: Path) -> None:
    path = tmp_path / "audio.yaml"
    path.write_text(
        f"data: {heard}\noutput: {tmp_path / 'audio'}\nsteps: 60\nlearning_rate: 1.0e-3\nwarmup_steps: 1\n"
        "num_threads: 1\ncomponents: 3\nclips: 2\nquiet_share: 0.0\ndropout: 0.0\nmean_decay: 0.0\n"
    )
    training.run("audio", path)
    stage = AudioStage(_recipe(heard, tmp_path / "other"))
    trained = load_file(tmp_path / "audio" / "state.safetensors")
    for part, module in stage.modules.items():
        state = {
            key: trained.get(f"weight/{part}.{key}", value) for key, value in module.state_dict().items()
        }
        module.load_state_dict(state)
    explained = _explained(stage)
    fresh = AudioStage(_recipe(heard, tmp_path / "fresh"))
    assert _explained(fresh) < 0.3
    assert explained > 0.8


def test_shapes_ignore_the_head() -> None:
    """Turning, moving and scaling the whole picture of a face is head motion, and leaves no shape."""
    opening = np.linspace(0, 0.2, 7)
    track = _track(opening, 5)
    moved = track.copy()
    for index, angle in enumerate(np.linspace(-0.2, 0.3, 7)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved[index, :, :2] = 1.1 * track[index, :, :2] @ turn.T + (3 * index, -5)
    still, turned = (face_shapes(points).reshape(7, -1, 2) for points in (track, moved))
    # In units of the face's width, so scale goes too; the first frame's tilt stays. Landmarks are float32.
    np.testing.assert_allclose(
        np.linalg.norm(turned, axis=-1), np.linalg.norm(still, axis=-1), rtol=1e-3, atol=1e-5
    )
    assert np.ptp(still) > 0.1


def test_layers_move_into_the_network_and_their_readers_start_again(heard: Path, tmp_path: Path) -> None:
    stage = AudioStage(_recipe(heard, tmp_path))
    stage.export(stage.modules, tmp_path / "export")
    unet = EmoUNet(**unet_config("embedded"))
    for name, parameter in unet.named_parameters():
        if "attn_audio.to_out" in name or "audio_embedding.linear_2" in name:
            torch.nn.init.ones_(parameter)
    load_audio_layers(unet, tmp_path / "export")
    state = unet.state_dict()
    assert torch.equal(state["audio_projection.linear_1.weight"], stage.projection.linear_1.weight)
    assert torch.equal(state["audio_embedding.linear_1.bias"], stage.embedding.linear_1.bias)
    readers = [name for name in state if "attn_audio.to_out" in name or "audio_embedding.linear_2" in name]
    assert readers
    assert all(not state[name].any() for name in readers)


def test_layers_of_another_shape_are_refused(heard: Path, tmp_path: Path) -> None:
    stage = AudioStage(_recipe(heard, tmp_path))
    stage.export(stage.modules, tmp_path / "export")
    path = tmp_path / "export" / "audio_layers.safetensors"
    tensors = load_file(path)
    unet = EmoUNet(**unet_config("embedded"))
    with pytest.raises(CheckpointError, match="openemo train audio"):
        load_audio_layers(unet, tmp_path)
    name = "audio_projection.linear_2.weight"
    cut, missing = tensors | {name: tensors[name][:5].clone()}, tensors.copy()
    del missing[name]
    for broken in (cut, missing):
        save_file(broken, path)
        with pytest.raises(CheckpointError, match=name):
            load_audio_layers(unet, tmp_path / "export")


def test_taught_layers_stay_as_they_are(tmp_path: Path) -> None:
    settings = dict(
        data=tmp_path, output=tmp_path, autoencoder=tmp_path, steps=1, learning_rate=1e-3, whole_network=True
    )
    names = [name for name in EmoUNet(**unet_config("embedded")).state_dict() if is_audio_layer(name)]
    assert names
    taught = trained_in("video", DenoiserRecipe.model_validate(settings | {"audio": tmp_path}))
    untaught = trained_in("video", DenoiserRecipe.model_validate(settings))
    assert not any(map(taught, names))
    assert all(map(untaught, names))
    assert taught("audio_embedding.linear_2.weight")


def test_a_clip_without_voice_is_named(heard: Path) -> None:
    voices = load_voices(heard / "voices")
    rng = np.random.default_rng(0)
    assert pick_voice(voices, "a", rng).shape == (2 * NUM_FRAMES, SPEECH_DIM)
    with pytest.raises(TrainingError, match="bbaf2n"):
        pick_voice(voices, "bbaf2n", rng)


def test_no_clips_is_an_error(heard: Path, tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    with pytest.raises(TrainingError, match="data prepare"):
        AudioStage(_recipe(tmp_path, tmp_path))


@pytest.mark.parametrize("saved", [torch.float32, torch.float16])
def test_a_network_that_has_the_layers_goes_on_unchanged(
    heard: Path, tmp_path: Path, saved: torch.dtype
) -> None:
    stage = AudioStage(_recipe(heard, tmp_path))
    stage.export(stage.modules, tmp_path / "export")
    unet = EmoUNet(**unet_config("embedded"))
    load_audio_layers(unet, tmp_path / "export")
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if not is_audio_layer(name):
                parameter.fill_(0.01)  # as training leaves them
    unet.to(saved)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    load_audio_layers(unet, tmp_path / "export")
    assert all(torch.equal(before[name], value) for name, value in unet.state_dict().items())

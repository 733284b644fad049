"""The audio layers: trained on landmarks and voices, then loaded into the denoiser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from openemo import training
from openemo.data.sequences import FrameSequence
from openemo.data.songs import Song
from openemo.errors import CheckpointError, TrainingError
from openemo.models import EmoUNet, unet_config
from openemo.settings import load_recipe
from openemo.training.audio_exports import is_audio_layer, load_audio_layers, swap_audio_layers
from openemo.training.datasets.audio_dataset import face_shapes
from openemo.training.datasets.voice_files import concatenate_features, load_voices, pick_voice
from openemo.training.recipes import AudioRecipe, DenoiserRecipe
from openemo.training.stages.audio_stage import AudioStage
from openemo.training.stages.denoiser_stage import is_trained_in
from tests.training.losses import draw_losses

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
def audio_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips whose first speech features tell how far the mouth is open, and audio without a voice."""
    folder = tmp_path_factory.mktemp("audio")
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
    return float(draw_losses(stage)["explained_variance"].detach())


def test_learns_face_shapes_from_audio(audio_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "audio.yaml"
    path.write_text(
        f"data: {audio_data}\noutput: {tmp_path / 'audio'}\nsteps: 60\nlearning_rate: 1.0e-3\n"
        "lr_warmup_steps: 1\nnum_threads: 1\ncomponents: 3\nclips: 2\n"
        "quiet_share: 0.0\ndropout: 0.0\nema_decay: 0.0\n"
    )
    training.run("audio", path)
    stage = AudioStage(_recipe(audio_data, tmp_path / "other"))
    trained = load_file(tmp_path / "audio" / "state.safetensors")
    for part, module in stage.modules.items():
        state = {
            key: trained.get(f"weight/{part}.{key}", value) for key, value in module.state_dict().items()
        }
        module.load_state_dict(state)
    explained = _explained(stage)
    fresh = AudioStage(_recipe(audio_data, tmp_path / "fresh"))
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


def test_layers_are_loaded_and_what_reads_them_is_set_to_zero(audio_data: Path, tmp_path: Path) -> None:
    stage = AudioStage(_recipe(audio_data, tmp_path))
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


def test_layers_of_another_shape_are_refused(audio_data: Path, tmp_path: Path) -> None:
    stage = AudioStage(_recipe(audio_data, tmp_path))
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


def test_layers_of_the_audio_stage_are_not_trained_again(tmp_path: Path) -> None:
    settings = dict(
        data=tmp_path, output=tmp_path, autoencoder=tmp_path, steps=1, learning_rate=1e-3, train_backbone=True
    )
    names = [name for name in EmoUNet(**unet_config("embedded")).state_dict() if is_audio_layer(name)]
    assert names
    is_trained_with_layers = is_trained_in(
        "video", DenoiserRecipe.model_validate(settings | {"audio": tmp_path})
    )
    is_trained_without = is_trained_in("video", DenoiserRecipe.model_validate(settings))
    assert not any(map(is_trained_with_layers, names))
    assert all(map(is_trained_without, names))
    assert is_trained_with_layers("audio_embedding.linear_2.weight")


def test_a_clip_without_voice_is_named(audio_data: Path) -> None:
    voices = load_voices(audio_data / "voices")
    rng = np.random.default_rng(0)
    assert pick_voice(voices, "a", rng).shape == (2 * NUM_FRAMES, SPEECH_DIM)
    with pytest.raises(TrainingError, match="bbaf2n"):
        pick_voice(voices, "bbaf2n", rng)


def test_no_clips_is_an_error(audio_data: Path, tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    with pytest.raises(TrainingError, match="data prepare"):
        AudioStage(_recipe(tmp_path, tmp_path))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported network with random audio layers."""
    folder = tmp_path_factory.mktemp("trained")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        EmoUNet(**unet_config("embedded")).save_pretrained(folder / "unet")
    return folder


@pytest.fixture(scope="module")
def other_features(audio_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same voices in other features: the halves of each row in the other order."""
    folder = tmp_path_factory.mktemp("otherwise")
    for path in (audio_data / "voices").iterdir():
        np.save(folder / path.name, np.roll(np.load(path), SPEECH_DIM // 2, -1))
    return folder


def test_layers_with_a_teacher_start_as_its_layers(audio_data: Path, trained: Path, tmp_path: Path) -> None:
    stage = AudioStage(_recipe(audio_data, tmp_path, teacher=trained, dropout=0.0))
    assert float(draw_losses(stage)["distillation"].detach()) < 1e-9
    stage.export(stage.modules, tmp_path / "export")
    unet = EmoUNet.from_pretrained(trained / "unet")
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    swap_audio_layers(unet, tmp_path / "export")
    assert all(torch.equal(before[name], value) for name, value in unet.state_dict().items())


def test_layers_learn_the_teachers_output_from_other_features(
    audio_data: Path, other_features: Path, trained: Path, tmp_path: Path
) -> None:
    """In the network they compute nearly what its own layers computed. Nothing else in it has changed."""
    path = tmp_path / "refine.yaml"
    path.write_text(
        f"data: {tmp_path / 'data'}\noutput: {tmp_path / 'refine'}\n"
        f"teacher: {trained}\nteacher_voices: {audio_data / 'voices'}\n"
        "steps: 80\nlearning_rate: 3.0e-3\nlr_warmup_steps: 1\nnum_threads: 1\ncomponents: 3\nclips: 2\n"
        "dropout: 0.0\nema_decay: 0.0\n"
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tracks").symlink_to(audio_data / "tracks")
    (tmp_path / "data" / "voices").symlink_to(other_features)
    stage = AudioStage(load_recipe(AudioRecipe, path, []))
    at_first = float(draw_losses(stage)["distillation"].detach())
    training.run("audio", path)
    unet = EmoUNet.from_pretrained(trained / "unet")
    own = {name: value.clone() for name, value in unet.state_dict().items()}
    voices, others = load_voices(audio_data / "voices"), load_voices(other_features)
    window = [torch.from_numpy(each["a"][0][:10]).float()[None, None] for each in (voices, others)]
    assert unet.audio_projection is not None
    with torch.no_grad():
        said = unet.audio_projection(window[0])
        swap_audio_layers(unet, tmp_path / "refine" / "export")
        away = (unet.audio_projection(window[1]) - said).square().mean() / said.var()
    assert at_first > 0.5
    assert away < 0.5 * at_first
    changed = {name for name, value in unet.state_dict().items() if not torch.equal(value, own[name])}
    assert changed
    assert all(map(is_audio_layer, changed))


@pytest.fixture(scope="module")
def sung(audio_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips with a song of each at half the pace, in which other features tell the opening."""
    folder = tmp_path_factory.mktemp("sung")
    (folder / "tracks").symlink_to(audio_data / "tracks")
    (folder / "voices" / "sung").mkdir(parents=True)
    for path in (audio_data / "voices").iterdir():
        values = np.load(path)
        np.save(folder / "voices" / path.name, values)
        clip, variant, _ = path.name.split(".")
        if clip != "quiet":
            tokens = np.repeat(np.roll(values, SPEECH_DIM // 2, -1), 2, 0)
            frames = (np.arange(2 * NUM_FRAMES) + 0.5) / 2 - 0.5
            Song(tokens, frames).save(folder / "voices" / "sung" / f"{clip}.{variant}.npz")
    return folder


def test_learns_from_songs_what_voices_do_not_tell(sung: Path, tmp_path: Path) -> None:
    settings = dict(steps=80, learning_rate=3e-3, clips=2, dropout=0.0, quiet_share=0.0)
    with_songs, without, only_songs = (
        AudioStage(_recipe(sung, tmp_path, sung_share=share, **settings)) for share in (0.5, 0.0, 1.0)
    )
    for stage in (with_songs, without):
        parameters = [p for module in stage.modules.values() for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, 3e-3)
        generator = torch.Generator().manual_seed(0)
        for _ in range(160):
            optimizer.zero_grad()
            torch.autograd.backward(stage.loss(stage.dataset.draw(generator), generator)["loss"])
            optimizer.step()
    for name, module in only_songs.modules.items():
        module.load_state_dict(without.modules[name].state_dict())
    assert _explained(only_songs) < 0.3
    assert _explained(without) > 0.8
    for name, module in only_songs.modules.items():
        module.load_state_dict(with_songs.modules[name].state_dict())
    assert _explained(only_songs) > 0.7


def test_the_teacher_reads_a_song_as_it_was_spoken(sung: Path, trained: Path, tmp_path: Path) -> None:
    """At the pace of the song: one target for each of its frames."""
    stage = AudioStage(_recipe(sung, tmp_path, teacher=trained, sung_share=1.0, quiet_share=0.0, clips=1))
    song_FTD, spoken_FTD, target_FK, _ = stage.dataset.draw_clip(np.random.default_rng(0))
    assert len(song_FTD) == len(spoken_FTD) == len(target_FK) == 2 * NUM_FRAMES
    assert not torch.equal(song_FTD, spoken_FTD)
    plain = AudioStage(_recipe(sung, tmp_path, quiet_share=0.0, clips=1))
    features_FTD, _, spoken_FK, _ = plain.dataset.draw_clip(np.random.default_rng(0))
    torch.testing.assert_close(spoken_FTD[1::2], features_FTD)
    torch.testing.assert_close(target_FK[1:-1:2], torch.lerp(spoken_FK[:-1], spoken_FK[1:], 0.25))


def test_missing_songs_are_an_error(audio_data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="sung_variants"):
        AudioStage(_recipe(audio_data, tmp_path, sung_share=0.3))


@pytest.fixture(scope="module")
def spoken(audio_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips, and a portrait that speaks with a synthetic voice, whose features tell the opening."""
    folder = tmp_path_factory.mktemp("spoken")
    (folder / "tracks").symlink_to(audio_data / "tracks")
    (folder / "sequences").mkdir()
    (folder / "voices").mkdir()
    for path in (audio_data / "voices").iterdir():
        np.save(folder / "voices" / path.name, np.load(path))
    opening = np.abs(np.sin(np.arange(NUM_FRAMES) / 2)) / 8
    points = _track(opening, 9)[..., :2]
    FrameSequence(
        (b"reference", *(b"" for _ in opening)),
        np.concatenate([points[:1], points]),
        np.zeros(478, np.float32),
        64,
        "es-000",
        0,
        np.zeros(NUM_FRAMES, np.float32),
    ).save(folder / "sequences" / "spoken-a.npz")
    values = np.random.default_rng(7).standard_normal((2 * NUM_FRAMES, SPEECH_DIM)) * 0.1
    values[:, 64:128] += 20 * np.repeat(opening, 2)[:, None]
    np.save(folder / "voices" / "es-000.0.npy", values.astype(np.float16))
    return folder


def test_synthetic_voices_have_targets_of_their_own(spoken: Path, tmp_path: Path) -> None:
    filmed, said = (
        AudioStage(_recipe(spoken, tmp_path, spoken_share=share, quiet_share=0.0)) for share in (1e-9, 1.0)
    )
    width = filmed.dataset.num_targets // 2
    assert width == 3 + 1
    for stage, own, other in (
        (filmed, slice(width), slice(width, None)),
        (said, slice(width, None), slice(width)),
    ):
        *_, target_FK, weight_FK = stage.dataset.draw_clip(np.random.default_rng(0))
        assert target_FK.shape == weight_FK.shape == (NUM_FRAMES, 2 * width)
        assert (weight_FK[:, own] > 0).all()
        assert not weight_FK[:, other].any()
        assert not target_FK[:, other].any()
    assert AudioStage(_recipe(spoken, tmp_path)).dataset.num_targets == width


def test_learns_from_synthetic_voices(spoken: Path, tmp_path: Path) -> None:
    settings = dict(learning_rate=3e-3, clips=2, dropout=0.0, quiet_share=0.0)
    stage = AudioStage(_recipe(spoken, tmp_path, spoken_share=0.5, **settings))
    said = AudioStage(_recipe(spoken, tmp_path, spoken_share=1.0, **settings))

    def loss_on_the_synthetic_voice() -> float:
        for name, module in said.modules.items():
            module.load_state_dict(stage.modules[name].state_dict())
        return float(draw_losses(said)["loss"].detach())

    before = loss_on_the_synthetic_voice()
    parameters = [p for module in stage.modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(80):
        optimizer.zero_grad()
        torch.autograd.backward(stage.loss(stage.dataset.draw(generator), generator)["loss"])
        optimizer.step()
    assert loss_on_the_synthetic_voice() < 0.2 * before
    assert float(draw_losses(said)["explained_variance"]) == 0  # that is of filmed mouths alone


def test_missing_synthetic_voices_are_an_error(audio_data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="spoken_sequences"):
        AudioStage(_recipe(audio_data, tmp_path, spoken_share=0.3))


def test_concatenated_features_need_the_same_sounds(audio_data: Path) -> None:
    voices = load_voices(audio_data / "voices")
    both = concatenate_features(voices, voices)
    assert pick_voice(both, "a", np.random.default_rng(0)).shape == (2 * NUM_FRAMES, 2 * SPEECH_DIM)
    with pytest.raises(TrainingError, match="'b'"):
        concatenate_features(voices, {name: kept for name, kept in voices.items() if name != "b"})


@pytest.mark.parametrize("saved", [torch.float32, torch.float16])
def test_a_network_that_has_the_layers_stays_unchanged(
    audio_data: Path, tmp_path: Path, saved: torch.dtype
) -> None:
    stage = AudioStage(_recipe(audio_data, tmp_path))
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

"""The decoder trained alone, on windows around mouths and eyes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from openemo.data.sequences import FrameSequence
from openemo.errors import TrainingError
from openemo.face.landmarks import LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from openemo.rendering.mouth_interior import TEETH_SIZE
from openemo.training.datasets.autoencoder_dataset import WINDOWS, cut_window, draw_frames
from openemo.training.loop import train
from openemo.training.recipes import AutoencoderRecipe
from openemo.training.stages.autoencoder_stage import AutoencoderStage
from tests.training.losses import draw_losses

SMALL = {"sample_size": 64, "fine_channels": 8, "middle_channels": 16}


def _recipe(data: Path, output: Path, **changes: object) -> AutoencoderRecipe:
    settings: dict[str, object] = {
        "data": data,
        "output": output,
        "steps": 3,
        "learning_rate": 1e-3,
        "lr_warmup_steps": 1,
        "sequences": 1,
        "frames": 2,
        "model": SMALL,
    }
    return AutoencoderRecipe.model_validate(settings | changes)


def _weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "export" / "autoencoder" / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def before(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = _recipe(data_dir, tmp_path_factory.mktemp("whole"))
    train(AutoencoderStage(recipe), recipe, recipe.output)
    return recipe.output


def test_reference_features_and_settings_stay(data_dir: Path, before: Path, tmp_path: Path) -> None:
    recipe = _recipe(
        data_dir,
        tmp_path,
        initial_weights=before / "export" / "autoencoder",
        decoder_only=True,
        ema_decay=0.0,
    )
    train(AutoencoderStage(recipe), recipe, recipe.output)
    old, new = _weights(before), _weights(tmp_path)
    assert old.keys() == new.keys()
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert moved
    assert all(name.startswith("decoder.") for name in moved)
    assert {"decoder.conv_out.weight", "decoder.joins.0.weight"} <= moved
    config = Path("export", "autoencoder", "config.json")
    assert (before / config).read_text() == (tmp_path / config).read_text()


def test_the_teeth_of_the_data_replace_those_of_the_initial_weights(
    data_dir: Path, before: Path, tmp_path: Path
) -> None:
    start = before / "export" / "autoencoder"
    data = tmp_path / "data"
    (data / "sequences").mkdir(parents=True)
    for path in (data_dir / "sequences").glob("*.npz"):
        (data / "sequences" / path.name).symlink_to(path)
    assert not AutoencoderStage(_recipe(data, tmp_path, initial_weights=start)).model.teeth.any()
    np.save(data / "teeth.npy", np.full((4, *TEETH_SIZE), 0.5, np.float32))
    assert (AutoencoderStage(_recipe(data, tmp_path, initial_weights=start)).model.teeth == 0.5).all()
    np.save(data / "teeth.npy", np.zeros((4, 48, 96), np.float32))
    with pytest.raises(TrainingError, match=r"\(4, 48, 96\)"):
        AutoencoderStage(_recipe(data, tmp_path, initial_weights=start))


def test_mixed_precision_computes_the_same_step(data_dir: Path, tmp_path: Path) -> None:
    losses, gradients = [], []
    for mixed_precision in ("no", "bf16"):
        stage = AutoencoderStage(_recipe(data_dir, tmp_path, mixed_precision=mixed_precision))
        loss = draw_losses(stage)["loss"]
        loss.backward()
        trained = [p.grad for p in stage.model.parameters() if p.grad is not None]
        assert all(gradient.dtype == torch.float32 for gradient in trained)
        losses.append(loss.item())
        gradients.append(torch.cat([gradient.flatten() for gradient in trained]))
    # bfloat16 has 8 bits: 0.4 % per operation.
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert not torch.equal(gradients[1], gradients[0])
    assert torch.cosine_similarity(gradients[0], gradients[1], 0) > 0.99


def test_open_mouths_are_drawn_as_often_as_asked(data_dir: Path) -> None:
    sequence = FrameSequence.load(data_dir / "sequences" / "driven-a.npz")
    points = sequence.points_px.copy()
    points[:, 13], points[:, 14] = (30, 30), (30, 31)
    points[[3, 6], 14] = (30, 40)  # two of seven frames, the widest third
    talking = replace(sequence, points_px=points)
    rng = np.random.default_rng(0)
    drawn = draw_frames(talking, 4000, 0.6, rng)
    assert (drawn.min(), drawn.max()) == (1, sequence.num_frames)
    # 0.6 chosen, and 2/7 of the other 0.4; three standard deviations of 4000 draws.
    assert abs(np.isin(drawn, [3, 6]).mean() - (0.6 + 0.4 * 2 / 7)) < 0.022
    assert set(draw_frames(talking, 50, 1.0, rng)) == {3, 6}

    for eye in (LEFT_EYE, RIGHT_EYE):  # shut in one frame of seven
        points[5, eye[:8:-1]] = points[5, eye[1:8]]
    blinking = replace(sequence, points_px=points)
    assert set(draw_frames(blinking, 50, 1.0, rng, on_eyes=True)) == {5}


def test_windows_lie_on_what_is_asked_for(data_dir: Path, tmp_path: Path) -> None:
    """Mouth low in the picture, eyes high: the window on the mouth holds the mouth near its middle."""
    points = torch.full((2, 478, 2), 0.5)
    points[:, list(OUTER_LIPS)] = torch.tensor([0.5, 0.7])
    points[:, [*LEFT_EYE, *RIGHT_EYE]] = torch.tensor([0.5, 0.3])
    pictures, flow = torch.zeros(3, 3, 256, 256), torch.zeros(2, 2, 32, 32)
    for on, expected in (("mouth", 0.5), ("eyes", 1.5), ("eyes and mouth", 1.0)):
        window = cut_window(pictures, flow, points, 96, WINDOWS[on], np.random.default_rng(0))
        assert window[0].shape[-2:] == (96, 96)
        assert window[1].shape[-2:] == (12, 12)
        mouth = float(window[2][0, OUTER_LIPS[0], 1])
        assert abs(mouth - expected) < 0.27  # jitter of 16 px and the grid of 16 px, of 96

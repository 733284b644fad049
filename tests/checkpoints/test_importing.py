"""Imports of published formats give the same numbers and account for every key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from openemo.audio import WhisperEncoder
from openemo.checkpoints.catalogue import Licence
from openemo.checkpoints.components import load_network
from openemo.checkpoints.folder import file_sha256
from openemo.checkpoints.importing import import_weights
from openemo.checkpoints.parts import read_source
from openemo.checkpoints.verifying import verify
from openemo.errors import CheckpointError, ConfigError, OutputError
from openemo.models import EmoUNet
from tests.parity import folder_of

UNET_FILE = "diffusion_pytorch_model.safetensors"


def same(state: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def test_diffusers_folder_becomes_networks_with_the_same_numbers(
    sd15_folder: Path, sd15_unet: UNet2DConditionModel, sd15_vae: AutoencoderKL, tmp_path: Path
) -> None:
    record = import_weights("sd15", sd15_folder, tmp_path / "out")
    unet = load_network(EmoUNet, tmp_path / "out" / "unet")
    sample, text = torch.randn(1, 4, 8, 16), torch.randn(1, 5, sd15_unet.config.cross_attention_dim)
    with torch.no_grad():
        expected = sd15_unet(sample, torch.tensor([7]), text).sample
        output = unet(sample[:, :, None], torch.tensor([7]), encoder_hidden_states=text)[:, :, 0]
    # Two implementations of one network in float32: only rounding.
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert same(load_file(tmp_path / "out" / "autoencoder" / UNET_FILE), sd15_vae.state_dict())
    assert AutoencoderKL.from_pretrained(tmp_path / "out" / "autoencoder").config.scaling_factor == 0.18215
    assert record.left_over == {"text_encoder/": "EMO reads no text"}
    assert record == read_source(tmp_path / "out")
    assert record.files[f"unet/{UNET_FILE}"] == file_sha256(sd15_folder / "unet" / UNET_FILE)
    assert verify(tmp_path / "out") == {
        "unet": "EmoUNet: hash, 686 names and shapes",
        "autoencoder": "ImageAutoencoder: hash, 248 names and shapes",
    }


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_single_file_gives_what_the_folder_gives(
    ldm_state: dict[str, Tensor],
    sd15_unet: UNet2DConditionModel,
    sd15_vae: AutoencoderKL,
    tmp_path: Path,
    ending: str,
) -> None:
    others = {
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.zeros(3),
        "model_ema.diffusion_modelconv_inbias": torch.zeros(3),
        "betas": torch.zeros(5),
        "sqrt_alphas_cumprod": torch.zeros(5),
    }
    path = tmp_path / f"v1-5.{ending}"
    if ending == "ckpt":
        torch.save({"state_dict": ldm_state | others, "global_step": 3}, path)
    else:
        save_file({name: tensor.contiguous() for name, tensor in (ldm_state | others).items()}, path)
    record = import_weights("sd15", path, tmp_path / "out")
    assert same(load_file(tmp_path / "out" / "unet" / UNET_FILE), sd15_unet.state_dict())
    assert same(load_file(tmp_path / "out" / "autoencoder" / UNET_FILE), sd15_vae.state_dict())
    assert record.left_over.keys() - {"global_step"} == others.keys()
    assert ("global_step" in record.left_over) == (ending == "ckpt")
    assert all(record.left_over.values())
    load_network(EmoUNet, tmp_path / "out" / "unet")


def test_autoencoder_alone_in_either_naming(
    sd15_vae: AutoencoderKL, ldm_state: dict[str, Tensor], tmp_path: Path
) -> None:
    olds = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, tensor in sd15_vae.state_dict().items():
        for new, old in olds.items():
            name = name.replace(f".{new}.", f".{old}.")
        state[name] = tensor
    sd15_vae.save_pretrained(tmp_path / "old")
    save_file(state, tmp_path / "old" / UNET_FILE)
    import_weights("sd15", tmp_path / "old", tmp_path / "from_old")
    prefix = "first_stage_model."
    bare = {
        name.removeprefix(prefix): t.contiguous() for name, t in ldm_state.items() if name.startswith(prefix)
    }
    save_file(bare | {"loss.logvar": torch.zeros(1)}, tmp_path / "vae-ft-mse.safetensors")
    record = import_weights("sd15", tmp_path / "vae-ft-mse.safetensors", tmp_path / "from_ldm")
    for name in ("from_old", "from_ldm"):
        assert same(load_file(tmp_path / name / "autoencoder" / UNET_FILE), sd15_vae.state_dict())
    assert list(record.components) == ["autoencoder"]
    assert list(record.left_over) == ["loss.logvar"]


def test_the_recorded_unet_and_autoencoder_of_the_parity_cases(tmp_path: Path) -> None:
    parity = folder_of("sd15_unet").parent
    for name, case, cls in (
        ("unet", "sd15_unet", "UNet2DConditionModel"),
        ("vae", "sd15_vae", "AutoencoderKL"),
    ):
        (tmp_path / "sd" / name).mkdir(parents=True)
        settings = json.loads((parity / case / "config.json").read_text())["constructor"]
        (tmp_path / "sd" / name / "config.json").write_text(json.dumps(settings | {"_class_name": cls}))
        shutil.copy(parity / case / "weights.safetensors", tmp_path / "sd" / name / UNET_FILE)
    import_weights("sd15", tmp_path / "sd", tmp_path / "out", dtype=torch.float32)
    shutil.copy(
        parity / "sd15_vae" / "weights_old_attention_names.safetensors", tmp_path / "sd" / "vae" / UNET_FILE
    )
    import_weights("sd15", tmp_path / "sd" / "vae", tmp_path / "old", dtype=torch.float32)
    unet = load_network(EmoUNet, tmp_path / "out" / "unet")
    inputs = load_file(parity / "sd15_unet" / "inputs.safetensors")
    expected = load_file(parity / "sd15_unet" / "outputs.safetensors")["b.sample"]
    with torch.no_grad():
        output = unet(
            inputs["b.sample"][:, :, None],
            inputs["b.timestep"],
            encoder_hidden_states=inputs["b.encoder_hidden_states"],
        )[:, :, 0]
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=0)  # the case's own tolerance
    image = load_file(parity / "sd15_vae" / "inputs.safetensors")["image"]
    expected = load_file(parity / "sd15_vae" / "outputs.safetensors")["mean"]
    for folder in ("out", "old"):
        vae = AutoencoderKL.from_pretrained(tmp_path / folder / "autoencoder")
        with torch.no_grad():
            mean = vae.encode(image).latent_dist.mean
        torch.testing.assert_close(mean, expected, atol=1e-4, rtol=0)


def test_shards_are_joined(sd15_folder: Path, sd15_unet: UNet2DConditionModel, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sd15_folder / "unet", tmp_path / "unet"))
    state = load_file(folder / UNET_FILE)
    (folder / UNET_FILE).unlink()
    names = sorted(state)
    halves = {"a.safetensors": names[:300], "b.safetensors": names[300:]}
    for file, part in halves.items():
        save_file({name: state[name] for name in part}, folder / file)
    places = {name: file for file, part in halves.items() for name in part}
    (folder / f"{UNET_FILE}.index.json").write_text(json.dumps({"weight_map": places}))
    record = import_weights("sd15", folder, tmp_path / "out")
    assert same(load_file(tmp_path / "out" / "unet" / UNET_FILE), sd15_unet.state_dict())
    assert set(record.files) == set(halves)


@pytest.mark.parametrize(("mid", "max_frames", "prefix"), [(True, 32, ""), (False, 24, "module.")])
def test_animatediff_v2_and_v3(
    motion_state: Callable[..., dict[str, Tensor]],
    sd15_unet: UNet2DConditionModel,
    tmp_path: Path,
    mid: bool,
    max_frames: int,
    prefix: str,
) -> None:
    state = motion_state(mid=mid, max_frames=max_frames)
    path = tmp_path / "mm.ckpt"
    torch.save({"state_dict": {prefix + name: tensor for name, tensor in state.items()}, "epoch": 4}, path)
    record = import_weights("animatediff", path, tmp_path / "out")
    assert same(load_file(tmp_path / "out" / "motion_modules" / UNET_FILE), state)
    config = json.loads((tmp_path / "out" / "motion_modules" / "config.json").read_text())
    assert (config["temporal_mid"], config["max_frames"]) == (mid, max_frames)
    assert config["block_out_channels"] == list(sd15_unet.config.block_out_channels)
    assert list(record.left_over) == ["epoch"]
    assert verify(tmp_path / "out").keys() == {"motion_modules"}


def test_wav2vec2_gives_the_same_features(wav2vec2_folder: Path, tmp_path: Path) -> None:
    record = import_weights("wav2vec2", wav2vec2_folder, tmp_path / "out")
    encoder_folder = tmp_path / "out" / "speech_encoder"
    assert {name.split(".")[-2] for name in record.left_over} >= {"lm_head"}
    sound = torch.randn(1, 4_000)
    states = []
    for folder in (wav2vec2_folder, encoder_folder):
        model = Wav2Vec2Model.from_pretrained(folder).eval()
        with torch.no_grad():
            states.append(model(sound, output_hidden_states=True).hidden_states[-1])
    torch.testing.assert_close(*states, atol=0, rtol=0)
    assert json.loads((encoder_folder / "preprocessor_config.json").read_text()) == {"do_normalize": True}
    assert verify(tmp_path / "out")["speech_encoder"].startswith("Wav2VecEncoder")


def test_wav2vec2_in_both_namings_of_the_parity_case(tmp_path: Path) -> None:
    case = folder_of("hallo_audio")
    settings = json.loads((case / "config.json").read_text())["wav2vec2_config"] | {"model_type": "wav2vec2"}
    states = []
    for name in ("weights", "weights_hub_names"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(settings))
        shutil.copy(case / f"{name}.safetensors", tmp_path / name / "model.safetensors")
        record = import_weights("wav2vec2", tmp_path / name, tmp_path / f"{name}_out", dtype=torch.float32)
        assert len(record.left_over) == 1  # the mask embedding
        states.append(load_file(tmp_path / f"{name}_out" / "speech_encoder" / "model.safetensors"))
    assert same(*states)
    published = load_file(case / "weights.safetensors")
    assert len(states[0]) == len(published) - len(record.left_over)
    config = Wav2Vec2Config(**json.loads((tmp_path / "weights_out/speech_encoder/config.json").read_text()))
    Wav2Vec2Model(config).load_state_dict(states[0])


def test_whisper_of_openai_is_read_by_our_speech_encoder(openai_whisper: Path, tmp_path: Path) -> None:
    record = import_weights("whisper", openai_whisper, tmp_path / "out")
    encoder = WhisperEncoder.from_pretrained(
        tmp_path / "out" / "speech_encoder", layers=(0, 2), window_tokens=30
    )
    published = torch.load(openai_whisper, weights_only=True)["model_state_dict"]
    own = encoder.encoder.state_dict()
    assert torch.equal(own["layers.1.self_attn.v_proj.bias"], published["encoder.blocks.1.attn.value.bias"])
    assert torch.equal(own["layers.0.fc2.weight"], published["encoder.blocks.0.mlp.2.weight"])
    assert torch.equal(own["layer_norm.bias"], published["encoder.ln_post.bias"])
    assert list(record.left_over) == ["decoder.positional_embedding"]
    assert record.licence == "MIT"


def test_whisper_of_the_parity_case(tmp_path: Path) -> None:
    case = folder_of("echomimic_audio")
    dims = json.loads((case / "config.json").read_text())["dims"]
    weights = load_file(case / "weights.safetensors")
    torch.save({"dims": dims, "model_state_dict": weights}, tmp_path / "whisper_tiny.pt")
    record = import_weights("whisper", tmp_path / "whisper_tiny.pt", tmp_path / "out", dtype=torch.float32)
    encoder = WhisperEncoder.from_pretrained(tmp_path / "out" / "speech_encoder", layers=(0,)).encoder
    assert all(name.startswith("decoder.") for name in record.left_over)
    assert len(encoder.state_dict()) == len(weights) - len(record.left_over)
    # The recorded features are the states before the last norm: embedding, then each block.
    mel = load_file(case / "outputs.safetensors")["log_mel"][:, :3000]  # one window: 30 s
    expected = load_file(case / "outputs.safetensors")["features"][:1500]
    padded = torch.nn.functional.pad(mel, (0, 3000 - mel.shape[1]))[None]
    states: list[Tensor] = []
    hooks = [
        block.register_forward_pre_hook(lambda _, args: states.append(args[0])) for block in encoder.layers
    ]
    with torch.no_grad():
        encoder(padded)
    for hook in hooks:
        hook.remove()
    for i, state in enumerate(states):
        torch.testing.assert_close(state[0, : len(expected)], expected[:, i], atol=1e-3, rtol=0)


def test_dtype_is_the_sources_unless_another_is_asked_for(sd15_vae: AutoencoderKL, tmp_path: Path) -> None:
    sd15_vae.save_pretrained(tmp_path / "vae")
    for dtype in (None, torch.float16):
        out = tmp_path / str(dtype)
        import_weights("sd15", tmp_path / "vae", out, dtype=dtype)
        stored = {tensor.dtype for tensor in load_file(out / "autoencoder" / UNET_FILE).values()}
        assert stored == {dtype or torch.float32}


def test_licence_is_the_users_where_given(sd15_vae: AutoencoderKL, tmp_path: Path) -> None:
    sd15_vae.save_pretrained(tmp_path / "vae")
    record = import_weights(
        "sd15", tmp_path / "vae", tmp_path / "out", licence=Licence("Mine", commercial=False)
    )
    assert (record.licence, record.commercial) == ("Mine", False)


def test_wrong_uses_are_errors(sd15_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such format"):
        import_weights("sdxl", sd15_folder, tmp_path / "out")
    with pytest.raises(CheckpointError, match="no such file"):
        import_weights("sd15", tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="there already"):
        import_weights("sd15", sd15_folder, tmp_path / "full")
    assert [child.name for child in tmp_path.iterdir()] == ["full"]


def test_nothing_half_written_stays(
    sd15_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openemo.checkpoints.importing.write_hashes", full)
    with pytest.raises(OutputError, match="No space left"):
        import_weights("sd15", sd15_folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []

"""Recipes: what is wrong in them is said, and those that ship are right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from openemo import training
from openemo.data.data_recipe import DataRecipe
from openemo.errors import ConfigError, TrainingError
from openemo.models import unet_config
from openemo.settings import StrictModel, load_recipe
from openemo.training.recipes import (
    ArticulationRecipe,
    AudioRecipe,
    AutoencoderRecipe,
    DenoiserRecipe,
    LoopRecipe,
    SyncRecipe,
)

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
KINDS: dict[str, type[StrictModel]] = {
    "data": DataRecipe,
    "autoencoder": AutoencoderRecipe,
    "decoder": AutoencoderRecipe,
    "audio": AudioRecipe,
    "audio_refine": AudioRecipe,
    "image": DenoiserRecipe,
    "video": DenoiserRecipe,
    "speed": DenoiserRecipe,
    "sync": SyncRecipe,
    "articulation": ArticulationRecipe,
}
MINIMAL = "data: somewhere\noutput: there\nsteps: 7\nlearning_rate: 1e-3\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL)
    return path


def test_values_defaults_and_overrides(recipe: Path) -> None:
    settings = load_recipe(LoopRecipe, recipe, ["steps=9", "lr_decay_share=0.25", "output=a=b"])
    assert (settings.steps, settings.lr_decay_share, settings.output) == (9, 0.25, Path("a=b"))
    # YAML 1.1 takes 1e-3, without a point, for a text.
    assert settings.learning_rate == 1e-3
    assert settings.data == Path("somewhere")


def test_an_override_can_be_a_mapping(recipe: Path) -> None:
    settings = load_recipe(AutoencoderRecipe, recipe, ["model={sample_size: 64}"])
    assert settings.model == {"sample_size": 64}


def test_a_bare_no_of_yaml_is_no_mixed_precision(recipe: Path) -> None:
    for value, read in (("no", "no"), ("'no'", "no"), ("bf16", "bf16")):
        settings = load_recipe(AutoencoderRecipe, recipe, [f"mixed_precision={value}"])
        assert settings.mixed_precision == read
    with pytest.raises(ConfigError, match="expected 'no' or 'bf16'"):
        load_recipe(AutoencoderRecipe, recipe, ["mixed_precision=yes"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stps=9", "`stps`.*Settings of this recipe: output, data, steps"),
        ("steps", "an override is not a setting; got steps"),
        ("steps=many", "`steps`; got many"),
        ("steps=", "`steps`"),
        ("steps=[1", "no YAML value"),
        ("lr_decay_share=1.5", "`lr_decay_share`; got 1.5; expected .*less than or equal to 1"),
    ],
)
def test_wrong_overrides_are_named(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(LoopRecipe, recipe, [override])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (MINIMAL + "seeed: 1\n", "`seeed`"),
        ("output: there\nsteps: 7\nlearning_rate: 1e-3\n", "`data`.*required"),
        ("- a\n- b\n", "is not a mapping; got list"),
        ("", "is not a mapping"),
        ("a: [1", "cannot be read"),
        ("a: \udcff", "cannot be read"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(LoopRecipe, path, [])
    assert "wrong.yaml" in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_recipe(LoopRecipe, path, [])


def test_unknown_stages_are_refused(recipe: Path) -> None:
    with pytest.raises(ConfigError, match="autoencoder or audio or image or video or speed or sync"):
        training.run("sound", recipe)


def test_without_accelerate_a_stage_names_the_extra(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ConfigError, match=r"openemo\[train\]"):
        training.run("audio", recipe)


def test_stages_without_what_they_need_say_so(recipe: Path, tmp_path: Path) -> None:
    place = [f"output={tmp_path / 'out'}", f"data={tmp_path}"]
    with pytest.raises(TrainingError, match=r"no sequences in .*openemo data prepare"):
        training.run("autoencoder", recipe, place)
    with pytest.raises(TrainingError, match=r"no trained network in .*before"):
        training.run("image", recipe, [*place, f"autoencoder={tmp_path}"])


@pytest.mark.parametrize("name", KINDS)
def test_shipped_recipes_are_right(name: str) -> None:
    load_recipe(KINDS[name], RECIPES / f"{name}.yaml", [])


def test_every_shipped_recipe_is_tested() -> None:
    assert {path.stem for path in RECIPES.iterdir()} == set(KINDS)


def test_shipped_stages_build_on_each_other() -> None:
    data = load_recipe(DataRecipe, RECIPES / "data.yaml", [])
    autoencoder = load_recipe(AutoencoderRecipe, RECIPES / "autoencoder.yaml", [])
    # As docs/training.md says.
    more = ["initial_weights=runs/image/export", "output=runs/image_more"]
    stages = image, longer, video, speed = [
        load_recipe(DenoiserRecipe, RECIPES / f"{name}.yaml", changes)
        for name, changes in (("image", []), ("image", more), ("video", []), ("speed", []))
    ]
    assert {stage.data for stage in (autoencoder, *stages)} == {data.output}
    assert {stage.autoencoder for stage in stages} == {autoencoder.output / "export" / "autoencoder"}
    assert image.initial_weights is None
    audio = load_recipe(AudioRecipe, RECIPES / "audio.yaml", [])
    layers = audio.output / "export"
    assert (audio.data, image.audio, video.audio) == (data.output, layers, layers)
    refine = load_recipe(AudioRecipe, RECIPES / "audio_refine.yaml", [])
    assert (refine.data, refine.teacher) == (data.output, speed.output / "export")
    # As the comments of audio_refine.yaml say: for networks that read other states.
    others = load_recipe(DataRecipe, RECIPES / "data.yaml", ["speech_layers=[3,6]", "voices_name=voices-3-6"])
    changes = ["teacher_voices=runs/data/voices-3-6"]
    changed = load_recipe(AudioRecipe, RECIPES / "audio_refine.yaml", changes)
    assert changed.teacher_voices == others.voices != data.voices
    assert all(data.sung_variants for recipe in (audio, refine) if recipe.sung_share)
    decoder = load_recipe(AutoencoderRecipe, RECIPES / "decoder.yaml", [])
    assert (decoder.data, decoder.initial_weights) == (data.output, image.autoencoder)
    starts = [stage.initial_weights for stage in (longer, video, speed)]
    assert starts == [stage.output / "export" for stage in (image, longer, video)]
    for stage in stages:
        positions = unet_config(stage.preset)["max_frames"]
        assert stage.motion_frames + stage.clip_frames <= positions
        assert data.driven_frames >= stage.motion_frames + stage.clip_frames
        assert 2 * data.quiet_frames >= stage.motion_frames + stage.clip_frames

"""Checks a folder of weights: hashes, settings, and the names and shapes of all tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from openemo.checkpoints.folder import INDEX_NAME, read_index, verify_hashes
from openemo.checkpoints.formats.animatediff import motion_shapes
from openemo.checkpoints.formats.shapes import on_meta
from openemo.checkpoints.parts import SOURCE_NAME, read_source, some
from openemo.errors import CheckpointError
from openemo.files import read_json
from openemo.network_settings import check_arguments

__all__ = ["verify"]

Shapes = dict[str, tuple[int, ...]]


def verify(folder: Path) -> dict[str, str]:
    """Checks an import or a model. Returns for each component what was checked.

    Weights are not loaded: names and shapes come from the files' headers.

    Raises:
        CheckpointError: not an import or a model, a file is missing or changed, or tensors do not fit the
            settings.
    """
    if not folder.is_dir():
        raise CheckpointError("there is no such folder", got=folder, fix="Check the path")
    if (folder / INDEX_NAME).is_file():
        components = read_index(folder).components
    elif (folder / SOURCE_NAME).is_file():
        components = read_source(folder).components
    else:
        raise CheckpointError(f"{folder} has no weights of openemo", got=f"no {INDEX_NAME} or {SOURCE_NAME}")
    verify_hashes(folder)
    for name in components:
        if name != Path(name).name:
            raise CheckpointError(f"{folder} has a component of a wrong name", got=repr(name))
    return {name: _check(folder / name, kind) for name, kind in components.items()}


def _check(folder: Path, kind: str) -> str:
    expected_of = _expected().get(kind)
    if expected_of is None:
        return f"{kind}: hash"
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise CheckpointError(f"{folder} must have one file of weights", got=str(len(files)))
    shapes = _header(files[0])
    path = folder / "config.json"
    expected = expected_of(read_json(path), path, len(shapes))
    wrong = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
    if wrong:
        raise CheckpointError(f"the weights in {folder} do not fit config.json", got=some(wrong))
    return f"{kind}: hash, {len(shapes)} names and shapes"


def _header(path: Path) -> Shapes:
    if not path.is_file():
        raise CheckpointError(f"{path} cannot be read", got="no ordinary file")
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except Exception as error:  # of the library, for whatever the header claims
        raise CheckpointError(f"{path} cannot be read", got=error) from error


def _expected() -> Mapping[str, Callable[[dict[str, Any], Path, int], Shapes]]:
    """Class name -> function from its settings, their file, and the number of its tensors, to the shapes of
    its tensors."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    from openemo.audio.speech_networks import speech_config
    from openemo.audio.whisper_network import WhisperConfig, WhisperNetwork
    from openemo.models import EmoUNet, ReferenceNet
    from openemo.models.image_autoencoder import ImageAutoencoder
    from openemo.models.motion_autoencoder import MotionAutoencoder

    def network(cls: type[Any]) -> Callable[[dict[str, Any], Path, int], Shapes]:
        def shapes(config: dict[str, Any], path: Path, num_tensors: int) -> Shapes:
            arguments = _arguments(config)
            check_arguments(cls, arguments, path)
            return _shapes(on_meta(cls, arguments, num_tensors=num_tensors))

        return shapes

    def encoder(cls: type[Any], config_cls: type[Any]) -> Callable[[dict[str, Any], Path, int], Shapes]:
        def shapes(config: dict[str, Any], path: Path, num_tensors: int) -> Shapes:
            arguments = {"config": speech_config(config_cls, config, path)}
            return _shapes(on_meta(cls, arguments, num_tensors=num_tensors))

        return shapes

    def motion_modules(config: dict[str, Any], path: Path, num_tensors: int) -> Shapes:
        arguments = _arguments(config)
        check_arguments(EmoUNet, arguments, path)
        return motion_shapes(arguments)

    return {
        "EmoUNet": network(EmoUNet),
        "ReferenceNet": network(ReferenceNet),
        "MotionAutoencoder": network(MotionAutoencoder),
        "ImageAutoencoder": network(ImageAutoencoder),
        "MotionModules": motion_modules,
        "Wav2VecEncoder": encoder(Wav2Vec2Model, Wav2Vec2Config),
        "WhisperEncoder": encoder(WhisperNetwork, WhisperConfig),
    }


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _shapes(network: Any) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}

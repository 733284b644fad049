"""The mean of several trainings' weights: "model soups" (Wortsman and others 2022).

Stages that began from the same networks lie in one valley, so the mean of their weights works too, and keeps
most of what each of them knows: speakers of an earlier stage, sounds of a later one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from openemo.checkpoints.components import load_scheduler
from openemo.errors import TrainingError
from openemo.files import fresh_folder
from openemo.models import EmoUNet, ReferenceNet
from openemo.training.audio_exports import export_audio_layers
from openemo.training.exports import load_export

__all__ = ["average"]

Network = TypeVar("Network", EmoUNet, ReferenceNet)


def average(networks: Sequence[Path], output: Path) -> None:
    """Writes the mean of exports of denoising stages, as such a stage would, and its audio layers beside it.

    Args:
        networks: exports of denoising stages; one that is given twice counts twice.

    Raises:
        TrainingError: fewer than two, nothing was exported, or networks of different shapes.
    """
    if len(networks) < 2:
        raise TrainingError("there is nothing to average", got=f"{len(networks)} export")
    with fresh_folder(output) as folder:
        unet = _mean(EmoUNet, [each / "unet" for each in networks])
        unet.save_pretrained(folder / "unet")
        export_audio_layers(unet, folder)
        _mean(ReferenceNet, [each / "reference_net" for each in networks]).save_pretrained(
            folder / "reference_net"
        )
        load_scheduler(networks[0] / "scheduler").save_pretrained(folder / "scheduler")


def _mean(kind: type[Network], folders: Sequence[Path]) -> Network:
    """The first one's network with the mean of all weights."""
    network = load_export(kind, folders[0])
    sums = {name: value.double() for name, value in network.state_dict().items()}
    for folder in folders[1:]:
        state = load_export(kind, folder).state_dict()
        if {name: value.shape for name, value in state.items()} != {
            name: value.shape for name, value in sums.items()
        }:
            raise TrainingError(f"the networks in {folder} have other shapes than those in {folders[0]}")
        for name, value in state.items():
            sums[name] += value.double()
    network.load_state_dict({name: (total / len(folders)).float() for name, total in sums.items()})
    return network

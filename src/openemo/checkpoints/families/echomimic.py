"""EchoMimic v1 (Apache-2.0): four files, and the accelerated weights of the same networks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from openemo.checkpoints.families.keymap import KeyMap, locator_name
from openemo.errors import CheckpointError
from openemo.models import EmoUNet, ReferenceNet

__all__ = ["FILES", "join", "key_map"]

# Stem of a published file -> the network that its tensors are of. The accelerated weights are in two files
# with "_acc" behind the stem, beside the plain reference_unet and face_locator.
FILES = {
    "denoising_unet": "denoising_unet",
    "motion_module": "denoising_unet",
    "reference_unet": "reference_unet",
    "face_locator": "face_locator",
}
_COMPONENTS = {"unet": "denoising_unet", "reference_net": "reference_unet"}


def key_map(unet: EmoUNet, reference_net: ReferenceNet) -> KeyMap:
    """The map for networks with the settings of EchoMimic, of any size; published names as `join` makes them.

    Nothing is left over. A network without face locator takes checkpoints without that file.
    """
    return KeyMap.of_networks("EchoMimic", {"unet": unet, "reference_net": reference_net}, _published)


def join(files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Files by stem, with or without "_acc" -> all tensors as "network/key".

    Raises:
        CheckpointError: a file of another name, or a tensor that two files hold.
    """
    joined: dict[str, Tensor] = {}
    for stem, keys in files.items():
        network = FILES.get(stem.removesuffix("_acc"))
        if network is None:
            raise CheckpointError("not a file of EchoMimic", got=stem, expected=", ".join(FILES))
        for key, tensor in keys.items():
            name = f"{network}/{key}"
            if name in joined:
                raise CheckpointError("two files hold the same tensor", got=f"{key} in {stem} and another")
            joined[name] = tensor
    return joined


def _published(own: str) -> str:
    locator = locator_name(own)
    if locator is not None:
        return f"face_locator/{locator}"
    component, _, key = own.partition(".")
    return f"{_COMPONENTS[component]}/{key}"

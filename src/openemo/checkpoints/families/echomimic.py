"""EchoMimic v1 (Apache-2.0): four files. The accelerated weights are of the same networks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from openemo.checkpoints.families.locator_names import published_locator_name
from openemo.checkpoints.key_map import KeyMap
from openemo.errors import CheckpointError
from openemo.models import EmoUNet, ReferenceNet

__all__ = ["FILES", "join", "key_map"]

# Stem of a published file -> the network of its tensors. Two files of the accelerated weights end in "_acc";
# the other two are the plain ones.
FILES = {
    "denoising_unet": "denoising_unet",
    "motion_module": "denoising_unet",
    "reference_unet": "reference_unet",
    "face_locator": "face_locator",
}
_COMPONENTS = {"unet": "denoising_unet", "reference_net": "reference_unet"}


def key_map(unet: EmoUNet, reference_net: ReferenceNet) -> KeyMap:
    """The map for networks with the settings of EchoMimic, of any size; published names are those of `join`.

    All tensors are used. A network without a face locator takes checkpoints without that file.
    """
    return KeyMap.of_networks("EchoMimic", {"unet": unet, "reference_net": reference_net}, _published_name)


def join(files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors by the file's stem, with or without "_acc" -> all tensors as "network/key".

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


def _published_name(own: str) -> str:
    locator = published_locator_name(own)
    if locator is not None:
        return f"face_locator/{locator}"
    component, _, key = own.partition(".")
    return f"{_COMPONENTS[component]}/{key}"

"""Hallo's `net.pth` (MIT): both UNets, face locator, identity and audio projection in one file."""

from __future__ import annotations

import re

from openemo.checkpoints.families.locator_names import published_locator_name
from openemo.checkpoints.key_map import KeyMap
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.region_audio import REGIONS

__all__ = ["key_map"]

# Own name -> published name; the first match counts.
_RULES = (
    (r"unet\.identity_projection\.(.*)", r"imageproj.\1"),
    (r"unet\.audio_projection\.linear_(\d)\.(.*)", r"audioproj.proj\1.\2"),
    (r"unet\.audio_projection\.norm\.(.*)", r"audioproj.norm.\1"),
    (r"unet\.(.*)\.attn_regions\.(\d)\.(.*)", r"denoising_unet.\1.attn2_\2.\3"),
    (r"unet\.(.*)", r"denoising_unet.\1"),
    (r"reference_net\.(.*)", r"reference_unet.\1"),
)


def key_map(unet: EmoUNet, reference_net: ReferenceNet) -> KeyMap:
    """The map for networks with the settings of Hallo, of any size, also on the meta device.

    All tensors are used. The temporal modules of levels without spatial attention exist in both the file and
    the network, but neither runs them.
    """
    networks = {"unet": unet, "reference_net": reference_net}
    return KeyMap.of_networks("Hallo's net.pth", networks, _published_name)


def _published_name(own: str) -> str:
    locator = published_locator_name(own)
    if locator is not None:
        return f"face_locator.{locator}"
    for index, region in enumerate(REGIONS):
        own = own.replace(f".conv_regions.{index}.", f".zero_conv_{region}.")
    return next(re.sub(rule, name, own) for rule, name in _RULES if re.fullmatch(rule, own))

"""EMO's networks, at any size, from one implementation."""

from openemo.models.presets import reference_config, unet_config
from openemo.models.reference import ReferenceFeatures, ReferenceNet
from openemo.models.unet import EmoUNet

__all__ = ["EmoUNet", "ReferenceFeatures", "ReferenceNet", "reference_config", "unet_config"]

"""The networks: denoising UNet, ReferenceNet, autoencoders and sync embedder."""

from openemo.models.network_presets import reference_config, unet_config
from openemo.models.reference_net import ReferenceFeatures, ReferenceNet
from openemo.models.unet import EmoUNet

__all__ = ["EmoUNet", "ReferenceFeatures", "ReferenceNet", "reference_config", "unet_config"]

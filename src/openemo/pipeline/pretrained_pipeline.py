"""The networks of a pipeline: loaded, saved, moved, and brought to the device only when they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, get_args

import torch

from openemo import checkpoints
from openemo.audio import SpeechEncoder
from openemo.checkpoints.components import Components, load_components, move, save_components
from openemo.config import PipelineConfig
from openemo.ddim_scheduler import Scheduler
from openemo.errors import ConfigError
from openemo.face import FaceAnalyzer
from openemo.face.face_embedder import FaceEmbedder
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.attention import slice_attention
from openemo.models.autoencoder import Autoencoder, Engine, torch_engine
from openemo.pipeline.offload import Offload, OffloadKind
from openemo.pipeline.openvino_engine import EngineKind, OpenVinoEngine, cache_folder, has_openvino

__all__ = ["PretrainedPipeline"]


class PretrainedPipeline:
    """The components of `EmoPipeline`.

    Args:
        scheduler: any scheduler of diffusers; each clip gets a copy.
        config: defaults of a call.
        face_embedder: for networks with identity layers; without it the identity is nobody in particular. No
            checkpoint has one: the user brings it.
        decode_frames: frames decoded together: enough to keep the cores busy, few enough to bound the memory.

    Attributes:
        engine: what runs UNet, ReferenceNet and decoder, see `enable_engine`.
        model_name: as it was loaded, without its folder; told in the videos' credentials.
        weights_sha256: of the checkpoint's list of hashes; None for networks that come from no checkpoint.
    """

    def __init__(
        self,
        unet: EmoUNet,
        reference_net: ReferenceNet,
        autoencoder: Autoencoder[Any],
        scheduler: Scheduler,
        speech_encoder: SpeechEncoder,
        face_analyzer: FaceAnalyzer,
        config: PipelineConfig,
        face_embedder: FaceEmbedder | None = None,
        *,
        decode_frames: int = 4,
    ) -> None:
        if decode_frames < 1:
            raise ConfigError("too few frames are decoded together", got=decode_frames, expected="1 or more")
        # Convolutions are up to a fifth faster on a CPU in this layout.
        layout = torch.channels_last
        self.unet = unet.eval().to(memory_format=layout)
        self.reference_net = reference_net.eval().to(memory_format=layout)
        self.autoencoder = autoencoder.eval().to(memory_format=layout)
        self.scheduler = scheduler
        self.speech_encoder = speech_encoder
        self.face_analyzer = face_analyzer
        self.config = config
        self.face_embedder = face_embedder
        self.decode_frames = decode_frames
        self._offload: Offload | None = None
        self.engine: Engine = torch_engine
        self.model_name = "unnamed"
        self.weights_sha256: str | None = None

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = checkpoints.EMBEDDED,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        engine: EngineKind = "torch",
        verify: bool = True,
        offload: OffloadKind = "none",
        attention_slice: int | None = None,
        decode_frames: int = 4,
    ) -> Self:
        """Load "embedded", a name, a folder, or "hub:owner/name[@revision]".

        Args:
            dtype: None is float32 in torch, and for OpenVINO see `enable_engine`.
            engine: see `enable_engine`.
            verify: check the files' hashes.
            offload: see `enable_offload`; unless "none", networks go to `device` only when they are called.
            attention_slice: see `enable_attention_slicing`.

        Raises:
            CheckpointError: no such model, or a part of it is missing, damaged or does not fit.
            ConfigError: accelerate is not installed, which sequential offload needs, or OpenVINO; or these
                networks cannot run on this engine.
        """
        folder = checkpoints.resolve(name_or_folder)
        index = checkpoints.read_index(folder)
        if verify:
            checkpoints.verify_hashes(folder)
        first = device if offload == "none" else "cpu"
        loaded = dtype or torch.float32
        if engine == "openvino" and dtype == torch.bfloat16:  # it reads float32, and computes in bfloat16
            loaded = torch.float32
        parts = load_components(folder, index, device=first, dtype=loaded)
        pipeline = cls(*parts, index.config(), decode_frames=decode_frames)
        pipeline.model_name = Path(name_or_folder).name
        pipeline.weights_sha256 = checkpoints.list_sha256(folder)
        pipeline.enable_attention_slicing(attention_slice)
        pipeline.enable_offload(offload, device)
        pipeline.enable_engine(engine, dtype=dtype)
        return pipeline

    def save_pretrained(
        self, folder: str | Path, *, dtype: torch.dtype = torch.float16, licence: str = "Apache-2.0"
    ) -> None:
        """Write a folder that `from_pretrained` reads, with hashes; the weights as `dtype`."""
        self._check_not_offloaded("saved")
        parts = Components(
            self.unet,
            self.reference_net,
            self.autoencoder,
            self.scheduler,
            self.speech_encoder,
            self.face_analyzer,
        )
        save_components(Path(folder), parts, self.config, dtype=dtype, licence=licence)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move all networks in place and return the pipeline; the face networks stay on the CPU.

        Raises:
            ConfigError: they are offloaded, and move by themselves; or they are compiled.
        """
        self._check_not_offloaded("moved")
        self._check_not_compiled("moved")
        for part in (self.unet, self.reference_net, self.autoencoder, self.speech_encoder):
            move(part, device, dtype)
        return self

    def enable_offload(self, kind: OffloadKind, device: torch.device | str) -> None:
        """From now on networks come to `device` only to compute; there is no way back.

        Args:
            kind: "model", one network at a time; "sequential", of the two large ones one layer at a time;
                "none" does nothing.

        Raises:
            ConfigError: they are offloaded already, or accelerate is not installed.
        """
        if kind == "none":
            return
        self._check_not_offloaded("offloaded again")
        self._check_not_compiled("offloaded")
        self._offload = Offload(
            kind,
            device,
            large=(self.unet, self.reference_net),
            small=(self.autoencoder, self.speech_encoder.encoder),
        )

    def enable_engine(self, kind: EngineKind, *, dtype: torch.dtype | None = None) -> None:
        """From now on this runs the networks.

        Args:
            kind: "torch"; "openvino", for the CPU; "auto" takes OpenVINO for models that move the portrait,
                where it is installed, the processor has bfloat16, and the networks are on the CPU in float32.
            dtype: that OpenVINO computes in, see `OpenVinoEngine`.

        Raises:
            ConfigError: unknown kind, OpenVINO is not installed, or the networks are elsewhere.
        """
        if kind not in get_args(EngineKind):
            raise ConfigError("unknown engine", got=repr(kind), expected=", ".join(get_args(EngineKind)))
        is_auto = kind == "auto"
        is_on_cpu = self._offload is None and self.device.type == "cpu" and self.unet.dtype == torch.float32
        if is_auto:
            suits = is_on_cpu and self.autoencoder.moves_portrait and has_openvino()
            kind = "openvino" if suits else "torch"
        if kind == "torch":
            self.engine = torch_engine
            return
        if not is_on_cpu:
            raise ConfigError(
                "the engine openvino runs networks on the CPU, from weights in float32",
                got=f"{self.unet.dtype} on {self.device}" + ("" if self._offload is None else ", offloaded"),
                fix="Choose the engine torch, or leave device, dtype and offload out",
            )
        engine = OpenVinoEngine(dtype=dtype, batch=self.decode_frames, folder=cache_folder())
        if is_auto and not engine.has_bfloat16:
            self.engine = torch_engine
            return
        engine.load_ahead(self.reference_net, self.unet, self.autoencoder)
        self.engine = engine

    def enable_attention_slicing(self, attention_slice: int | None) -> None:
        """Compute attention for at most so many frames at once: less memory, more time; None for all."""
        for network in (self.unet, self.reference_net):
            slice_attention(network, attention_slice)

    def _check_not_offloaded(self, what: str) -> None:
        if self._offload is not None:
            raise ConfigError(
                f"an offloaded pipeline cannot be {what}",
                got=f"offload {self._offload.kind}",
                fix="Load it again without offload",
            )

    def _check_not_compiled(self, what: str) -> None:
        if self.engine is not torch_engine:
            raise ConfigError(
                f"networks that OpenVINO runs cannot be {what}", fix='Call `enable_engine("torch")` first'
            )

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        device: torch.device = self.unet.device if self._offload is None else self._offload.device
        return device

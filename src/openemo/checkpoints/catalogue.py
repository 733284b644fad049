"""The weights that openemo knows by name: where they are published, and what their licence allows.

A revision is a commit of the hub's repository. It is None where it could not be confirmed: then `pull` asks
the hub for the present commit, prints it and records it. Unknown sizes and hashes are left out, too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from openemo.errors import CheckpointError

__all__ = [
    "CATALOGUE",
    "LICENCES",
    "MODELS",
    "Entry",
    "Format",
    "Licence",
    "entry",
    "is_present",
    "weights_folder",
]

Format = Literal["sd15", "animatediff", "wav2vec2", "whisper", "hallo", "echomimic", "echomimic-acc"]
_HOME_VARIABLE = "OPENEMO_WEIGHTS"
# Names that `--model` accepts beside "embedded", and how to get each.
MODELS = {
    "sd15": "Pull sd15-base, animatediff-v2 and wav2vec2, then `openemo weights combine`",
    "hallo": "Run `openemo weights pull hallo`",
    "echomimic": "Run `openemo weights pull echomimic`",
    "echomimic-acc": "Run `openemo weights pull echomimic-acc`",
}


@dataclass(frozen=True)
class Licence:
    """Licence of weights. `note`: what a user should know before the download."""

    name: str
    commercial: bool
    note: str = ""


_APACHE = Licence("Apache-2.0", commercial=True)
_MIT = Licence("MIT", commercial=True)
_OPENRAIL = Licence(
    "CreativeML-OpenRAIL-M", commercial=True, note="the uses listed in its attachment A are forbidden"
)
_INSIGHTFACE = Licence(
    "InsightFace non-commercial research", commercial=False, note="research only; never fetched unless named"
)
_ECHOMIMIC = Licence("Apache-2.0", commercial=True, note="started from SD-1.5 (CreativeML-OpenRAIL-M)")
# Licences of the published weights of each format.
LICENCES: dict[str, Licence] = {
    "sd15": _OPENRAIL,
    "animatediff": _APACHE,
    "wav2vec2": _APACHE,
    "whisper": _MIT,
    "hallo": Licence("MIT", commercial=True, note="started from SD-1.5 (CreativeML-OpenRAIL-M)"),
    "echomimic": _ECHOMIMIC,
    "echomimic-acc": _ECHOMIMIC,
}


@dataclass(frozen=True)
class Entry:
    """One known set of weights.

    Attributes:
        what: description for users, one line.
        repository: "owner/name" on the hub.
        revision: commit, or None if it is not known.
        files: patterns of the files to download; no others are.
        form: format for the import; None if the files are not imported.
        path: what the import reads, below the snapshot; "" is the snapshot itself.
        size_bytes: of the download, to about 10 %; None if it is not known.
        sha256: hashes of files, compared after the download.
    """

    name: str
    what: str
    repository: str
    revision: str | None
    files: tuple[str, ...]
    form: Format | None
    licence: Licence
    path: str = ""
    size_bytes: int | None = None
    sha256: dict[str, str] = field(default_factory=dict)


_ENTRIES = (
    Entry(
        "sd15-base",
        "Stable Diffusion 1.5: UNet and autoencoder that EMO starts from",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        (
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
        ),
        "sd15",
        _OPENRAIL,
        size_bytes=3_773_000_000,
    ),
    Entry(
        "sd-vae-ft-mse",
        "SD-1.5's autoencoder with a finer decoder; Hallo's and EchoMimic's",
        "stabilityai/sd-vae-ft-mse",
        "31f26fdeee1355a5c34592e401dd41e45d25a493",
        ("config.json", "diffusion_pytorch_model.safetensors"),
        "sd15",
        _MIT,
        size_bytes=334_643_823,
        sha256={
            "diffusion_pytorch_model.safetensors": (
                "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815"
            )
        },
    ),
    Entry(
        "animatediff-v2",
        "AnimateDiff v2 motion modules: temporal layers that EMO starts from",
        "guoyww/animatediff",
        None,
        ("mm_sd_v15_v2.ckpt",),
        "animatediff",
        _APACHE,
        path="mm_sd_v15_v2.ckpt",
        size_bytes=1_817_888_431,
        sha256={"mm_sd_v15_v2.ckpt": "69ed0f5fef82b110aca51bcab73b21104242bc65d6ab4b8b2a2a94d31cad1bf0"},
    ),
    Entry(
        "animatediff-v3",
        "AnimateDiff v3 motion modules",
        "guoyww/animatediff",
        None,
        ("v3_sd15_mm.ckpt",),
        "animatediff",
        _APACHE,
        path="v3_sd15_mm.ckpt",
        size_bytes=1_673_262_583,
    ),
    Entry(
        "wav2vec2",
        "wav2vec 2.0 base, English: speech encoder of EMO (sd15) and Hallo",
        "facebook/wav2vec2-base-960h",
        "22aad52d435eb6dbaf354bdad9b0da84ce7d6156",
        ("config.json", "preprocessor_config.json", "model.safetensors"),
        "wav2vec2",
        _APACHE,
        size_bytes=377_610_000,
    ),
    Entry(
        "whisper-tiny",
        "Whisper tiny, multilingual: speech encoder of EchoMimic",
        "openai/whisper-tiny",
        "169d4a4341b33bc18d8881c4b69c2e104e1cc0af",
        ("config.json", "model.safetensors"),
        "whisper",
        _APACHE,
        size_bytes=151_000_000,
    ),
    Entry(
        "hallo",
        "Hallo: portrait animation by voice; EMO's networks without speed layers",
        "fudan-generative-ai/hallo",
        None,
        (
            "hallo/net.pth",
            "sd-vae-ft-mse/config.json",
            "sd-vae-ft-mse/diffusion_pytorch_model.safetensors",
            "wav2vec/wav2vec2-base-960h/*.json",
            "wav2vec/wav2vec2-base-960h/model.safetensors",
        ),
        "hallo",
        LICENCES["hallo"],
        size_bytes=5_470_000_000,
    ),
    Entry(
        "echomimic",
        "EchoMimic v1: portrait animation by voice; denoises overlapping windows",
        "BadToBest/EchoMimic",
        None,
        (
            "denoising_unet.pth",
            "reference_unet.pth",
            "motion_module.pth",
            "face_locator.pth",
            "audio_processor/whisper_tiny.pt",
            "sd-vae-ft-mse/*",
        ),
        "echomimic",
        LICENCES["echomimic"],
        size_bytes=8_900_000_000,
    ),
    Entry(
        "echomimic-acc",
        "EchoMimic v1, accelerated: 6 steps without guidance",
        "BadToBest/EchoMimic",
        None,
        (
            "denoising_unet_acc.pth",
            "reference_unet.pth",
            "motion_module_acc.pth",
            "face_locator.pth",
            "audio_processor/whisper_tiny.pt",
            "sd-vae-ft-mse/*",
        ),
        "echomimic-acc",
        LICENCES["echomimic"],
        size_bytes=8_900_000_000,
    ),
    Entry(
        "insightface",
        "InsightFace buffalo_l: the face embedding for Hallo's identity tokens",
        "fudan-generative-ai/hallo",
        None,
        ("face_analysis/*",),
        None,
        _INSIGHTFACE,
    ),
)
CATALOGUE: dict[str, Entry] = {known.name: known for known in _ENTRIES}


def entry(name: str) -> Entry:
    """Raises CheckpointError for an unknown name."""
    if name not in CATALOGUE:
        raise CheckpointError("no weights are known by this name", got=name, expected=", ".join(CATALOGUE))
    return CATALOGUE[name]


def weights_folder(name: str) -> Path:
    """Where `pull` writes weights and `--model NAME` looks: in $OPENEMO_WEIGHTS, or in the user's cache."""
    home = os.environ.get(_HOME_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(home).expanduser() if home else cache / "openemo" / "weights") / name


def is_present(name: str) -> bool:
    """Whether these weights are in their folder. Does not check that they are complete."""
    folder = weights_folder(name)
    return any((folder / index).is_file() for index in ("source.json", "model_index.json"))

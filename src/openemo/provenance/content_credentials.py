"""Content Credentials (C2PA): who made a file, with what and of what, signed, in the file itself.

c2pa-python does the work. It is told to make no connection and no thumbnails.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from openemo import __version__
from openemo.errors import ConfigError, OutputError
from openemo.files import partial_file
from openemo.provenance.marking import Marking
from openemo.provenance.origin import InputFile, Origin
from openemo.provenance.plain_metadata import DIGITAL_SOURCE_TYPE
from openemo.provenance.signing_identity import SigningIdentity, local_identity, read_identity

__all__ = ["CredentialsReading", "can_sign", "has_c2pa", "identity_of", "read_credentials", "sign"]

_MEDIA_TYPES: Final = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".png": "image/png",
}
_SETTINGS: Final = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
_WATERMARK: Final = "org.openemo.watermark.1"
_GENERATION: Final = "org.openemo.generation"


@dataclass(frozen=True, slots=True)
class CredentialsReading:
    """What a file's credentials say.

    Attributes:
        state: "valid" where the file is as it was signed, "trusted" where somebody known also vouches for
            the signer, "invalid" otherwise.
        signer: name in the certificate, and who issued it.
        time: when it was signed, as a time stamp server says; None without one.
        generator: the program, with its version.
        digital_source_types: of all that was done.
        mark_id: of the watermark that was put in with it.
        generation: what openemo says of portrait, voice, model and seed.
        ingredients: titles of the inputs that had credentials of their own.
        problems: codes of C2PA, such as "assertion.bmffHash.mismatch".
    """

    state: str
    signer: str
    time: str | None
    generator: str
    digital_source_types: tuple[str, ...]
    mark_id: int | None
    generation: dict[str, Any] = field(default_factory=dict)
    ingredients: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_intact(self) -> bool:
        return self.state != "invalid"


def has_c2pa() -> bool:
    """Whether c2pa-python is installed; it has no wheel for some systems."""
    return find_spec("c2pa") is not None


def can_sign(path: Path) -> bool:
    """Whether C2PA has a place for credentials in files of this ending."""
    return path.suffix.lower() in _MEDIA_TYPES


def identity_of(marking: Marking) -> SigningIdentity:
    """What to sign with.

    Raises:
        ConfigError: the user's own cannot be used.
        OSError: this computer's can be neither read nor made.
    """
    if marking.certificate is None or marking.private_key is None:
        return local_identity()
    return read_identity(marking.certificate, marking.private_key)


def sign(
    path: Path, origin: Origin, identity: SigningIdentity, *, has_mark: bool, timestamp_server: str | None
) -> None:
    """Puts credentials into a file, which is replaced as a whole.

    Args:
        has_mark: the frames carry the watermark of `origin`.

    Raises:
        OutputError: it cannot be signed, or the time stamp server does not answer.
    """
    import c2pa

    media_type = _MEDIA_TYPES[path.suffix.lower()]
    info = c2pa.C2paSignerInfo(
        identity.algorithm,
        identity.certificates.encode(),
        identity.private_key.encode(),
        timestamp_server,
    )
    try:
        with c2pa.Context.from_dict(_SETTINGS) as context, c2pa.Signer.from_info(info) as signer:
            ingredients = [file for file in origin.files if _has_credentials(file.path, context)]
            manifest = _manifest(origin, media_type, ingredients, has_mark=has_mark)
            with (
                c2pa.Builder(manifest, context=context) as builder,
                partial_file(path, ending=path.suffix.lower()) as signed,
            ):
                for file in ingredients:
                    _add_ingredient(builder, file)
                with path.open("rb") as source, signed.open("w+b") as target:
                    builder.sign(signer, media_type, source, target)
    except c2pa.C2paError as error:
        fix = "Check the time stamp server, or leave it out" if timestamp_server else None
        raise OutputError(
            "the credentials cannot be signed", got=_reason(error), fix=fix or "Use --no-credentials"
        ) from error


def read_credentials(path: Path) -> CredentialsReading | None:
    """What the credentials of a file say; None where it has none, or is of a kind without.

    Raises:
        ConfigError: c2pa-python is not installed.
    """
    if not has_c2pa():
        raise ConfigError("credentials cannot be read without c2pa-python", fix="pip install c2pa-python")
    import c2pa

    try:
        with c2pa.Context.from_dict(_SETTINGS) as context, path.open("rb") as file:
            reader = c2pa.Reader.try_create(_format(path), file, context=context)
            if reader is None:
                return None
            with reader:
                return _reading(json.loads(reader.json()))
    except c2pa.C2paError.NotSupported:
        return None
    except c2pa.C2paError as error:
        return CredentialsReading("invalid", "", None, "", (), None, problems=(_reason(error),))


def _format(path: Path) -> str:
    ending = path.suffix.lower()
    return _MEDIA_TYPES.get(ending, ending.lstrip(".") or "application/octet-stream")


def _has_credentials(path: Path, context: Any) -> bool:
    import c2pa

    with suppress(c2pa.C2paError, OSError), path.open("rb") as file:
        reader = c2pa.Reader.try_create(_format(path), file, context=context)
        if reader is not None:
            reader.close()
            return True
    return False


def _add_ingredient(builder: Any, file: InputFile) -> None:
    """The file's own credentials go along, whatever they say: a reader checks them again."""
    told = {"title": file.role, "relationship": "inputTo", "label": file.role}
    with file.path.open("rb") as source:
        builder.add_ingredient(told, _format(file.path), source)


def _manifest(
    origin: Origin, media_type: str, ingredients: list[InputFile], *, has_mark: bool
) -> dict[str, Any]:
    created: dict[str, Any] = {
        "action": "c2pa.created",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "softwareAgent": {"name": "openemo", "version": __version__},
        "description": "Made with AI by openemo: a portrait that speaks or sings a voice",
    }
    if ingredients:
        created["parameters"] = {"ingredientIds": [file.role for file in ingredients]}
    assertions: list[dict[str, Any]] = [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}]
    if has_mark:
        block = {"scope": {}, "value": f"{origin.mark_id:08x}"}
        assertions.append({"label": "c2pa.soft-binding", "data": {"alg": _WATERMARK, "blocks": [block]}})
    assertions.append({"label": _GENERATION, "data": _generation(origin)})
    return {
        "claim_generator_info": [{"name": "openemo", "version": __version__}],
        "title": "Video made with AI by openemo",
        "format": media_type,
        "assertions": assertions,
    }


def _generation(origin: Origin) -> dict[str, Any]:
    told: dict[str, Any] = {
        "model": origin.model,
        "weights_sha256": origin.weights_sha256,
        "seed": origin.seed,
        "portrait_pixels_sha256": origin.portrait_sha256,
        "voice_samples_sha256": origin.voice_sha256,
    }
    told |= {f"{file.role}_file_sha256": file.sha256 for file in origin.files}
    return {name: value for name, value in told.items() if value is not None}


def _reading(store: dict[str, Any]) -> CredentialsReading:
    manifest = store.get("manifests", {}).get(store.get("active_manifest", ""), {})
    assertions = {one.get("label", ""): one.get("data", {}) for one in manifest.get("assertions", [])}
    signature = manifest.get("signature_info") or {}
    actions = [
        action
        for label, data in assertions.items()
        if label.startswith("c2pa.actions")
        for action in data.get("actions", [])
    ]
    sources = (action.get("digitalSourceType") for action in actions)
    names = [signature.get("common_name"), signature.get("issuer")]
    generators = manifest.get("claim_generator_info") or [{}]
    return CredentialsReading(
        state=str(store.get("validation_state", "Invalid")).lower(),
        signer=", ".join(str(name) for name in names if name),
        time=signature.get("time"),
        generator=" ".join(str(generators[0].get(key, "")) for key in ("name", "version")).strip(),
        digital_source_types=tuple(dict.fromkeys(str(source) for source in sources if source)),
        mark_id=_mark_id(assertions.get("c2pa.soft-binding", {})),
        generation=assertions.get(_GENERATION, {}),
        ingredients=tuple(str(one.get("title", "")) for one in manifest.get("ingredients", [])),
        problems=_problems(store),
    )


def _mark_id(binding: dict[str, Any]) -> int | None:
    if binding.get("alg") != _WATERMARK:
        return None
    with suppress(LookupError, TypeError, ValueError):
        return int(binding["blocks"][0]["value"], 16)
    return None


def _problems(store: dict[str, Any]) -> tuple[str, ...]:
    results = (store.get("validation_results") or {}).get("activeManifest") or {}
    return tuple(dict.fromkeys(str(one.get("code")) for one in results.get("failure", [])))


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

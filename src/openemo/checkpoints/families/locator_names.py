"""Names of the face locator's tensors, which Hallo and EchoMimic share."""

from __future__ import annotations

import re

__all__ = ["published_locator_name"]


def published_locator_name(own: str) -> str | None:
    """The published name without its prefix; None for a tensor that is not of the face locator."""
    match = re.fullmatch(r"unet\.face_locator\.(?:convs\.(\d+)|(conv_out))\.(\w+)", own)
    if match is None:
        return None
    index, last, kind = match.groups()
    if last is not None:
        return f"{last}.{kind}"
    return f"conv_in.{kind}" if index == "0" else f"blocks.{int(index) - 1}.{kind}"

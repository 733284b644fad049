"""Two vocabularies of the same tensors: a published checkpoint's names and our own, in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from openemo.errors import CheckpointError

__all__ = ["KeyMap", "locator_name", "split"]

_NAMED_AT_MOST = 5


@dataclass(frozen=True)
class KeyMap:
    """Where each tensor of a published checkpoint belongs. Nothing is guessed: every tensor has one place.

    Args:
        name: of the published format, for messages.
        theirs: own name -> published name, for every tensor of the own networks. Own names start with the
            component's folder: "unet.conv_in.weight", "reference_net.conv_in.weight".
        shapes: own name -> shape.
        left_over: patterns (whole match) of published names that have no place here -> the reason.
    """

    name: str
    theirs: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    left_over: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_networks(
        cls,
        name: str,
        networks: Mapping[str, Any],
        rename: Callable[[str], str],
        left_over: Mapping[str, str] | None = None,
    ) -> KeyMap:
        """The map of all tensors of `networks` (component -> network, on any device, also meta).

        Args:
            rename: own name, with its component, -> published name.

        Raises:
            CheckpointError: two tensors of the networks would have one published name.
        """
        shapes = {
            f"{component}.{key}": tuple(tensor.shape)
            for component, network in networks.items()
            for key, tensor in network.state_dict().items()
        }
        theirs = {own: rename(own) for own in shapes}
        if len(set(theirs.values())) < len(theirs):
            raise CheckpointError(f"the names of {name} do not tell all tensors of the networks apart")
        return cls(name, theirs, shapes, dict(left_over or {}))

    def to_own(self, keys: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Published names -> own state dict, and the tensors without a place here -> the reason.

        The tensors themselves are handed on as they are, dtype and all.

        Raises:
            CheckpointError: a tensor is missing, unknown or of another shape.
        """
        self._check_present(keys, set(self.theirs.values()))
        left_over: dict[str, str] = {}
        unknown: list[str] = []
        for key in sorted(keys.keys() - set(self.theirs.values())):
            reason = self._reason(key)
            if reason is None:
                unknown.append(key)
            else:
                left_over[key] = reason
        if unknown:
            raise CheckpointError(
                f"the weights have tensors that {self.name} does not have", got=_some(unknown), fix=_CHECK
            )
        own = {name: keys[their] for name, their in self.theirs.items()}
        self._check_shapes(own)
        return own, left_over

    def to_theirs(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Own names -> published names; the way back. Raises CheckpointError as `to_own`."""
        self._check_present(own, set(self.theirs))
        unknown = sorted(own.keys() - self.theirs.keys())
        if unknown:
            raise CheckpointError(f"{self.name} has no place for some tensors", got=_some(unknown))
        self._check_shapes(own)
        return {their: own[name] for name, their in self.theirs.items()}

    def their_shapes(self) -> dict[str, tuple[int, ...]]:
        """Published name -> shape: what a whole checkpoint of this format holds."""
        return {their: self.shapes[name] for name, their in self.theirs.items()}

    def _reason(self, key: str) -> str | None:
        return next(
            (reason for pattern, reason in self.left_over.items() if re.fullmatch(pattern, key)), None
        )

    def _check_present(self, keys: Mapping[str, Tensor], expected: set[str]) -> None:
        missing = sorted(expected - keys.keys())
        if missing:
            raise CheckpointError(
                f"{len(missing)} of the {len(expected)} tensors of {self.name} are missing",
                got=f"no {_some(missing)}",
                fix=_CHECK,
            )

    def _check_shapes(self, own: Mapping[str, Tensor]) -> None:
        for name, tensor in own.items():
            if tuple(tensor.shape) != self.shapes[name]:
                raise CheckpointError(
                    f"a tensor of {self.name} has another shape: {self.theirs[name]}",
                    got=tuple(tensor.shape),
                    expected=str(self.shapes[name]),
                    fix=_CHECK,
                )


def split(own: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Own state dict with component names in front -> component -> its state dict."""
    components: dict[str, dict[str, Tensor]] = {}
    for name, tensor in own.items():
        component, _, key = name.partition(".")
        components.setdefault(component, {})[key] = tensor
    return components


def locator_name(own: str) -> str | None:
    """The relatives' name of a tensor of our face locator, without prefix; None for other tensors."""
    match = re.fullmatch(r"unet\.face_locator\.(?:convs\.(\d+)|(conv_out))\.(\w+)", own)
    if match is None:
        return None
    index, last, kind = match.groups()
    if last is not None:
        return f"{last}.{kind}"
    return f"conv_in.{kind}" if index == "0" else f"blocks.{int(index) - 1}.{kind}"


_CHECK = "Check that the file is whole, and of the format that was named"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")

"""Maps tensor names of a published checkpoint to the names used here. Every tensor must be accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from openemo.checkpoints.parts import some
from openemo.errors import CheckpointError

__all__ = ["KeyMap", "split"]

_NAMED_AT_MOST = 5
_CHECK = "Check that the file is complete and of the format that you named"


@dataclass(frozen=True)
class KeyMap:
    """Where each tensor of a published checkpoint belongs.

    Args:
        name: of the published format, for messages.
        published: own name -> published name, for every tensor of the networks. Own names start with the
            component's folder: "unet.conv_in.weight", "reference_net.conv_in.weight".
        shapes: own name -> shape.
        left_over: patterns (whole match) of published names that are not used -> the reason.
    """

    name: str
    published: Mapping[str, str]
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
        published = {own: rename(own) for own in shapes}
        if len(set(published.values())) < len(published):
            raise CheckpointError(f"the names of {name} do not tell all tensors of the networks apart")
        return cls(name, published, shapes, dict(left_over or {}))

    def to_own(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Published tensors -> own state dict, and the published tensors not used -> the reason.

        The tensors keep their values, dtype and memory.

        Raises:
            CheckpointError: a tensor is missing, unknown or of another shape.
        """
        expected = set(self.published.values())
        missing = sorted(expected - tensors.keys())
        if missing:
            raise CheckpointError(
                f"{len(missing)} of the {len(expected)} tensors of {self.name} are missing",
                got=f"no {some(missing, _NAMED_AT_MOST)}",
                fix=_CHECK,
            )
        reasons = {name: self._reason(name) for name in sorted(tensors.keys() - expected)}
        unknown = [name for name, reason in reasons.items() if reason is None]
        if unknown:
            raise CheckpointError(
                f"the weights have tensors that {self.name} does not have",
                got=some(unknown, _NAMED_AT_MOST),
                fix=_CHECK,
            )
        own = {name: tensors[published] for name, published in self.published.items()}
        self._check_shapes(own)
        return own, {name: reason for name, reason in reasons.items() if reason is not None}

    def _reason(self, name: str) -> str | None:
        return next(
            (reason for pattern, reason in self.left_over.items() if re.fullmatch(pattern, name)), None
        )

    def _check_shapes(self, own: Mapping[str, Tensor]) -> None:
        for name, tensor in own.items():
            if tuple(tensor.shape) != self.shapes[name]:
                raise CheckpointError(
                    f"a tensor of {self.name} has another shape: {self.published[name]}",
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

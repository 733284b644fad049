"""The state of a run: what is trained, its moving average, the optimizer's moments. Saved in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from openemo.errors import CheckpointError
from openemo.files import partial_file
from openemo.training.recipes import LoopRecipe
from openemo.weight_files import map_weights

__all__ = ["TrainingState"]

_FILE_NAME = "state.safetensors"
_REPAIR = "Delete it to start again, or copy it from a backup"
_MOST_STEPS = 2**31


class TrainingState:
    """Parameters that require a gradient, by name, with EMA and AdamW.

    The EMA has only these parameters. torch's `AveragedModel` copies whole networks, of which the video stage
    of SD-1.5's size trains a fifth; its update function does the averaging here.
    """

    def __init__(self, modules: Mapping[str, nn.Module], recipe: LoopRecipe) -> None:
        self.ema_decay = recipe.ema_decay
        self.step = 0
        self.parameters = {
            f"{prefix}.{name}": parameter
            for prefix, module in modules.items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self.ema = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=recipe.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=recipe.weight_decay,
        )

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters.values())

    def update(self, learning_rate: float) -> None:
        """One step of the optimizer and of the EMA, whose decay grows from 2/11 during the first steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.step += 1
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step))
        current = [parameter.detach() for parameter in self.parameters.values()]
        average = get_ema_multi_avg_fn(decay)
        average(list(self.ema.values()), current, None)

    @torch.no_grad()
    def load_ema(self) -> None:
        """Puts the averaged weights into the networks."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.ema[name])

    def save(self, folder: Path) -> None:
        """Replaces the file in one go: a kill at any moment leaves the old state or the new one."""
        tensors = {f"weight/{name}": p.detach() for name, p in self.parameters.items()}
        tensors |= {f"ema/{name}": tensor for name, tensor in self.ema.items()}
        for index, slot in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": value for key, value in slot.items()}
        tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
        with partial_file(folder / _FILE_NAME) as partial:
            save_file(tensors, partial, metadata={"step": str(self.step)})

    def resume(self, folder: Path) -> None:
        """Continues from the file in `folder`, if there is one.

        Raises:
            CheckpointError: it is damaged, or of another network or stage.
        """
        path = folder / _FILE_NAME
        if not path.exists():
            return
        tensors = map_weights(path, fix=_REPAIR)
        saved = {name.removeprefix("weight/") for name in tensors if name.startswith("weight/")}
        own = set(self.parameters)
        if saved != own:
            raise CheckpointError(
                f"the state in {path} is of another network or stage",
                got=f"{len(saved - own)} unknown, {len(own - saved)} missing tensors",
                fix="Choose another output folder, or the recipe that wrote it",
            )
        self._check(tensors, path)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"weight/{name}"])
                self.ema[name].copy_(tensors[f"ema/{name}"])
        self.step = self._load_optimizer(tensors)

    def _check(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Raises CheckpointError unless all tensors are there in their shapes, and the step is a count.

        A parameter that never had a gradient has no moments.
        """
        shapes = {
            f"{kind}/{name}": p.shape for name, p in self.parameters.items() for kind in ("weight", "ema")
        }
        with_moments = {name.split("/")[1] for name in tensors if name.startswith("optimizer/")}
        for index, parameter in enumerate(self.parameters.values()):
            if str(index) in with_moments:
                moments = dict.fromkeys(("exp_avg", "exp_avg_sq"), parameter.shape) | {"step": torch.Size()}
                shapes |= {f"optimizer/{index}/{key}": shape for key, shape in moments.items()}
        found = {name: tensor.shape for name, tensor in tensors.items() if tensor.is_floating_point()}
        wrong = sorted(tensors.keys() ^ shapes.keys() | {n for n in shapes if shapes[n] != found.get(n)})
        steps = [] if wrong else [float(tensors[name]) for name in shapes if name.endswith("/step")]
        if wrong or not steps or not all(1 <= step < _MOST_STEPS for step in steps):
            raise CheckpointError(
                f"the state in {path} is damaged", got=", ".join(wrong[:3]) or "no step", fix=_REPAIR
            )

    def _load_optimizer(self, tensors: Mapping[str, Tensor]) -> int:
        """Returns the step that the moments are of."""
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer/"):
                _, index, key = name.split("/")
                slots.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        return max(int(slot["step"]) for slot in slots.values())

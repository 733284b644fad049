"""Networks compiled by OpenVINO, for CPUs: three quarters of torch's time in float32, a quarter in bfloat16.

A network is traced and compiled for each form of its inputs: their shapes, and what stands beside tensors.
That takes seconds, so what was compiled is kept in the user's cache, for this processor, these weights and
this code. Reading it back takes a second, so `load_ahead` does it while other things are done.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, cast

import torch
from torch import Tensor, nn

import openemo
from openemo.errors import ConfigError
from openemo.files import whole_file
from openemo.models.motion_decoder import MotionDecoder
from openemo.models.reference_net import ReferenceNet
from openemo.models.unet import EmoUNet

__all__ = ["EngineKind", "OpenVinoEngine", "cache_folder", "has_openvino"]

EngineKind = Literal["auto", "torch", "openvino"]
"""What runs the networks; "auto" takes OpenVINO where it is faster and the networks can be compiled."""

_BY_ITEM: Final = (MotionDecoder,)  # the items of a batch know nothing of each other
_AHEAD: Final = (ReferenceNet, EmoUNet, MotionDecoder)  # in the order in which a video needs them
_MOST_AHEAD: Final = 3  # forms of one network
_KEY_DIGITS: Final = 32
_Form = tuple[Any, ...]
_TENSOR: Final[_Form] = ("tensor",)
_log = logging.getLogger(__name__)


def has_openvino() -> bool:
    return find_spec("openvino") is not None


def cache_folder() -> Path:
    """Of compiled networks. It can be deleted at any time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "openemo" / "openvino"


def _openvino() -> Any:
    """The library without its telemetry, which leaves a number for its user in the home folder."""
    sys.modules.setdefault("openvino_telemetry", cast(Any, None))  # cannot be imported: it takes its stub
    import openvino

    return openvino


class OpenVinoEngine:
    """Runs networks on the CPU. Their weights, float32, must not change after the first call.

    Args:
        dtype: bfloat16 or float32; a processor without bfloat16 computes in float32. None takes bfloat16. The
            embeddings and the last layers of a UNet are left to torch: in bfloat16 they would shift heads by
            0.2 px.
        batch: items that networks which see each for itself compute at a time.
        folder: for compiled networks; None keeps none.

    Attributes:
        has_bfloat16: whether the processor has it, in which OpenVINO gains most.

    Raises:
        ConfigError: OpenVINO is not installed.
    """

    def __init__(
        self, *, dtype: torch.dtype | None = None, batch: int = 4, folder: Path | None = None
    ) -> None:
        if not has_openvino():
            raise ConfigError(
                "the engine openvino needs OpenVINO",
                got="it is not installed",
                fix="pip install 'openemo[openvino]', or choose the engine torch",
            )
        self._core = _openvino().Core()
        self.has_bfloat16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._dtype = dtype
        self._batch = batch
        self._folder = folder
        self._has_told = False
        self._networks: dict[nn.Module, _CompiledNetwork] = {}
        self._keys: dict[nn.Module, str] = {}
        self._ahead: dict[nn.Module, Future[dict[str, Any]]] = {}

    def __call__(self, network: nn.Module) -> Callable[..., Any]:
        """The network as a function of the same inputs, compiled."""
        compiled = self._compiled(network)
        return partial(network, body=compiled) if isinstance(network, EmoUNet) else compiled

    def load_ahead(self, *parts: nn.Module) -> None:
        """From now on a thread reads what earlier runs have compiled of the networks in these."""
        if self._folder is None:
            return
        networks = [module for part in parts for module in part.modules()]
        with_place = ((_AHEAD.index(type(each)), each) for each in networks if type(each) in _AHEAD)
        pool = ThreadPoolExecutor(1)
        for _, network in sorted(with_place, key=lambda pair: pair[0]):
            body = self._compiled(network).network
            self._ahead[body] = pool.submit(self._read_all, body)
        pool.shutdown(wait=False)

    def _compiled(self, network: nn.Module) -> _CompiledNetwork:
        if network not in self._networks:
            batch = self._batch if isinstance(network, _BY_ITEM) else None
            body = _Body(network) if isinstance(network, EmoUNet) else network
            self._networks[network] = _CompiledNetwork(body, self._compile, batch)
        return self._networks[network]

    def _read_all(self, network: nn.Module) -> dict[str, Any]:
        """By the names of their files, the newest first."""
        assert self._folder is not None
        with suppress(OSError):
            kept = self._folder.glob(f"{self._key(network)}-*")
            newest = sorted(kept, key=lambda file: -file.stat().st_mtime)[:_MOST_AHEAD]
            read = ((file.name, self._read(file)) for file in newest)
            return {name: compiled for name, compiled in read if compiled is not None}
        return {}

    def _read(self, file: Path) -> Any | None:
        """What was compiled; None if it is not there, or damaged."""
        with suppress(OSError, RuntimeError):
            return self._core.import_model(file.read_bytes(), "CPU", self._options())
        return None

    def _key(self, network: nn.Module) -> str:
        """Of what was compiled of this network here, whatever its inputs."""
        if network not in self._keys:
            key = _identity(network)
            processor = self._core.get_property("CPU", "FULL_DEVICE_NAME")
            key.update(repr((processor, self._options())).encode())
            self._keys[network] = key.hexdigest()[:_KEY_DIGITS]
        return self._keys[network]

    def _compile(self, network: nn.Module, form: _Form, inputs: list[Tensor]) -> Any:
        """A model of OpenVINO, from the cache or for it."""
        options = self._options()
        if self._folder is None:
            return self._core.compile_model(_converted(network, form, inputs), "CPU", options)
        shapes = hashlib.sha256(repr((form, [tensor.shape for tensor in inputs])).encode())
        file = self._folder / f"{self._key(network)}-{shapes.hexdigest()[:_KEY_DIGITS]}.blob"
        ahead = self._ahead.get(network)
        read = ahead.result().pop(file.name, None) if ahead else None
        if read is None:
            read = self._read(file)
        if read is not None:
            return read
        if not self._has_told:
            _log.warning("OpenVINO compiles the networks for this processor: some 10 s, this once")
            self._has_told = True
        compiled = self._core.compile_model(_converted(network, form, inputs), "CPU", options)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(file) as target:
                target.write(compiled.export_model().getvalue())
        except OSError as error:
            _log.info("compiled networks are not kept: %s", error)
        return compiled

    def _options(self) -> dict[str, Any]:
        """OpenVINO's settings."""
        options: dict[str, Any] = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1}
        if self._dtype != torch.float32 and self.has_bfloat16:
            return options | {"INFERENCE_PRECISION_HINT": "bf16"}
        # 2026.4 crashes on the UNet otherwise.
        return options | {"INFERENCE_PRECISION_HINT": "f32", "SNIPPETS_MODE": "DISABLE"}


class _CompiledNetwork:
    """A network as a function; it is compiled when inputs have a form for the first time.

    Args:
        batch: None for networks whose inputs belong together.
    """

    def __init__(
        self, network: nn.Module, compile_: Callable[[nn.Module, _Form, list[Tensor]], Any], batch: int | None
    ) -> None:
        self.network, self._compile, self._batch = network, compile_, batch
        self._compiled: dict[_Form, tuple[Any, _Form]] = {}
        self._lock = threading.Lock()  # one pipeline may serve several threads

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        inputs, form = _flatten((args, kwargs))
        if self._batch is None:
            outputs, result = self._run(inputs, form)
            return _rebuilt(result, iter(outputs))
        items = len(inputs[0])
        parts = []
        for start in range(0, items, self._batch):
            chosen = torch.arange(start, start + self._batch).clamp_max(items - 1)
            outputs, result = self._run([tensor[chosen] for tensor in inputs], form)
            parts.append(outputs)
        joined = (torch.cat(tensors)[:items] for tensors in zip(*parts, strict=True))
        return _rebuilt(result, joined)

    def _run(self, inputs: list[Tensor], form: _Form) -> tuple[list[Tensor], _Form]:
        """Tensors of the result, and its form."""
        key = (form, *(tensor.shape for tensor in inputs))
        with self._lock:
            if key not in self._compiled:
                model = self._compile(self.network, form, inputs)
                self._compiled[key] = model.create_infer_request(), _result_form(self.network, form, inputs)
            request, result = self._compiled[key]
            outputs = request.infer([tensor.detach().contiguous().numpy() for tensor in inputs])
            return [torch.from_numpy(array) for array in outputs.to_tuple()], result


class _Body(nn.Module):
    """The blocks of a UNet."""

    def __init__(self, unet: EmoUNet) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.unet.body(*args, **kwargs)


class _Flat(nn.Module):
    """A network as a function from tensors to tensors."""

    def __init__(self, network: nn.Module, form: _Form) -> None:
        super().__init__()
        self.network, self.form = network, form

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        args, kwargs = _rebuilt(self.form, iter(inputs))
        return tuple(_flatten(self.network(*args, **kwargs))[0])


def _converted(network: nn.Module, form: _Form, inputs: list[Tensor]) -> Any:
    """A model of OpenVINO, not compiled yet.

    `openvino.convert_model` would do the same; it tells its vendor, and traces twice.
    """
    from openvino import Type
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is on its way out in torch, and warns of every shape
        flat = _Flat(network, form).eval()
        # Not strict: networks take and give containers. Not checked: that would run each network twice more.
        traced = torch.jit.trace(flat, tuple(inputs), strict=False, check_trace=False)
        # Weights that are constants are read in a third of the time. Freezing drops the inputs' types.
        traced = torch.jit.freeze(traced, optimize_numerics=False)
        decoder = TorchScriptPythonDecoder(traced)  # has to outlive the conversion
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    for parameter, tensor in zip(model.get_parameters(), inputs, strict=True):
        parameter.set_element_type(Type(tensor.numpy().dtype))
    model.reshape({index: list(tensor.shape) for index, tensor in enumerate(inputs)})
    return model


def _result_form(network: nn.Module, form: _Form, inputs: list[Tensor]) -> _Form:
    """Found by one run in torch, where the types do not say it: without memory it would take longer."""
    if type(network).forward.__annotations__.get("return") in (Tensor, "Tensor"):
        return _TENSOR
    args, kwargs = _rebuilt(form, iter(inputs))
    with torch.no_grad():
        return _flatten(network(*args, **kwargs))[1]


def _flatten(value: Any) -> tuple[list[Tensor], _Form]:
    """The tensors of nested tuples, dictionaries and dataclasses, and what is left without them."""
    if isinstance(value, Tensor):
        return [value], _TENSOR
    kind: type[Any]
    named: dict[Any, Any]
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        named = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, dict):
        kind, named = dict, value
    elif isinstance(value, (tuple, list)):
        kind, named = tuple, {str(index): part for index, part in enumerate(value)}
    else:
        return [], ("value", value)
    parts = {name: _flatten(part) for name, part in named.items()}
    tensors = [tensor for found, _ in parts.values() for tensor in found]
    return tensors, ("parts", kind, tuple((name, form) for name, (_, form) in parts.items()))


def _rebuilt(form: _Form, tensors: Iterator[Tensor]) -> Any:
    """The inverse of `_flatten`."""
    if form == _TENSOR:
        return next(tensors)
    if form[0] == "value":
        return form[1]
    parts = {name: _rebuilt(part, tensors) for name, part in form[2]}
    if form[1] is dict:
        return parts
    return tuple(parts.values()) if form[1] is tuple else form[1](**parts)


def _identity(network: nn.Module) -> Any:
    """A hash of the weights, and of all code that says what is computed with them."""
    key = hashlib.sha256(repr(network).encode())
    for package in ("diffusers", "openvino", "torch"):
        key.update(version(package).encode())
    root = Path(openemo.__file__).parent
    for file in sorted(chain((root / "models").glob("*.py"), (root / "rendering").glob("*.py"))):
        key.update(file.read_bytes())
    for name, tensor in network.state_dict().items():
        key.update(name.encode())
        key.update(tensor.detach().contiguous().numpy().tobytes())
    return key

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

_Init = TypeVar("_Init", bound=Callable[..., None])

class ConfigMixin:
    # A FrozenDict of the constructor's arguments; a network may say more exactly what it holds.
    config: Any

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self: ...
    def to_json_string(self) -> str: ...

def register_to_config(init: _Init) -> _Init: ...

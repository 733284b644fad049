"""The settings of networks: kept as `config`, and checked before anything is built of what a file brings."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from openemo.errors import CheckpointError
from openemo.settings import wrong_setting

__all__ = ["NetworkConfig", "check_arguments", "check_numbers", "register_to_config"]

_MOST: Final = 2**20  # far above every size in a network
_LONGEST: Final = 64  # entries of a list: levels, convolutions

InitT = TypeVar("InitT", bound=Callable[..., None])


class NetworkConfig(dict[str, Any]):
    """The arguments of a network's constructor, also as attributes. It does not change."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the network has no setting {name!r}") from None

    def __setitem__(self, name: str, value: Any) -> None:
        raise TypeError("the settings of a network do not change")

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("the settings of a network do not change")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)


def register_to_config(init: InitT) -> InitT:
    """Keep the arguments of a constructor as `config`, which exists from its first line on."""
    signature = inspect.signature(init)

    @wraps(init)
    def wrapped(self: object, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        _, *settings = given.arguments.items()
        object.__setattr__(self, "config", NetworkConfig(settings))
        init(self, *args, **kwargs)

    return cast(InitT, wrapped)


def check_arguments(
    cls: type[Any], values: Mapping[str, Any], path: Path | str, *, fix: str | None = None
) -> None:
    """Compares settings with the arguments of a class: their names, their types, and their size.

    Args:
        path: where they are from, for the message.

    Raises:
        CheckpointError: one is unknown, of another type, or absurd.
    """
    unknown = sorted(values.keys() - inspect.signature(cls.__init__).parameters.keys())
    if unknown:
        raise CheckpointError(
            f"{path} has settings that {cls.__name__} does not know", got=", ".join(unknown[:5]), fix=fix
        )
    check_numbers(values, path, least=0, fix=fix)
    try:
        # As JSON, in which a list stands for a tuple as well.
        arguments = _arguments_of(cls)  # type: ignore[arg-type] # classes are hashable
        arguments.model_validate_json(json.dumps(values, default=repr), strict=True)
    except ValidationError as error:
        wrong = wrong_setting(error)
        raise CheckpointError(
            f"{path} has a wrong setting `{wrong.name}`",
            got=repr(wrong.got),
            expected=wrong.expected,
            fix=fix,
        ) from error


def check_numbers(
    values: Mapping[str, Any],
    path: Path | str,
    *,
    least: float = -_MOST,
    most: float = _MOST,
    longest: int = _LONGEST,
    infinity: bool = False,
    fix: str | None = None,
) -> None:
    """Raises CheckpointError for a number outside [least, most], one that is none, or a list that is longer.

    Args:
        infinity: accept infinite numbers.
    """
    for name, value in values.items():
        if isinstance(value, (list, tuple)) and len(value) > longest:
            raise CheckpointError(
                f"{path} has an absurd setting",
                got=f"{name} of {len(value)} entries",
                expected=f"at most {longest}",
                fix=fix,
            )
        for number in _numbers(value):
            is_endless = infinity and isinstance(number, float) and math.isinf(number)
            if not is_endless and not least <= number <= most:
                raise CheckpointError(
                    f"{path} has an absurd setting",
                    got=f"{name} {str(number)[:40]}",
                    expected=f"{least:g} to {most:g}",
                    fix=fix,
                )


def _numbers(value: Any) -> Iterator[float]:
    """The numbers of a setting: itself, or those in a list. Settings of networks have no deeper levels."""
    for one in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(one, (int, float)) and not isinstance(one, bool):
            yield one


@lru_cache
def _arguments_of(cls: type[Any]) -> type[BaseModel]:
    """The arguments of a class, as a model that checks their types."""
    hints = get_type_hints(cls.__init__)
    fields: dict[str, Any] = {
        name: (hints[name], parameter.default)
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if name != "self"
    }
    return create_model(cls.__name__, __config__=ConfigDict(extra="forbid"), **fields)

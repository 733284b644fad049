"""Checks the settings of networks that a file brings, before anything is built of them."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from openemo.errors import CheckpointError
from openemo.settings import wrong_setting

__all__ = ["check_arguments", "check_numbers"]

_MOST: Final = 2**20  # far above every size in a network
_LONGEST: Final = 64  # entries of a list: levels, convolutions


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

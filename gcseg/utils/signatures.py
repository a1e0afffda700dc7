"""What a class or function can be given: the names of its arguments, the kinds of their values, and both in words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from numbers import Number
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_PLAIN = (bool, int, float, str, list, tuple, dict, NoneType)


@cache
def arguments(cls: Any) -> tuple[Mapping[str, inspect.Parameter], bool]:
    """The keyword arguments a class or function takes; where one takes ``**kwargs``, those of the next base as well.

    Returns:
        name -> parameter, whose annotation is evaluated where it can be; whether any other name is taken too.
    """
    found: dict[str, inspect.Parameter] = {}
    for parameters in _signatures(cls):
        is_open = False
        for p in parameters:
            if p.kind is p.VAR_KEYWORD:
                is_open = True
            elif p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self":
                found.setdefault(p.name, p)
        if not is_open:
            return found, False
    return found, True


def _signatures(cls: Any) -> Iterator[list[inspect.Parameter]]:
    """Parameters of a function, or of the constructors of a class and its bases, nearest first."""
    if not inspect.isclass(cls):
        yield _parameters(cls)
        return
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if base.__module__.startswith("torch.nn.modules.module"):
            yield []  # nn.Module takes no arguments whatever its signature says
        elif init is not None and base is not object:
            yield _parameters(init)


def _parameters(function: Callable) -> list[inspect.Parameter]:
    names = getattr(inspect.unwrap(function), "__globals__", {})
    return [_evaluated(p, names) for p in inspect.signature(function).parameters.values()]


def _evaluated(parameter: inspect.Parameter, names: dict[str, Any]) -> inspect.Parameter:
    if not isinstance(parameter.annotation, str):
        return parameter
    try:
        return parameter.replace(annotation=eval(parameter.annotation, names))
    except (NameError, TypeError, AttributeError):  # names something that is imported for type checkers alone
        return parameter


def fits(value: Any, annotation: Any) -> bool:
    """Whether ``value`` is what ``annotation`` describes, for values that a config file can hold.

    A list and a tuple count as the same; a whole number is a number; a dict may be the config of an object of any
    class. What cannot be judged fits: values that are objects already, annotations that are no types.

    Args:
        value: a number, string, list, dict ...
        annotation: a type, or an expression of :mod:`typing`.
    """
    if not isinstance(value, _PLAIN) or annotation in (Any, object, inspect.Parameter.empty):
        return True
    kind, inner = get_origin(annotation) or annotation, get_args(annotation)
    if kind in (Union, UnionType):
        return any(fits(value, a) for a in inner)
    if kind is Literal:
        return value in inner
    if kind in (None, NoneType):
        return value is None
    if not isinstance(kind, type):
        return True
    holds_items = issubclass(list, kind) or issubclass(tuple, kind)
    if isinstance(value, list | tuple):
        return holds_items and _all_fit(value, kind, inner)
    if isinstance(value, dict):
        if issubclass(kind, Mapping) and len(inner) == 2:
            return all(fits(v, inner[1]) for v in value.values())
        return issubclass(dict, kind) or not (holds_items or issubclass(kind, Number | str))
    if isinstance(value, str):
        return kind is str or issubclass(Path, kind)
    if kind is bool:
        return value in (False, True)
    if isinstance(value, bool):
        return False
    return isinstance(value, kind) or (kind is float and isinstance(value, int))


def _all_fit(values: list | tuple, kind: type, inner: tuple) -> bool:
    if kind is tuple and len(inner) > 1 and inner[-1] is not Ellipsis:
        return len(values) == len(inner) and all(map(fits, values, inner))
    return not inner or all(fits(v, inner[0]) for v in values)


def spell(annotation: Any) -> str:
    """An annotation without the modules of its names, and without tensors, which no config holds: ``int | None``."""
    text = re.sub(r"\b(?:\w+\.)+", "", inspect.formatannotation(annotation))
    return re.sub(r" \| Tensor\b|\bTensor \| ", "", text)


def shortened(value: Any, length: int = 80) -> str:
    """``repr(value)``, cut off where it is longer than ``length`` characters."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 4]} ..."

"""What arguments a class takes, and whether a value is of the kind that an annotation asks for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Number
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple, Union

# ruff: noqa: UP006, UP007, UP035, UP045 (mmengine annotates in the old style)
import numpy as np
import pytest
import torch

from gcseg.utils.signatures import arguments, fits, shortened, spell

VALUES = [True, 1, 2, 1.5, "a", None, [], [1], (1, 2), ["a"], {}, {"a": 1}]


@pytest.mark.parametrize(
    ("annotation", "fitting"),
    [
        (int, [1, 2]),
        (float, [1, 2, 1.5]),
        (Number, [1, 2, 1.5]),
        (bool, [True, 1]),
        (str, ["a"]),
        (Path, ["a", {}, {"a": 1}]),
        (None, [None]),
        (Optional[str], ["a", None]),
        (int | None, [1, 2, None]),
        (Literal["a", 2], [2, "a"]),
        (list, [[], [1], (1, 2), ["a"]]),
        (Sequence[int], [[], [1], (1, 2)]),
        (tuple[int, int], [(1, 2)]),
        (Tuple[int], [[], [1], (1, 2)]),
        (tuple[int, ...], [[], [1], (1, 2)]),
        (Union[int, Sequence[str]], [1, 2, [], ["a"]]),
        (Dict, [{}, {"a": 1}]),
        (Mapping[str, str], [{}]),
        (Mapping[str, int], [{}, {"a": 1}]),
        (Iterable[int], [[], [1], (1, 2), {}, {"a": 1}]),
        (torch.nn.Module, [{}, {"a": 1}]),
        (torch.Tensor | float, [1, 2, 1.5, {}, {"a": 1}]),
        (Callable, [{}, {"a": 1}]),
        (List[Union[dict, Callable]], [[]]),
        (Any, VALUES),
        (object, VALUES),
        ("a name that was not evaluated", VALUES),
    ],
    ids=str,
)
def test_which_values_fit(annotation, fitting):
    assert [repr(value) for value in VALUES if fits(value, annotation)] == [repr(value) for value in fitting]


@pytest.mark.parametrize("value", [np.zeros(2), torch.float16, len, torch.nn.Identity()], ids=str)
def test_objects_are_not_judged(value):
    assert fits(value, int)


class Base(torch.nn.Module):
    def __init__(self, a: int, b=1):
        super().__init__()


class Open(Base):
    def __init__(self, c: "int | None", **kwargs):
        super().__init__(**kwargs)


class Closed(Base):
    def __init__(self, d: "Unknown"):  # noqa: F821
        super().__init__(1)


def test_arguments_follow_kwargs_up_the_bases():
    found, is_open = arguments(Open)
    assert list(found) == ["c", "a", "b"] and not is_open
    assert found["c"].annotation == int | None and found["b"].default == 1
    assert arguments(lambda x, **kwargs: None)[1]


def test_an_annotation_that_cannot_be_evaluated_is_kept_as_text():
    found, is_open = arguments(Closed)
    assert list(found) == ["d"] and not is_open and fits("x", found["d"].annotation)


def test_words():
    assert spell(Optional[Sequence[int]]) == "Optional[Sequence[int]]"
    assert spell(int) == "int" and spell(str | Path | None) == "str | Path | None"
    assert shortened([1, 2]) == "[1, 2]" and len(shortened("x" * 100, 20)) == 20


def test_tensors_are_not_asked_for():
    assert spell(float | torch.Tensor) == "float" and spell(torch.Tensor | None) == "None"

"""Reading torch files without executing anything in them.

``torch.load(weights_only=True)`` builds tensors and plain containers. Checkpoints of mmengine also hold
``HistoryBuffer`` objects and numpy scalars, and their pickles name ``builtins.getattr``. None of these is handed to the
file: it gets stand-ins of the same names, written here, that can build numeric arrays and logs and nothing else.
(numpy's own ``dtype.__setstate__`` can be driven to read memory it should not, and ``getattr`` reaches every module.)
Because the stand-ins answer to the names of numpy 1.x and 2.x alike, either numpy reads files written under the other.
"""

from __future__ import annotations

import collections
import os
import pickle
import re
import threading
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import serialization

from gcseg.utils.errors import CheckpointError

_STATISTICS = ("min", "max", "current", "mean")
_DTYPE_CODE = re.compile(r"[biufc][0-9]{1,2}|[SU][0-9]{1,6}")
_GLOBAL_IN_MESSAGE = re.compile(r"GLOBAL ([\w.]+)")
_LOCK = threading.Lock()


class _DType:
    """Stands for ``numpy.dtype``: a number or string type, described by its code and byte order."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if not isinstance(code, str) or not _DTYPE_CODE.fullmatch(code):
            raise pickle.UnpicklingError(f"numpy dtype {code!r} is not a number or a string")
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
        if order in ("<", ">"):
            self.value = self.value.newbyteorder(">" if order == ">" else "<")


class _Array:
    """Stands for ``numpy.ndarray``; ``value`` is the array once its state has been read."""

    value: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("a numpy array that is not made of numbers or strings")
        flat = np.frombuffer(data, dtype.value).copy()
        self.value = flat.reshape(shape, order="F" if is_fortran else "C")


class _History(HistoryBuffer):
    """Stands for mmengine's ``HistoryBuffer`` and turns into one; statistics functions in the file are ignored."""

    def __new__(cls, *args: Any) -> _History:
        return object.__new__(cls)

    def __setstate__(self, state: dict) -> None:
        logs, counts = (_number_array(state.get(key)) for key in ("_log_history", "_count_history"))
        HistoryBuffer.__init__(self)
        self.max_length = int(state.get("max_length", 1000000))
        self._log_history, self._count_history = logs, counts
        self.__class__ = HistoryBuffer


def _number_array(value: Any) -> np.ndarray:
    array = value.value if isinstance(value, _Array) else np.asarray(value if isinstance(value, list) else [])
    if array.dtype.kind not in "biuf":
        raise pickle.UnpicklingError("a HistoryBuffer whose history is not made of numbers")
    return array


def _reconstruct(subtype: Any, shape: Any, code: Any) -> _Array:
    if subtype is not _Array:
        raise pickle.UnpicklingError("numpy's _reconstruct with a class other than ndarray")
    return object.__new__(_Array)


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, _DType) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a numpy scalar that is not a number or a string")
    return np.frombuffer(data, dtype.value, count=1)[0]


def _getattr(owner: Any, name: Any) -> str:
    """Stands for ``builtins.getattr`` and knows the four statistics of HistoryBuffer, which are then ignored."""
    if owner is not _History or name not in _STATISTICS:
        raise pickle.UnpicklingError(f"Unsupported global: GLOBAL builtins.getattr asking for {name!r}")
    return name


def _encode(text: Any, encoding: Any) -> bytes:
    """Stands for ``_codecs.encode``, by which pickles of protocol 2 write bytes; torch < 2.5 does not know it."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes written as {encoding!r} text; pickle writes latin1")
    return text.encode("latin-1")


def _set(items: list) -> set:
    return set(items)


def _stand_in(target: Any, path: str) -> Any:
    """``target`` under the name ``path``: torch recognises what is allowed by module and name."""
    if isinstance(target, type):
        named: Any = target
    else:

        def named(*args: Any) -> Any:
            return target(*args)

    named.__module__, _, name = path.rpartition(".")
    named.__name__ = named.__qualname__ = name
    return named


def _allow_list() -> list:
    numpy_functions = [
        _stand_in(function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, function in (("scalar", _scalar), ("_reconstruct", _reconstruct))
    ]
    return [
        *numpy_functions,
        _stand_in(_Array, "numpy.ndarray"),
        _stand_in(_DType, "numpy.dtype"),
        _stand_in(_History, "mmengine.logging.history_buffer.HistoryBuffer"),
        # torch < 2.6 knows the old name of builtins only, which pickles of protocol 2 use.
        _stand_in(_getattr, "builtins.getattr"),
        _stand_in(_getattr, "__builtin__.getattr"),
        _stand_in(_encode, "_codecs.encode"),
        _stand_in(_set, "__builtin__.set"),
        set,
        collections.Counter,  # milestones of a multi-step schedule
    ]


_ALLOWED = _allow_list()


def safe_torch_load(file: str | os.PathLike | BinaryIO, map_location: Any = "cpu", name: str | None = None) -> Any:
    """``torch.load`` with ``weights_only=True`` and the short list above.

    The process-wide list of ``torch.serialization.add_safe_globals`` plays no part while the file is read, and is as
    before afterwards.

    Args:
        file: a path or an open binary file.
        map_location: as in ``torch.load``.
        name: what to call the file in errors; its path by default.

    Raises:
        CheckpointError: the file names something that is not on the list (the message says what), or is damaged.
    """
    name = name or str(file)
    with _LOCK:
        before = serialization.get_safe_globals()
        serialization.clear_safe_globals()
        serialization.add_safe_globals(_ALLOWED)
        try:
            content = _without_stand_ins(torch.load(file, map_location=map_location, weights_only=True), {})
        except pickle.UnpicklingError as e:
            raise CheckpointError(_refusal(name, str(e))) from None
        except Exception as e:  # torch's reader and the stand-ins run into anything on damaged bytes
            if isinstance(e, FileNotFoundError | CheckpointError):
                raise
            first_line = str(e).partition("\n")[0]
            raise CheckpointError(
                f"{name}: not a readable checkpoint ({type(e).__name__}: {first_line}). It is damaged, cut off, or "
                "not a torch file; copy or download it again"
            ) from e
        finally:
            serialization.clear_safe_globals()
            serialization.add_safe_globals(before)
    return content


def _refusal(name: str, message: str) -> str:
    found = _GLOBAL_IN_MESSAGE.search(message)
    if found:
        return (
            f"{name}: refused, nothing in it was run: its pickle names `{found[1]}`, which is neither a tensor nor "
            "plain data. If you trust where the file comes from, re-save its weights alone in an environment that has "
            "what it needs: `torch.save({'state_dict': checkpoint['state_dict']}, 'weights.pth')`; or use .safetensors"
        )
    detail = message.partition("Please file an issue")[0].strip().rpartition("\n")[2] or message.partition("\n")[0]
    if "weights_only" in detail:  # torch's advice to load the file unsafely; what it could not read comes after it
        detail = message.rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0] or "no pickle of weights"
    return f"{name}: not a readable checkpoint ({detail}). It is damaged or not a torch file; copy or download it again"


def _without_stand_ins(node: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """Replace array stand-ins by their arrays, in place where the container allows it.

    Args:
        node: what a file held.
        done: id of a container -> itself and what it became, so that one that occurs often, or in itself, is seen once.
    """
    if isinstance(node, _Array | _DType):
        return node.value
    if not isinstance(node, dict | list) and type(node) is not tuple:
        return node
    if id(node) in done:
        return done[id(node)][1]
    done[id(node)] = (node, node)
    if isinstance(node, dict):
        for key, value in node.items():
            node[key] = _without_stand_ins(value, done)
    elif isinstance(node, list):
        node[:] = [_without_stand_ins(value, done) for value in node]
    else:
        done[id(node)] = (node, tuple(_without_stand_ins(value, done) for value in node))
    return done[id(node)][1]

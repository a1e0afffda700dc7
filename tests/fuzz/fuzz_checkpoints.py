"""Checkpoints: damaged bytes, and well-formed files with content that nobody meant."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from fuzzing import Case, Target, Wrong
from mutations import ODD, blind
from torch import nn

_CLASSES = ["road", "sky", "car"]
_PALETTE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


class _Model(nn.Module):
    """The names of a segmentor, and next to nothing behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.decode_head = nn.ModuleDict({"conv_seg": nn.Conv2d(4, 3, 1)})


def _weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(_Model().state_dict())


def _checkpoint() -> dict[str, Any]:
    from mmengine.logging import HistoryBuffer

    weights = _weights()
    meta = {"iter": 7, "epoch": 0, "seed": 3, "cfg": "a = 1\n", "experiment_name": "run", "time": "now"}
    meta |= {"dataset_meta": {"classes": list(_CLASSES), "palette": _PALETTE, "label_map": None}}
    momenta = {i: {"momentum_buffer": torch.ones(3) * i} for i in range(3)}
    return {
        "meta": meta,
        "state_dict": OrderedDict(weights),
        "message_hub": {"log_scalars": {"loss": HistoryBuffer([1.0, 2.0], [1, 1])}, "runtime_info": {"iter": 7}},
        "optimizer": {"state": momenta, "param_groups": [{"lr": 0.1, "params": [0, 1, 2]}]},
        "param_schedulers": [{"last_step": 7, "_global_step": 8, "np": np.float64(0.5)}],
    }


def _saved(content: Any, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def _safetensors(weights: dict[str, torch.Tensor], meta: dict[str, str]) -> bytes:
    from safetensors.torch import save

    return save(weights, metadata=meta)


@cache
def _bases() -> dict[str, bytes]:
    meta = {"dataset_meta": json.dumps({"classes": _CLASSES, "palette": _PALETTE}), "seed": "3"}
    return {
        "zip.pth": _saved(_checkpoint()),
        "bare.pth": _saved(_weights()),
        "legacy.pth": _saved(_checkpoint(), legacy=True),
        "weights.safetensors": _safetensors(_weights(), meta),
    }


def _zipped(records: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as container:
        for name, body in records:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            container.writestr(info, body)
    return file.getvalue()


def _records(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as container:
        return [(name, container.read(name)) for name in container.namelist()]


_OPCODES = b"0123NKMJIFGU]})(hqrjtabesudRcQP\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x93\x94\x95\x96\x97\x98X.oil}"


def _change_pickle(body: bytes, rng: Random) -> bytes:
    changed = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(changed))
        way = rng.randrange(4)
        opcode = bytes((rng.choice(_OPCODES),))
        if way == 0:
            changed[at : at + 1] = opcode
        elif way == 1:
            changed[at:at] = opcode
        elif way == 2:
            changed[at:at] = rng.choice(
                (b"X\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"j\xff\xff\xff\xff", b"\x8a\xff")
            )
        else:
            start = rng.randrange(len(body))
            changed[at:at] = body[start : start + rng.randrange(1, 60)]
    return bytes(changed)


def _change_zip(data: bytes, rng: Random) -> tuple[bytes, str]:
    """A container whose checksums are right."""
    records = _records(data)
    at = rng.randrange(len(records))
    name, body = records[at]
    note = rng.choice(("pickle", "pickle", "pickle", "body", "drop", "rename", "twice", "pack", "order", "storage"))
    if note == "pickle":
        at = next(i for i, (name, _) in enumerate(records) if name.endswith("data.pkl"))
        records[at] = records[at][0], _change_pickle(records[at][1], rng)
    elif note == "body":
        body, how = blind(body, rng)
        records[at], note = (name, body), f"{name}: {how}"
    elif note == "drop":
        del records[at]
        note = f"drop {name}"
    elif note == "rename":
        renamed = rng.choice(("../../x", "data.pkl", "archive/data.pkl", "/x", "archive/data/999", name.upper()))
        records[at], note = (renamed, body), f"{name} to {renamed}"
    elif note == "twice":
        records.append((name, blind(body, rng)[0]))
    elif note == "order":
        rng.shuffle(records)
    elif note == "storage":
        at = rng.choice([i for i, (name, _) in enumerate(records) if "/data/" in name])
        records[at] = records[at][0], records[at][1] * rng.choice((0, 2, 100)) + rng.choice((b"", b"x"))
    return _zipped(records, zipfile.ZIP_DEFLATED if note == "pack" else zipfile.ZIP_STORED), note


def _change_safetensors(data: bytes, rng: Random) -> tuple[bytes, str]:
    """A header of JSON that has been changed, with its length right or wrong."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    key = rng.choice(list(header))
    entry = header[key]
    note = rng.choice(("dtype", "shape", "offsets", "meta", "length", "drop", "odd", "deep", "name"))
    if note == "dtype" and key != "__metadata__":
        entry["dtype"] = rng.choice(("F64", "F16", "BF16", "I8", "BOOL", "F8_E4M3", "C64", "X9", "", None, 3))
    elif note == "shape" and key != "__metadata__":
        entry["shape"] = rng.choice(([], [1], [-1], [2**63], [2**32, 2**32], [1.5], "4", None, [*entry["shape"], 1]))
        if rng.random() < 0.5 and isinstance(entry["shape"], list):
            numbers = [n for n in entry["shape"] if isinstance(n, int)]
            end = min(2**63, entry["data_offsets"][0] + 4 * max(0, math.prod(numbers)))
            entry["data_offsets"][1] = end
    elif note == "offsets" and key != "__metadata__":
        entry["data_offsets"] = rng.choice(([0, 0], [0, 2**63], [-4, 0], [4, 0], [0], None, [0, len(body)], ["0", "4"]))
    elif note in ("meta", "dtype", "shape", "offsets"):
        value = rng.choice(ODD)
        value = value if rng.random() < 0.3 else {"dataset_meta": json.dumps(value), "seed": json.dumps(value)}
        header["__metadata__"], note = value, f"meta {value!r}"[:120]
    elif note == "drop":
        del header[key]
    elif note == "odd":
        header[key] = rng.choice(ODD)
    elif note == "name":
        header[rng.choice(("", "\x1b[31m", "module." + key, "é" * 500, "a\nb"))] = header.pop(key)
    elif note == "deep":
        depth = rng.choice((1000, 100000))
        header["__metadata__"] = {"dataset_meta": "[" * depth + "]" * depth}
    text = json.dumps(header).encode()
    length = (
        len(text) if note != "length" else rng.choice((0, 1, len(text) - 1, len(text) + 1, 2**40, 2**63, 2**64 - 1))
    )
    return length.to_bytes(8, "little") + text + body, note


def _make_bytes(rng: Random) -> Case:
    bases = _bases()
    name = rng.choice(("zip.pth", "zip.pth", *bases))
    data, facts = bases[name], {"exact": False, "whole": False}
    way = rng.random()
    if way < 0.04:
        note, facts["whole"] = "good", True
    elif way < 0.1:
        data, note = data[: rng.randrange(len(data))], "cut"
        facts["exact"] = True
    elif way < 0.5 and name in ("zip.pth", "bare.pth"):
        data, note = _change_zip(data, rng)
    elif way < 0.6 and name == "legacy.pth":
        data, note = _change_pickle(data, rng), "pickle"
    elif way < 0.6 and name.endswith(".safetensors"):
        data, note = _change_safetensors(data, rng)
    else:
        data, note = blind(data, rng, list(bases.values()))
        facts["exact"] = name in ("zip.pth", "bare.pth") and "splice" not in note
    return Case({name: data}, [name], f"{name}: {note}", facts)


def _load(file: Path) -> tuple[dict, nn.Module]:
    """Everything that is done with a checkpoint before it predicts."""
    from mmengine.config import Config

    from gcseg.apis.inference import complete_dataset_meta
    from gcseg.engine.checkpoint import load_checkpoint_file
    from gcseg.engine.state_dict import load_into_model

    checkpoint, model = load_checkpoint_file(file), _Model()
    load_into_model(model, checkpoint, strict=True, name=str(file))
    meta = checkpoint["meta"].get("dataset_meta") or {}
    model.dataset_meta = complete_dataset_meta(meta, Config({}), model)
    return checkpoint, model


def _check_bytes(case: Case, folder: Path) -> None:
    from gcseg.utils.errors import GcsegError

    (name,) = case.files
    try:
        _, model = _load(folder / name)
    except GcsegError as error:
        if case.facts["whole"]:
            raise Wrong(f"refuses a good file: {error}") from error
        raise
    _judge_model(model)
    if case.facts["whole"] or case.facts["exact"]:
        for key, value in _weights().items():
            if not torch.equal(model.state_dict()[key], value):
                raise Wrong(f"other values in {key}, although the container has checksums")
        if list(model.dataset_meta["classes"]) != _CLASSES and name != "bare.pth":
            raise Wrong(f"other classes, {model.dataset_meta['classes']}, although the container has checksums")


def _judge_model(model: nn.Module) -> None:
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise Wrong(f"a model whose {key} is not finite")
    meta = model.dataset_meta
    if not all(isinstance(name, str) for name in meta["classes"]) or len(meta["classes"]) != len(meta["palette"]):
        raise Wrong(f"classes {meta['classes']!r}, palette {meta['palette']!r}")
    if not all(len(c) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in c) for c in meta["palette"]):
        raise Wrong(f"palette {meta['palette']!r}")


def _odd_tensors(good: torch.Tensor) -> Iterator[Callable[[], Any]]:
    yield lambda: good * math.nan
    yield lambda: good.index_fill(0, torch.tensor([0]), math.inf) if good.ndim else good
    yield lambda: good[None]
    yield lambda: good.flatten()[:-1] if good.numel() > 1 else good[None]
    yield lambda: torch.zeros(())
    yield lambda: torch.zeros(0)
    yield lambda: torch.zeros(1).expand(1 << 40)
    yield lambda: torch.zeros(good.shape, device="meta")
    yield lambda: torch.ones(good.shape, dtype=torch.complex64)
    yield lambda: torch.ones(good.shape, dtype=torch.bool)
    yield lambda: torch.ones(good.shape, dtype=torch.int64)
    yield lambda: good.half() if good.is_floating_point() else good
    yield lambda: torch.ones(good.shape).to_sparse()
    yield lambda: torch.quantize_per_tensor(torch.ones(good.shape), 0.1, 0, torch.qint8)
    yield lambda: nn.Parameter(torch.ones(good.shape))
    yield lambda: torch.ones(good.shape).to(torch.float8_e4m3fn)
    yield lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    yield lambda: good.numpy()
    yield lambda: good.tolist()
    yield lambda: {"weight": good}


def _deep(depth: int, closing: bytes) -> bytes:
    """A pickle of lists in lists, or of a list that holds itself, or of shared pairs that double ``depth`` times."""
    head = pickle.PROTO + b"\x02"
    if closing == b"nested":
        return head + b"]" * depth + b"a" * (depth - 1) + b"."
    if closing == b"itself":
        return head + b"]q\x00h\x00a."
    doubled = b"".join(b"h" + bytes((i - 1,)) + b"\x86q" + bytes((i,)) for i in range(1, depth))
    return head + b"]q\x00" + doubled + b"."


def _with_graph(rng: Random) -> tuple[bytes, str]:
    """A good checkpoint in whose ``meta`` stands a graph that a walk through it does not end, or falls from."""
    kind = rng.choice((b"nested", b"itself", b"doubled"))
    depth = rng.choice((30, 60, 200)) if kind == b"doubled" else rng.choice((900, 5000, 200000))
    graph = _deep(depth, kind)[2:-1]
    data = _saved({"meta": {"graph": "HERE"}, "state_dict": _weights()})
    records = _records(data)
    at = next(i for i, (name, _) in enumerate(records) if name.endswith("data.pkl"))
    word = b"X" + struct.pack("<I", 4) + b"HERE"
    body = records[at][1]
    start = body.index(word)
    end = start + len(word) + (2 if body[start + len(word)] == ord("q") else 0)
    # The memo of the graph begins where the rest of the file does not look.
    moved = graph if kind == b"nested" else _moved(graph)
    records[at] = records[at][0], body[:start] + moved + body[end:]
    return _zipped(records), f"meta: {kind.decode()} {depth}"


def _moved(graph: bytes) -> bytes:
    """The same opcodes with a memo of long indices from 100000 on."""
    out, at = b"", 0
    while at < len(graph):
        opcode = graph[at : at + 1]
        if opcode in (b"q", b"h"):
            out += (b"r" if opcode == b"q" else b"j") + struct.pack("<I", 100000 + graph[at + 1])
            at += 2
        else:
            out += opcode
            at += 1
    return out


def _make_content(rng: Random) -> Case:
    content, weights = _checkpoint(), _weights()
    key = rng.choice(list(weights))
    facts = {"whole": False, "exact": False}
    note = rng.choice(("tensor", "tensor", "tensor", "meta", "meta", "classes", "keys", "top", "graph", "rest", "good"))
    value = rng.choice(ODD)
    data = None
    if note == "tensor":
        odd = list(_odd_tensors(weights[key]))
        at = rng.randrange(len(odd))
        weights[key] = odd[at]()
        content["state_dict"], note = weights, f"tensor {key} {at}"
    elif note == "meta":
        where = rng.choice(("meta", "dataset_meta", "seed", "cfg", "iter", "CLASSES", "PALETTE"))
        if where == "meta":
            content["meta"] = value
        else:
            content["meta"][where] = value
            if where.isupper():
                del content["meta"]["dataset_meta"]
        note = f"{where}: {value!r}"[:200]
    elif note == "classes":
        where = rng.choice(("classes", "palette"))
        lists = ([[1, 2], [3, 4], [5, 6]], [[1, 2, 3]] * 4, [["a"] * 3] * 3, [[300, -1, 0.5]] * 3, torch.ones(3, 3))
        value = rng.choice((*ODD, *lists, np.full((3, 3), 7, np.uint8), [None] * 3, "random", {"a": 1, "b": 2, "c": 3}))
        content["meta"]["dataset_meta"][where] = value
        note = f"{where}: {value!r}"[:200]
    elif note == "keys":
        way = rng.choice(("number", "tuple", "bytes", "prefix", "both", "control", "long", "extra", "missing", "none"))
        new = {"number": 3, "tuple": ("a", 1), "bytes": b"a", "control": "\x1b[31m\n", "long": "k" * 100000}
        if way == "prefix":
            weights = {f"module.{k}": v for k, v in weights.items()}
        elif way == "both":
            weights[f"module.{key}"] = weights[key] + 1
        elif way == "extra":
            weights[f"decode_head.{rng.choice(('', 'gc_block.x', '..'))}"] = torch.ones(3)
        elif way in new:
            weights[new[way]] = weights.pop(key)  # type: ignore[index]
        else:
            del weights[key]
        content["state_dict"], note = weights, f"keys: {way}"
    elif note == "top":
        tops = (
            [],
            [weights],
            weights[key],
            "text",
            3,
            None,
            {},
            {"state_dict": value},
            {"model": weights},
            {1: weights},
        )
        content = rng.choice((*tops, {"state_dict": {"a": {"b": weights}}}, {"state_dict": list(weights.values())}))
    elif note == "graph":
        data, note = _with_graph(rng)
    elif note == "rest":
        where = rng.choice(("message_hub", "optimizer", "param_schedulers", "ema_state_dict"))
        content[where], note = value, f"{where}: {value!r}"[:200]
    else:
        facts["whole"] = True
    if data is None:
        data = _saved(content, legacy=rng.random() < 0.3)
    return Case({"iter_7.pth": data}, ["iter_7.pth"], note, facts)


def targets() -> dict[str, Target]:
    """Bytes and content of checkpoints."""
    return {
        "checkpoint_bytes": Target("checkpoint_bytes", _make_bytes, _check_bytes),
        "checkpoint_content": Target("checkpoint_content", _make_content, _check_bytes),
    }

"""Overrides, config files, and the config that a checkpoint carries."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from fuzzing import Case, Files, Target, Wrong
from mutations import ODD, blind, replace_node

RECIPE = "gcnet_r18-d8_1xb8-1k_camvid-240x320"
_TEXTS = (
    *(
        "",
        "None",
        "nan",
        "inf",
        "1e999",
        "-1",
        "0",
        "3.5",
        "True",
        "abc",
        "a b",
        "'",
        '"',
        "[",
        "]",
        "[1,2",
        "(1,2)",
        "()",
    ),
    *(
        "[]",
        "[[1],[2]]",
        "1,2,3",
        ",",
        "{}",
        "{'a':1}",
        "dict(a=1)",
        "[(1,2),(3,4)]",
        "(1),(2)",
        "=",
        "a=b",
        "é",
        "\x1b[31m",
    ),
    *(
        "99999999999999999999",
        "1_000",
        "0x10",
        "[" * 50 + "]" * 50,
        "[" * 1100 + "]" * 1100,
        "x" * 2000,
        "ReLU",
        "GCHead",
    ),
    *(
        "__import__('os')",
        "\0",
        "\ud800",
        "['decode_head']",
        "[None]",
        "0.1,",
        "1e-3",
        "/nowhere/x.pth",
        "512",
        "2,2,2,2",
    ),
)


@cache
def _recipe() -> Any:
    from gcseg.config import load_config

    return load_config(RECIPE, check=False)


@cache
def _tree() -> dict:
    return {k: v for k, v in _recipe().to_dict().items() if k != "default_scope"}


@cache
def _keys() -> list[str]:
    """Dotted ways to everything in the recipe."""
    found: list[str] = []

    def walk(node: Any, way: str) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
        for key, value in items:
            found.append(f"{way}.{key}" if way else str(key))
            walk(value, found[-1])

    walk(_tree(), "")
    return found


def _make_override(rng: Random) -> Case:
    pairs, keys = [], []
    for _ in range(rng.choice((1, 1, 1, 2))):
        key = rng.choice(_keys())
        way = rng.randrange(16)
        parts = key.split(".")
        if way == 0:
            at = rng.randrange(len(parts))
            letter = rng.randrange(len(parts[at]))
            parts[at] = parts[at][:letter] + rng.choice(("", "x", "é")) + parts[at][letter + 1 :]
        elif way == 1:
            parts.insert(rng.randrange(len(parts) + 1), rng.choice(("x", "0", "-1", "99", "", "type", "a b")))
        elif way == 2:
            parts.append(rng.choice(("type", "0", "x", "_delete_", "_base_", "_scope_", "norm_cfg", "pipeline")))
        keys.append(".".join(parts))
        value = rng.choice(_TEXTS) if rng.random() < 0.7 else _similar(key, rng)
        pairs.append(f"{keys[-1]}={value}")
    return Case({}, _words(keys), " ".join(pairs)[:300], {"pairs": pairs})


def _similar(key: str, rng: Random) -> str:
    """A value of the recipe of the same type as the one at a key."""

    def at(way: str) -> Any:
        node: Any = _tree()
        for part in way.split("."):
            node = node[int(part) if isinstance(node, list | tuple) else part]
        return node

    kind = type(at(key))
    return str(rng.choice([value for other in _keys() if type(value := at(other)) is kind]))


def _words(keys: list[str]) -> list[str]:
    """Words of which a message about a key has one: its last parts, or all of it."""
    words = []
    for key in keys:
        named = [part for part in key.split(".") if not re.fullmatch(r"-?\d*", part)]
        words += [key, *(part for part in named if part != "model" or len(named) < 3)]
    return [word for word in words if word] or ["--cfg-options"]


def _check_override(case: Case, folder: Path) -> None:
    from gcseg.cli import parse_cfg_options
    from gcseg.config import load_config

    options = parse_cfg_options(case.facts["pairs"])
    cfg = load_config(_recipe(), options)
    assert options is not None
    if len({*options}) == 1:
        for key, value in options.items():
            _judge_effect(cfg, key, value)
    _build(cfg)


def _judge_effect(cfg: Any, key: str, value: Any) -> None:
    node = cfg.to_dict()
    for part in key.split("."):
        try:
            node = node[int(part)] if isinstance(node, list | tuple) else node[part]
        except (KeyError, IndexError, ValueError, TypeError):
            if part in ("_delete_", "_base_", "_scope_"):  # mmengine's own
                return
            raise Wrong("an override without an effect") from None
    if _plain(node) != _plain(value) and "mmseg" not in str(value):
        raise Wrong(f"an override gave {str(node)[:60]}")


def _plain(value: Any) -> str:
    return json.dumps(value, default=str, sort_keys=True)


def _build(cfg: Any) -> None:
    """What a run builds before it touches data; the weights lie on no device."""
    import torch

    from gcseg.config_build import built_from
    from gcseg.registry import DATASETS, METRICS, MODELS

    with built_from(cfg):
        with torch.device("meta"):
            model = MODELS.build({**cfg.model, "_scope_": "gcseg"})
        for loader in ("train_dataloader", "val_dataloader"):
            if cfg[loader] is None:  # no validation
                continue
            dataset = cfg[loader]["dataset"]
            DATASETS.build({**dataset, "lazy_init": True, "_scope_": "gcseg"})
        evaluators = cfg.val_evaluator if isinstance(cfg.val_evaluator, list | tuple) else [cfg.val_evaluator]
        for evaluator in filter(None, evaluators):
            METRICS.build({**evaluator, "_scope_": "gcseg"})
    if not isinstance(model, torch.nn.Module):
        raise Wrong(f"the model is a {type(model).__name__}")


def _text(tree: dict) -> str:
    return "nan, inf = float('nan'), float('inf')\n" + "".join(f"{k} = {v!r}\n" for k, v in tree.items())


_LINES = (
    "_base_ = 'nowhere.py'",
    "_base_ = './config.py'",
    "_base_ = './other.py'",
    "_base_ = ['./other.py', './other.py']",
    "_base_ = 3",
    "_base_ = [None]",
    "_base_ = ''",
    "_base_ = '.'",
    "_base_ = '/'",
    "_base_ = 'nowhere::x.py'",
    "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'",
    "_base_ = './other.txt'",
    "_base_ = './other.json'",
    "_base_ = './other.yaml'",
    "_base_ = [x for x in ['a']]",
    "_base_ = f'{1}.py'",
    "x = {{_base_.nothing}}",
    "x = '{{$NOWHERE_TO_BE_FOUND}}'",
    "x = _base_.model.nothing",
    "x = 1 / 0",
    "raise SystemExit(3)",
    "raise OSError('x')",
    "assert False, 'x'",
    "x = [][0]",
    "import nowhere",
    "from .nowhere import x",
    "with read_base():\n    from .nowhere import x",
    "with read_base():\n    from .other import *",
    "def f():\n    return f()\nf()",
    "x = " + "[" * 150 + "]" * 150,
    "x = " + "[" * 250 + "]" * 250,
    "x = " + "-" * 5000 + "1",
    "x = " + "1+" * 20000 + "1",
    "x = []\nx.append(x)\nmodel['x'] = x",
    "model = lambda: 1",
    "model = dict(_delete_=True, type='GCHead')",
    "model['_delete_'] = 3",
    "del model",
    "custom_imports = 3",
    "custom_imports = dict(imports='nowhere')",
    "custom_imports = dict(imports=['.other'])",
    "custom_imports = dict(nothing=1)",
    "default_scope = 3",
    "default_scope = 'nowhere'",
    "filename = 3",
    "text = 3",
    "pretty_text = 3",
    "env_variables = {}",
    "model.update({3: 4})",
    "model = {3: 4}",
    "train_cfg = dict(type=int)",
    "_deprecation_ = dict(expected='other.py')",
    "_deprecation_ = 3",
    "x = b'\\xff'\n# \x80",
    "\ufeffx = 1",
    "\x00",
)


def _make_file(rng: Random) -> Case:
    tree, way, name = _tree(), rng.random(), "config.py"
    names, facts = [name], {"good": False}
    other = rng.choice(
        ("_base_ = './config.py'\n", "x = 1\n", "_base_ = './other.py'\n", "x = \n", "model = dict(a=1)\n")
    )
    files: Files = {"other.py": other.encode(), "other.txt": b"x", "other.json": b"{", "other.yaml": b"a: [b"}
    if way < 0.04:
        text, note, facts["good"] = _text(tree), "good", True
    elif way < 0.4:
        value = rng.choice((*ODD, *tree.values()))
        changed, place = replace_node(tree, rng, value)
        text, note = _text(changed), f"{place}: {value!r}"[:200]
        names += _words([".".join(map(str, place)), ".".join(map(str, place[:-1]))])
    elif way < 0.8:
        line = rng.choice(_LINES)
        text, note = rng.choice((_text(tree) + line + "\n", line + "\n" + _text(tree), line + "\n")), line[:100]
        names += [*re.findall(r"\w{3,}", line), "EncoderDecoder"]  # or other.py, which says model = dict(a=1)
    elif way < 0.9:
        name = rng.choice(("config.json", "config.yaml", "config.yml", "config.txt", "config", "config.PY"))
        base = json.dumps(tree, default=str).encode()
        data, note = rng.choice(((base, name), (b"[1]", f"{name} list"), (b"3", f"{name} 3"), blind(base, rng)))
        return Case({**files, name: data}, [name, *_sections()], note, facts)
    else:
        data, note = blind(_text(tree).encode(), rng)
        return Case({**files, name: data}, [name, *_sections()], note, facts)
    return Case({**files, name: text.encode("utf-8", "surrogatepass")}, names, note, facts)


@cache
def _sections() -> list[str]:
    """Any word of a config: bytes that change may change any of them."""
    return sorted({part for key in _keys() for part in key.split(".") if not part.isdigit()})


def _check_file(case: Case, folder: Path) -> None:
    from gcseg.config import load_config, require
    from gcseg.utils.errors import GcsegError

    name = next(name for name in case.files if name.startswith("config"))
    try:
        cfg = load_config(folder / name)
        require(cfg, ("model", "train_dataloader", "val_dataloader", "val_evaluator", "optim_wrapper"), "training")
        _build(cfg)
    except GcsegError as error:
        if case.facts["good"]:
            raise Wrong(f"refuses a good file: {error}") from error
        raise


def _make_stored(rng: Random) -> Case:
    way = rng.random()
    text = "\n".join(f"{k} = {v!r}" for k, v in _tree().items())
    if way < 0.3:
        line = rng.choice(_LINES)
        text, note = f"{text}\n{line}\n", line[:100]
    elif way < 0.6:
        value = rng.choice(ODD)
        changed, place = replace_node(_tree(), rng, value)
        text, note = "\n".join(f"{k} = {v!r}" for k, v in changed.items()), f"{place}: {value!r}"[:200]
    elif way < 0.7:
        note = rng.choice(
            ("x = {[]: 1}", "x = {**{}}", "x = dict(**{})", "x = -a", "x = 1 if 2 else 3", "x = {1: 2}[1]")
        )
        text += f"\n{note}\n"
    else:
        data, note = blind(text.encode(), rng)
        text = data.decode("latin-1")
    return Case({"config.txt": text.encode("utf-8", "surrogatepass")}, ["iter_7.pth"], note, {"text": text})


def _check_stored(case: Case, folder: Path) -> None:
    from gcseg.apis.stored_config import parse_config_text

    cfg = parse_config_text(case.facts["text"], "iter_7.pth")
    for value in cfg.to_dict().values():
        if callable(value):
            raise Wrong("text was run")


def targets() -> dict[str, Target]:
    """Everything that is read as a config."""
    return {
        "override": Target("override", _make_override, _check_override),
        "config_file": Target("config_file", _make_file, _check_file),
        "stored_config": Target("stored_config", _make_stored, _check_stored),
    }

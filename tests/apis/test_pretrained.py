"""save_pretrained, from_pretrained and push_to_hub: what comes back is what went out, and nothing of it is run."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import gcseg
from gcseg.apis import SegInferencer, inference_model, init_model
from gcseg.engine.checkpoint import load_checkpoint_file
from gcseg.registry import MODELS
from gcseg.utils import CheckpointError, ConfigError, WeightsNotFoundError

SMALL = dict(type="ResNetV1c", depth=18, base_channels=16, stem_channels=16)
PHOTOGRAPH = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)


def randomise(model, seed=0):
    """Running statistics and zeros of a fresh model would hide what was not loaded."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.copy_(noise + 0.5 if name.endswith("var") or tensor.ndim == 1 else (noise - 0.5) / 4)
    return model.eval()


def make(**options):
    return randomise(gcseg.create_model(**{**dict(backbone=SMALL, head="gc", num_classes=3), **options}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = make(classes=("sky", "roof"), num_classes=2, auxiliary=True)
    return model, gcseg.save_pretrained(model, tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that a test may spoil."""
    for file in saved[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def edit(folder, change):
    content = json.loads((folder / "config.json").read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content))


def assert_same(ours, theirs, channels=3, dtype=torch.float32):
    images = torch.rand(2, channels, 33, 47, generator=torch.Generator().manual_seed(2)).to(dtype)
    assert torch.equal(ours(images), theirs(images)) and ours(images).std() > 0
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    assert ours.dataset_meta == theirs.dataset_meta


def test_a_model_comes_back_as_it_was(saved):
    model, folder = saved
    assert sorted(f.name for f in folder.iterdir()) == ["config.json", "model.safetensors"]
    again = gcseg.from_pretrained(folder, device="cpu")
    assert_same(again, model)
    assert not again.training and again.dataset_meta["classes"] == ("sky", "roof")
    ours, theirs = inference_model(again, PHOTOGRAPH), inference_model(model, PHOTOGRAPH)
    assert torch.equal(ours.seg_logits.data, theirs.seg_logits.data)
    assert SegInferencer(again, show_progress=False)(PHOTOGRAPH)["predictions"].shape == (40, 56)
    again.train()
    again(torch.rand(2, 3, 32, 32)).sum().backward()


@pytest.mark.parametrize(
    "options",
    [
        dict(head="nl"),
        dict(head="dnl", auxiliary=True),
        dict(head="snl", num_classes=1),
        dict(head="se", in_channels=1),
        dict(head=dict(type="FCNHead", in_index=(2, 3), input_transform="resize_concat"), in_channels=4),
        dict(head=dict(type="ContextHead", block=dict(type="GeneralContext", fusion="scale", modelling="average"))),
        dict(backbone=dict(SMALL, plugins=[dict(cfg=dict(type="ContextBlock", ratio=1 / 4), position="after_conv2",
                                                stages=(False, True, True, True))])),
        dict(head=dict(type="GCHead", norm_cfg=dict(type="GN", num_groups=4),
                       loss_decode=[dict(type="CrossEntropyLoss", class_weight=np.array([1.0, 2.0, 0.5])),
                                    dict(type="DiceLoss", loss_name="loss_dice")])),
        dict(mean=None, std=None),
    ],
    ids=lambda options: " ".join(options),
)  # fmt: skip
def test_every_kind_of_model_comes_back(options, tmp_path):
    model = make(**options)
    again = gcseg.from_pretrained(gcseg.save_pretrained(model, tmp_path), device="cpu")
    channels = options.get("in_channels", 3)
    assert_same(again, model, channels)
    assert repr(again) == repr(model)
    raw = torch.randint(0, 255, (1, channels, 9, 9), dtype=torch.uint8)
    batches = [m.data_preprocessor(dict(inputs=raw))["inputs"] for m in (again, model)]
    assert torch.equal(*batches)
    assert_same(gcseg.from_pretrained(gcseg.save_pretrained(again, tmp_path / "b"), device="cpu"), model, channels)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_comes_back(dtype, tmp_path):
    model = make().to(dtype)
    again = gcseg.from_pretrained(gcseg.save_pretrained(model, tmp_path), device="cpu")
    assert_same(again, model, dtype=dtype)
    assert again(torch.rand(1, 3, 32, 32, dtype=dtype)).dtype == dtype


def test_a_model_of_a_config_and_a_checkpoint_comes_back(tiny_config, tiny_checkpoint, tmp_path):
    model = init_model(tiny_config, tiny_checkpoint, device="cpu")
    again = gcseg.from_pretrained(gcseg.save_pretrained(model, tmp_path / "new" / "deep"), device="cpu")
    assert_same(again, model)
    assert again.dataset_meta["classes"][3] == "name 3" and again.dataset_meta["palette"][3] == [3, 6, 9]
    big = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)  # the recipe's pipeline resizes it
    ours, theirs = inference_model(again, big), inference_model(model, big)
    assert torch.equal(ours.seg_logits.data, theirs.seg_logits.data)
    assert "pretrained" not in json.loads((tmp_path / "new" / "deep" / "config.json").read_text())["model"]


def test_the_weights_are_a_checkpoint_like_any_other(saved, tiny_config):
    model, folder = saved
    loaded = load_checkpoint_file(folder / "model.safetensors")
    assert loaded["meta"]["dataset_meta"]["classes"] == ["sky", "roof"]
    assert torch.equal(loaded["state_dict"]["backbone.stem.0.weight"], model.backbone.stem[0].weight)


def test_a_wrapped_model_and_one_on_top_of_another(saved, tmp_path):
    compiled = nn.ModuleDict()  # importing what torch.compile needs takes longer than this file
    compiled._orig_mod = saved[0]
    for wrapped in (nn.DataParallel(saved[0]), compiled):
        gcseg.save_pretrained(wrapped, tmp_path)
        assert_same(gcseg.from_pretrained(tmp_path, device="cpu"), saved[0])
    (tmp_path / "notes.txt").write_text("mine")
    other = make(head="fcn")
    gcseg.save_pretrained(other, tmp_path)
    assert_same(gcseg.from_pretrained(tmp_path, device="cpu"), other)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["config.json", "model.safetensors", "notes.txt"]


def test_from_another_folder_and_under_another_default_device(saved, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    with torch.device("meta"):
        again = gcseg.from_pretrained(folder.name, device="cpu")
    assert_same(again, saved[0])


@MODELS.register_module()
class PretrainedTestBackbone(nn.Module):
    """A user's backbone that is registered."""

    def __init__(self, width=24):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 4, 1)

    def forward(self, x):
        return self.conv(x)


def test_parts_of_a_user_come_back_where_they_are_registered(tmp_path, monkeypatch):
    model = make(backbone=dict(type=PretrainedTestBackbone, width=40))
    gcseg.save_pretrained(model, tmp_path)
    assert_same(gcseg.from_pretrained(tmp_path, device="cpu"), model)
    monkeypatch.delitem(MODELS.module_dict, "PretrainedTestBackbone")
    with pytest.raises(CheckpointError, match="import the module that registers it"):
        gcseg.from_pretrained(tmp_path, device="cpu")


# What is not saved


def test_models_that_no_config_describes_are_not_saved(tmp_path, saved):
    with pytest.raises(ConfigError, match=r"model\.backbone is a finished PretrainedTestBackbone"):
        gcseg.save_pretrained(make(backbone=PretrainedTestBackbone()), tmp_path)
    with pytest.raises(ConfigError, match="gcseg.create_model"):
        gcseg.save_pretrained(nn.Conv2d(1, 1, 1), tmp_path)
    changed = make()
    changed.decode_head.conv_seg = nn.Conv2d(32, 9, 1)
    with pytest.raises(CheckpointError, match="changed afterwards"):
        gcseg.save_pretrained(changed, tmp_path)
    from gcseg.engine import prepare_for_inference

    with pytest.raises(CheckpointError, match="prepare_for_inference"):
        gcseg.save_pretrained(prepare_for_inference(make()), tmp_path)
    diverged = make()
    diverged.decode_head.conv_seg.weight.data[0] = float("nan")
    with pytest.raises(CheckpointError, match="nan"):
        gcseg.save_pretrained(diverged, tmp_path)
    no_number = make()
    no_number.cfg.model.decode_head.dropout_ratio = float("nan")
    with pytest.raises(ConfigError, match=r"model\.decode_head\.dropout_ratio is nan"):
        gcseg.save_pretrained(no_number, tmp_path)
    with torch.device("meta"), pytest.raises(CheckpointError, match="meta"):
        gcseg.save_pretrained(gcseg.create_model(backbone=SMALL, head="gc", num_classes=3), tmp_path)
    unregistered = make()
    unregistered.cfg.model.decode_head.type = "os.system"
    with pytest.raises((ConfigError, CheckpointError), match=r"os\.system"):
        gcseg.save_pretrained(unregistered, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_keeps_its_files(saved, folder):
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    (folder / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be saved"):
        gcseg.save_pretrained(saved[0], folder / "file")
    (folder / "file").unlink()
    assert before == {f.name: f.read_bytes() for f in folder.iterdir()}


def test_a_write_that_breaks_off_leaves_the_old_files(saved, folder, monkeypatch):
    before = {f.name: f.read_bytes() for f in folder.iterdir()}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        gcseg.save_pretrained(make(), folder)
    assert before == {f.name: f.read_bytes() for f in folder.iterdir()}


# What is damaged


def test_missing_files_are_said(saved, folder, monkeypatch):
    with pytest.raises(WeightsNotFoundError, match="no such folder"):
        gcseg.from_pretrained(folder / "none")
    with pytest.raises(WeightsNotFoundError, match=r"a file; give the folder"):
        gcseg.from_pretrained(folder / "config.json")
    with pytest.raises(ConfigError, match="revision"):
        gcseg.from_pretrained(folder, revision="main")
    (folder / "model.safetensors").rename(folder / "elsewhere")
    monkeypatch.setenv("GCSEG_WEIGHTS", str(saved[1]))  # which has a file of that name
    with pytest.raises(WeightsNotFoundError, match=r"no model\.safetensors"):
        gcseg.from_pretrained(folder, device="cpu")
    (folder / "config.json").unlink()
    with pytest.raises(WeightsNotFoundError, match=r"no config\.json"):
        gcseg.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize("cut", [0, 4, 1000, -1])
def test_truncated_weights_are_found(folder, cut):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        gcseg.from_pretrained(folder, device="cpu")


def test_a_flipped_bit_of_the_weights_is_found(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        gcseg.from_pretrained(folder, device="cpu")


def test_weights_that_do_not_fit_are_found(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    for missing in ("backbone.layer1.0.conv1.weight", "auxiliary_head.conv_seg.bias"):
        save_file({k: v for k, v in weights.items() if k != missing}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=missing):
            gcseg.from_pretrained(folder, device="cpu")
    save_file({**weights, "decode_head.extra": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"decode_head\.extra"):
        gcseg.from_pretrained(folder, device="cpu")


def test_another_number_of_classes_is_found(folder):
    def five(content):
        for head in ("decode_head", "auxiliary_head"):
            content["model"][head].update(num_classes=5, out_channels=5)
        content["dataset_meta"] = {}

    edit(folder, five)
    with pytest.raises(CheckpointError, match="trained for 2 classes and the config says 5"):
        gcseg.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.pop("model"), "no `model`"),
        (lambda c: c.update(model=[]), "no `model`"),
        (lambda c: c.update(modle={}), "modle"),
        (lambda c: c["dataset_meta"].update(classes=["a"], palette=None), "1 names"),
        (lambda c: c["dataset_meta"].update(classes=7), "classes"),
        (lambda c: c["model"]["decode_head"].update(channels=10**8), "tensors match"),
        (lambda c: c["model"]["backbone"].update(depht=18), "depth"),
        (lambda c: c["model"]["backbone"].update(depth="eighteen"), "eighteen"),
        (lambda c: c["model"].update(type="ReLU"), "ReLU"),
        (lambda c: c.update(test_pipeline={"type": "PackSegInputs"}), "not a list"),
        (lambda c: c["model"]["data_preprocessor"].update(mean=[float("nan")] * 3), "NaN"),
    ],
)
def test_a_config_that_cannot_work_is_said(folder, change, expected):
    edit(folder, change)
    with pytest.raises(CheckpointError) as error:
        gcseg.from_pretrained(folder, device="cpu")
    assert expected in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"model": ' * 5_000, "\x00", "null"])
def test_a_config_that_is_no_json_object_is_said(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        gcseg.from_pretrained(folder, device="cpu")


# What is hostile

EVIL = """
from pathlib import Path
Path(__file__).with_suffix(".ran").touch()
def registry(*args, **kwargs):
    Path(__file__).with_suffix(".ran").touch()
"""


@pytest.fixture
def evil(tmp_path_factory, monkeypatch):
    """A module that leaves a file behind when it is imported, where Python finds it."""
    place = tmp_path_factory.mktemp("evil")
    (place / "gcseg_evil_module.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(place))
    yield place
    sys.modules.pop("gcseg_evil_module", None)
    assert not list(place.glob("*.ran")), "code of a file was run"


def at(*keys, **values):
    def change(content):
        node = content
        for key in keys:
            node = node[key]
        node.update(values)

    return change


HOSTILE = [
    at("model", type="os.system", command="touch x.ran"),
    at("model", type="gcseg_evil_module.registry"),
    at("model", type="gcseg_evil_module"),
    at("model", type="mmengine.model.BaseModel"),
    at("model", type="gcseg.models.GCHead"),
    at("model", type="/tmp/evil.py"),
    at("model", type={"type": "os.system"}),
    at("model", type=None),
    at("model", "backbone", type="builtins.exec"),
    at("model", "backbone", type="exec"),
    at("model", "backbone", type="nn.Module"),
    at("model", "backbone", type="subprocess"),
    at("model", "backbone", type="gcseg_evil_module.registry"),
    at("model", "backbone", norm_cfg={"type": "gcseg_evil_module.registry"}),
    at("model", "backbone", conv_cfg={"type": "torch.hub.load"}),
    at("model", "backbone", plugins=[{"cfg": {"type": "gcseg_evil_module.registry"}, "position": "after_conv1"}]),
    at("model", "backbone", pretrained="http://127.0.0.1:9/x.pth"),
    at("model", "backbone", init_cfg={"type": "Pretrained", "checkpoint": "http://127.0.0.1:9/x.pth"}),
    at("model", "backbone", init_cfg=[{"type": "gcseg_evil_module.registry"}]),
    at("model", pretrained="open-mmlab://resnet50_v1c"),
    at("model", init_cfg={"type": "Pretrained", "checkpoint": "/etc/passwd"}),
    at("model", _scope_="gcseg_evil_module"),
    at("model", "decode_head", _scope_="gcseg_evil_module"),
    at("model", "decode_head", type="gcseg_evil_module.registry"),
    at("model", "decode_head", act_cfg={"type": "gcseg_evil_module.registry"}),
    at("model", "decode_head", loss_decode={"type": "gcseg_evil_module.registry"}),
    at("model", "decode_head", loss_decode=[{"type": "CrossEntropyLoss", "class_weight": "/etc/weights.json"}]),
    at("model", "decode_head", sampler={"type": "gcseg_evil_module.registry"}),
    at("model", "data_preprocessor", type="gcseg_evil_module.registry"),
    at("model", "data_preprocessor", batch_augments=[{"type": "gcseg_evil_module.registry"}]),
    at("model", neck={"type": "gcseg_evil_module.registry"}),
    at("model", custom_imports={"imports": ["gcseg_evil_module"]}),
    at(custom_imports={"imports": ["gcseg_evil_module"]}),
    at(_base_="/tmp/evil.py"),
    at(default_scope="gcseg_evil_module"),
    at(test_pipeline=[{"type": "gcseg_evil_module.registry"}]),
    at(test_pipeline=[{"type": "LoadImageFromFile"}, {"type": "EncoderDecoder"}]),
    at(test_pipeline=[{"type": "Albu", "transforms": [{"type": "gcseg_evil_module.registry"}]}]),
    at(test_pipeline={"type": "gcseg_evil_module.registry"}),
]


@pytest.mark.parametrize("change", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_config_is_refused_before_anything_is_built(folder, evil, change, monkeypatch):
    edit(folder, change)
    from mmengine.registry import Registry

    def build(*args, **kwargs):
        raise AssertionError("something was built")

    monkeypatch.setattr(Registry, "build", build)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        gcseg.from_pretrained(folder, device="cpu")
    assert "gcseg_evil_module" not in sys.modules


def test_the_hostile_module_would_have_run(folder, evil):
    """The oracle of the test above: mmengine itself does import a type with dots."""
    with pytest.raises(Exception):  # noqa: B017
        MODELS.build(dict(type="gcseg_evil_module.registry.nothing"))
    (mark,) = evil.glob("*.ran")
    mark.unlink()


def test_classes_that_others_put_into_the_root_registry_are_refused(folder, monkeypatch):
    from mmengine.registry import MODELS as ROOT

    monkeypatch.setitem(ROOT.module_dict, "Planted", PretrainedTestBackbone)
    edit(folder, at("model", "backbone", type="Planted"))
    with pytest.raises(CheckpointError, match="Planted"):
        gcseg.from_pretrained(folder, device="cpu")


# The hub


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
    """huggingface_hub's documented functions on a folder; ``calls`` are what they were called with."""
    remote, calls = tmp_path / "remote", []

    class HfApi:
        def create_repo(self, repo_id, *, private=None, exist_ok=False):
            calls.append(("create", repo_id, private, exist_ok))
            (remote / repo_id).mkdir(parents=True, exist_ok=exist_ok)

        def file_exists(self, repo_id, filename, *, revision=None):
            return (remote / repo_id / filename).is_file()

        def upload_folder(self, *, repo_id, folder_path, revision=None, commit_message=None, allow_patterns=None):
            calls.append(("upload", repo_id, revision, allow_patterns))
            for file in Path(folder_path).iterdir():
                (remote / repo_id / file.name).write_bytes(file.read_bytes())
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def snapshot_download(repo_id, *, revision=None, allow_patterns=None):
        calls.append(("download", repo_id, revision, allow_patterns))
        if not (remote / repo_id).is_dir():
            raise FileNotFoundError("404: repository not found")
        return str(remote / repo_id)

    module = ModuleType("huggingface_hub")
    module.HfApi, module.snapshot_download = HfApi, snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return remote, calls


FILES = ["config.json", "model.safetensors", "README.md"]


def test_a_model_goes_to_the_hub_and_comes_back(saved, fake_hub):
    remote, calls = fake_hub
    model = saved[0]
    assert gcseg.push_to_hub(model, "me/streets", private=True) == "https://hub/me/streets/commit/1"
    assert sorted(f.name for f in (remote / "me" / "streets").iterdir()) == sorted(FILES)
    assert_same(gcseg.from_pretrained("me/streets", device="cpu", revision="v1"), model)
    assert calls == [
        ("create", "me/streets", True, True),
        ("upload", "me/streets", None, FILES),
        ("download", "me/streets", "v1", FILES),
    ]


def test_the_card_says_what_the_model_is_and_its_code_is_python(saved, fake_hub):
    import ast

    card = fake_hub[0] / "me" / "streets" / "README.md"
    gcseg.push_to_hub(saved[0], "me/streets")
    text = card.read_text()
    assert text.startswith("---\nlibrary_name: gcseg\n") and "| 1 | roof |" in text and "GCHead on ResNetV1c-18" in text
    code = text.split("```python\n")[1].split("```")[0]
    ast.parse(code)
    assert 'from_pretrained("me/streets")' in code and "inference_model" in code
    card.write_text("written by hand")
    gcseg.push_to_hub(saved[0], "me/streets")
    assert card.read_text() == "written by hand"
    gcseg.push_to_hub(make(in_channels=4, classes=["a|b", "c\nd", "e"]), "me/four")
    text = (fake_hub[0] / "me" / "four" / "README.md").read_text()
    assert "model.predict" in text and "inference_model" not in text and "| 0 | a\\|b |\n| 1 | c d |" in text


def test_what_goes_wrong_with_the_hub_is_said(saved, fake_hub, monkeypatch):
    with pytest.raises(WeightsNotFoundError, match="404"):
        gcseg.from_pretrained("me/absent")
    with pytest.raises(WeightsNotFoundError, match="user/name"):
        gcseg.from_pretrained("a/b/c")

    def refuse(*args, **kwargs):
        raise ValueError("401: who are you?")

    monkeypatch.setattr(sys.modules["huggingface_hub"].HfApi, "create_repo", refuse)
    with pytest.raises(CheckpointError, match="401.*hf auth login"):
        gcseg.push_to_hub(saved[0], "me/streets")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: gcseg.push_to_hub(saved[0], "me/x"), lambda: gcseg.from_pretrained("me/x")):
        with pytest.raises(CheckpointError, match="pip install huggingface_hub"):
            call()


def test_the_real_client_has_the_functions_that_are_called():
    import inspect

    hub = pytest.importorskip("huggingface_hub")
    wanted = {
        hub.HfApi.create_repo: {"private", "exist_ok"},
        hub.HfApi.file_exists: {"repo_id", "filename", "revision"},
        hub.HfApi.upload_folder: {"repo_id", "folder_path", "revision", "commit_message", "allow_patterns"},
        hub.snapshot_download: {"repo_id", "revision", "allow_patterns"},
    }
    for function, names in wanted.items():
        assert names <= set(inspect.signature(function).parameters)

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

import gcseg
from gcseg.apis import SegInferencer, init_model
from gcseg.config import load_config
from gcseg.export import ExportedModel, export_model
from gcseg.export import formats as formats_module
from gcseg.export.deployable import Deployable
from gcseg.export.formats import FORMATS
from gcseg.utils.errors import ConfigError, ExportError

ROOT = Path(__file__).parents[2]
OLD = tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 7)
needs_new_torch = pytest.mark.skipif(OLD, reason="torch.export keeps sizes open from torch 2.7 on")
SUFFIX = {name: kind.suffix for name, kind in FORMATS.items()}


def tiny_segmentor():
    spec = importlib.util.spec_from_file_location("tiny_seg", ROOT / "tests/models/segmentors/tiny_segmentor.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


T = tiny_segmentor()


def blots(n, height, width, channels=3, seed=0):
    """Coloured rectangles, (n, height, width, channels) uint8."""
    g = np.random.default_rng(seed)
    coarse = g.integers(0, 256, (n, -(-height // 7), -(-width // 7), channels), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(7, 1).repeat(7, 2)[:, :height, :width])


def gcsegs_result(model, images):
    """Classes (N, H, W) and logits (N, K, H, W) as gcseg gives them for RGB images."""
    bgr = [torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))) for image in images]
    with torch.no_grad():
        samples = model.test_step(dict(inputs=bgr))
    return (torch.stack([getattr(s, name).data.squeeze(0) for s in samples]) for name in ("pred_sem_seg", "seg_logits"))


@pytest.fixture(scope="module")
def model(tiny_config, tiny_checkpoint):
    return init_model(tiny_config, tiny_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """Logits at the size of the image, in each format that this torch writes."""
    folder = tmp_path_factory.mktemp("logits")
    kinds = ["torchscript"] if OLD else list(FORMATS)
    return {
        kind: export_model(model, out=folder / f"tiny{SUFFIX[kind]}", format=kind, output="logits") for kind in kinds
    }


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_takes_any_size_and_number(files, model, kind):
    if kind not in files:
        pytest.skip("this torch cannot write it")
    exported = ExportedModel(files[kind].file)
    for n, height, width in ((1, 40, 48), (3, 31, 57), (2, 9, 130), *(((1, 1, 1),) if kind != "torch-export" else ())):
        images = blots(n, height, width)
        _, logits = gcsegs_result(model, images)
        found = torch.from_numpy(exported(images))
        assert found.dtype == torch.float32 and found.shape == logits.shape
        torch.testing.assert_close(found, logits, rtol=0, atol=2e-5 * float(logits.abs().max()))


@needs_new_torch
def test_torch_export_names_the_smallest_size(files):
    with pytest.raises(ExportError, match=r"tiny.pt2: cannot be run on uint8 \(1, 8, 40, 3\).*>= 9"):
        ExportedModel(files["torch-export"].file)(blots(1, 8, 40))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_says_what_it_is(files, kind):
    if kind not in files:
        pytest.skip("this torch cannot write it")
    exported = ExportedModel(files[kind].file)
    assert exported.metadata["image"] == "(N, H, W, 3) uint8 RGB 0 to 255"
    assert exported.metadata["logits"] == "(N, 3, H, W) float32"
    assert exported.fact("classes") == ["left", "right", "odd"] and exported.fact("palette")[2] == [0, 0, 255]
    assert exported.fact("mean") == [120.0] * 3 and exported.fact("std") == [60.0] * 3
    assert exported.fact("left_to_the_caller") == [{"type": "Resize", "scale": [40, 32], "keep_ratio": True}]
    assert exported.fact("gcseg_version") and exported.fact("shape") == "any"
    text = str(files[kind])
    assert "97x111" in text and "44x68" in text and all(c.difference < 1e-5 for c in files[kind].comparisons)


@needs_new_torch
def test_the_onnx_file_is_one_standard_file(labels_file):
    import onnx

    file, done = labels_file
    assert [f.name for f in file.parent.iterdir()] == ["tiny.onnx"]
    network = onnx.load(file, load_external_data=False)
    onnx.checker.check_model(network, full_check=True)
    assert {node.domain for node in network.graph.node} == {""} and network.opset_import[0].version == 18
    shape = [axis.dim_param or axis.dim_value for axis in network.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", "height", "width", 3]
    assert "BatchNormalization" not in {node.op_type for node in network.graph.node}
    assert not any(name.name.startswith("network.auxiliary") for name in network.graph.initializer)
    assert "equal classes" in done.stdout and "writing onnx ..." in done.stderr


@needs_new_torch
def test_labels_are_those_of_the_inferencer(labels_file, tiny_config, tiny_checkpoint, tmp_path):
    import onnxruntime

    photograph = blots(1, 43, 61, seed=5)[0]
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    config = load_config(tiny_config)
    config.test_dataloader.dataset.pipeline.pop(1)  # the resizing, which is left to the caller
    inferencer = SegInferencer(config, str(tiny_checkpoint), show_progress=False)
    expected = inferencer(str(tmp_path / "photograph.png"))["predictions"]
    session = onnxruntime.InferenceSession(str(labels_file[0]), providers=["CPUExecutionProvider"])
    (labels,) = session.run(["labels"], {"image": photograph[None]})
    assert labels.dtype == np.uint8 and labels.shape == (1, 43, 61)
    assert (labels[0] == expected).mean() > 0.999 and len(np.unique(labels)) == 3


def test_labels_of_one_score_follow_the_threshold(tmp_path):
    model = T.build(binary=True)
    report = export_model(model, out=tmp_path / "a.ts", format="torchscript")
    images = blots(2, 33, 50)
    labels, _ = gcsegs_result(model, images)
    found = ExportedModel(report.file)(images)
    assert found.dtype == np.uint8 and set(np.unique(found)) == {0, 1} and (found == labels.numpy()).mean() > 0.999
    assert report.metadata["threshold"] == "0.4" and len(json.loads(report.metadata["classes"])) == 2


def variant(head=None, **backbone):
    config = T.config(auxiliary="none")
    config["decode_head"].update(head or {})
    config["backbone"].update(backbone)
    return config


SEVERAL = dict(in_index=(0, 1, 2, 3), in_channels=(4, 8, 16, 32), input_transform="resize_concat")
PLUGINS = [
    dict(cfg=dict(type="ContextBlock", ratio=1 / 4), stages=(False, True, True, True), position="after_conv2"),
    dict(cfg=dict(type="NonLocal2d", zeros_init=False), stages=(False, False, False, True), position="after_conv1"),
]
VARIANTS = {
    "NLHead": variant(dict(type="NLHead")),
    "DNLHead": variant(dict(type="DNLHead")),
    "SNLHead": variant(dict(type="SNLHead")),
    "SEHead": variant(dict(type="SEHead")),
    "FCNHead": variant(dict(type="FCNHead")),
    "align_corners": variant(dict(align_corners=True)),
    "resize_concat": variant(SEVERAL),
    "resize_concat, align_corners": variant(dict(SEVERAL, align_corners=True)),
    "plugins": variant(plugins=PLUGINS),
    "stride 32": variant(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1)),
}
# Several features are the hard case for an exporter that follows shapes.
CASES = [*((name, "torchscript") for name in VARIANTS), ("resize_concat", "torch-export")]


def build(config):
    from gcseg.registry import MODELS

    model = MODELS.build(config)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.25 + (0 if p.ndim > 1 else 0.4))
    return model.eval()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_head_and_plugin_at_sizes_that_were_not_traced(tmp_path, name, kind):
    if OLD and kind != "torchscript":
        pytest.skip("this torch cannot write it")
    model = build(VARIANTS[name])
    file = export_model(model, out=tmp_path / f"a{SUFFIX[kind]}", format=kind, output="logits").file
    images = blots(1, 53, 35)
    _, logits = gcsegs_result(model, images)
    found = torch.from_numpy(ExportedModel(file)(images))
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-4 * float(logits.abs().max()))


def test_four_channels_keep_their_order(tmp_path):
    config = variant(in_channels=4)
    config["data_preprocessor"].update(mean=[100.0, 90.0, 80.0, 10.0], std=[50.0, 40.0, 30.0, 20.0])
    model = build(config)
    report = export_model(model, out=tmp_path / "a.ts", format="torchscript", output="coarse")
    images = blots(2, 30, 41, channels=4)
    inputs = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images]
    with torch.no_grad():
        expected = model(model.data_preprocessor(dict(inputs=inputs))["inputs"], mode="tensor")
    torch.testing.assert_close(torch.from_numpy(ExportedModel(report.file)(images)), expected, rtol=0, atol=1e-3)
    assert report.metadata["image"] == "(N, H, W, 4) uint8 0 to 255"


def test_a_network_that_was_fed_bgr_still_takes_rgb(tmp_path):
    config = variant()
    config["data_preprocessor"].update(bgr_to_rgb=False, mean=[10.0, 120.0, 200.0])
    model = build(config)
    file = export_model(model, out=tmp_path / "a.ts", format="torchscript", output="logits").file
    images = blots(1, 40, 40)
    _, logits = gcsegs_result(model, images)
    found = torch.from_numpy(ExportedModel(file)(images))
    assert float((found - logits).abs().max()) < 1e-4 * float(logits.abs().max())


def test_normalised_input_and_half_precision(tmp_path):
    model = T.build()
    report = export_model(
        model, out=tmp_path / "a.ts", format="torchscript", input="normalised", output="coarse", fp16=True
    )
    images = torch.randn(2, 3, 33, 41)
    with torch.no_grad():
        expected = model(images, mode="tensor")
    found = torch.from_numpy(ExportedModel(report.file)(images.numpy()))
    assert found.dtype == torch.float32
    difference = float((found - expected).abs().max() / expected.abs().max())
    assert 1e-5 < difference < 2e-2  # it was float16, and is near
    assert report.metadata["image"] == "(N, 3, H, W) float32 RGB normalised"
    assert report.metadata["logits"].endswith("to be resized bilinearly to H x W with align_corners=False")


def test_a_static_file_has_one_shape(model, tmp_path):
    report = export_model(model, out=tmp_path / "a.ts", format="torchscript", static=True, shape=[40])
    assert report.metadata["shape"] == "[1, 40, 40, 3]"
    assert [c.shape for c in report.comparisons] == [(1, 40, 40)] * 2
    with pytest.raises(ExportError, match="--shape HEIGHT WIDTH"):
        export_model(model, out=tmp_path / "b.ts", format="torchscript", static=True)


def test_the_name_of_the_file_is_the_configs_if_it_has_one(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = load_config(tiny_config)
    nameless = Config({"model": named.model, "test_dataloader": named.test_dataloader})
    for config, name in ((named, f"{tiny_config.stem}.ts"), (nameless, "model.ts")):
        assert str(export_model(config, format="torchscript").file) == name and (tmp_path / name).is_file()


def test_norms_are_folded_and_the_model_is_left_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = Deployable(model, "labels")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert model.with_auxiliary_head and not network.network.with_auxiliary_head


def damaged(factor):
    """A writer of TorchScript that spoils one weight in the middle of the network."""
    written = FORMATS["torchscript"].write

    def write(network, *args):
        weight = network.network.backbone.layer3[0].conv2.weight
        with torch.no_grad():
            weight[0, 0] *= factor
        written(network, *args)

    return dataclasses.replace(FORMATS["torchscript"], write=write)


@pytest.mark.parametrize("factor", [1.5, float("nan")])
@pytest.mark.parametrize("output", ["labels", "logits"])
def test_a_wrong_file_never_lies_in_its_place(model, tmp_path, monkeypatch, factor, output):
    file = tmp_path / "a.ts"
    monkeypatch.setitem(FORMATS, "torchscript", damaged(factor))
    with pytest.raises(ExportError, match=r"a.ts is not written: .* differ by"):
        export_model(model, out=file, format="torchscript", output=output)
    assert not list(tmp_path.iterdir())
    file.write_bytes(b"the earlier one")
    with pytest.raises(ExportError):
        export_model(model, out=file, format="torchscript", output=output)
    assert file.read_bytes() == b"the earlier one" and len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    export_model(model, out=file, format="torchscript", output=output)
    assert file.stat().st_size > 1000


def test_an_exporter_that_fails_is_told_in_one_error(model, tmp_path, monkeypatch):
    def write(*args):
        raise RuntimeError("operator xyz is not known\nand much more")

    monkeypatch.setitem(FORMATS, "torchscript", dataclasses.replace(FORMATS["torchscript"], write=write))
    with pytest.raises(ExportError, match="cannot be written as torchscript: RuntimeError: operator xyz"):
        export_model(model, out=tmp_path / "a.ts", format="torchscript")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_remedy(model, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(formats_module.importlib.util, "find_spec", lambda n: None if "onnx" in n else found(n))
    with pytest.raises(ExportError, match="pip install onnx onnxscript onnxruntime, or pip install 'gcseg"):
        export_model(model)


def test_an_old_torch_is_told_so(model, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.6.0+cu124")
    with pytest.raises(ExportError, match=r"needs torch 2.7 or newer.*here is torch 2.6.0.*format torchscript"):
        export_model(model, format="torch-export")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(out="a.onnx"), ExportError, "must end in .ts"),
        (dict(format="tensorrt"), ExportError, "unknown format 'tensorrt'.*onnx"),
        (dict(output="label"), ExportError, "Did you mean 'labels'"),
        (dict(input="rgb"), ExportError, "unknown input 'rgb'"),
        (dict(opset=18), ExportError, "only the format 'onnx'"),
        (dict(shape=(0, 4)), ConfigError, "positive"),
        (dict(shape=(64.5, 64)), ConfigError, "positive whole"),
        (dict(tolerance=-1e-4), ExportError, "at least 0"),
        (dict(checkpoint="a.pth"), ExportError, "finished model takes no checkpoint"),
        (dict(out="/proc/no/a.ts"), ExportError, "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(model, tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        export_model(model, **{"format": "torchscript", **options})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, nn.Module.half, nn.Module.bfloat16, nn.Module.double])
def test_wrappers_and_dtypes_of_a_finished_model_have_no_influence(wrap, tmp_path):
    network = gcseg.create_model(backbone=nn.Conv2d(3, 16, 3, stride=4), head="gc", num_classes=3)
    report = export_model(wrap(network), out=tmp_path / "a.ts", format="torchscript", output="logits")
    assert report.metadata["precision"] == "float32" and report.comparisons[1].difference < 1e-5


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda network: network.decode_head, r"GCHead is no segmentor.*EncoderDecoder\(backbone, head\)"),
        (lambda network: network.to("meta"), "no weights yet"),
    ],
)
def test_what_is_no_model_with_weights_is_refused(other, message, tmp_path):
    network = gcseg.create_model(backbone=nn.Conv2d(3, 16, 3, stride=4), head="gc", num_classes=3)
    with pytest.raises(ExportError, match=message):
        export_model(other(network), out=tmp_path / "a.ts", format="torchscript")


@needs_new_torch
@pytest.mark.parametrize("opset", [0, 11, 99])
def test_an_opset_that_the_exporter_would_replace_is_refused(tmp_path, opset):
    network = gcseg.create_model(backbone=nn.Conv2d(3, 16, 3, stride=4), head="fcn", num_classes=3)
    with pytest.raises(ExportError, match=rf"opset={opset}: .*wrote opset \d+; ask for|cannot be written as onnx"):
        export_model(network, out=tmp_path / "a.onnx", opset=opset)
    assert not list(tmp_path.iterdir())


@needs_new_torch
def test_an_opset_that_was_asked_for_is_the_files(tmp_path):
    import onnx

    network = gcseg.create_model(backbone=nn.Conv2d(3, 16, 3, stride=4), head="fcn", num_classes=3)
    file = export_model(network, out=tmp_path / "a.onnx", opset=20, output="coarse").file
    assert onnx.load(file).opset_import[0].version == 20


def test_a_network_that_takes_no_small_images_is_exported_with_a_larger_shape(tmp_path):
    network = gcseg.create_model(backbone=nn.Conv2d(3, 16, 64, stride=16), head="fcn", num_classes=3)
    with pytest.raises(ExportError, match=r"at \(3, 44, 68\).*Kernel size.*trace with a larger image \(--shape"):
        export_model(network, out=tmp_path / "a.ts", format="torchscript")
    assert export_model(network, out=tmp_path / "a.ts", format="torchscript", shape=160).comparisons[1].equal > 0.999


def test_a_compiled_operator_is_named(model):
    Deformable = type("ModulatedDeformConv2dPack", (nn.Identity,), {"__module__": "mmcv.ops.modulated_deform_conv"})
    other = build(variant())
    other.backbone.layer2[0].conv1 = Deformable()
    with pytest.raises(ExportError, match=r"backbone.layer2.0.conv1 is a ModulatedDeformConv2dPack.*dcn"):
        export_model(other, format="torchscript")


def test_windows_and_padding_are_noted(tmp_path):
    config = variant()
    config["test_cfg"] = dict(mode="slide", crop_size=(32, 40), stride=(20, 20))
    config["data_preprocessor"]["test_cfg"] = dict(size_divisor=32)
    report = export_model(build(config), out=tmp_path / "a.ts", format="torchscript")
    assert "one window, best used at (32, 40)" in str(report) and "does not pad" in str(report)


def test_a_file_that_is_none_of_ours(tmp_path):
    (tmp_path / "a.ts").write_bytes(b"nonsense")
    with pytest.raises(ExportError, match=r"a.ts: cannot be loaded as torchscript"):
        ExportedModel(tmp_path / "a.ts")
    with pytest.raises(ExportError, match="no such file"):
        ExportedModel(tmp_path / "b.ts")


def test_the_tool_tells_errors_in_one_paragraph(tiny_config, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("export_tool", ROOT / "tools/deployment/export.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    code = tool.main([str(tiny_config), str(tmp_path / "gone.pth"), "--format", "torchscript"])
    assert code == 2 and "gone.pth" in capsys.readouterr().err and not Path("tiny.ts").exists()

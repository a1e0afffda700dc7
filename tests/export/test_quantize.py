import numpy as np
import pytest
import torch
from PIL import Image

from gcseg.apis import init_model
from gcseg.config import load_config
from gcseg.export import ExportedModel, evaluate_exported, export_model, quantize_model
from gcseg.utils.errors import ConfigError, DataError, ExportError

OLD = tuple(int(n) for n in torch.__version__.split(".")[:2]) < (2, 7)
needs_new_torch = pytest.mark.skipif(OLD, reason="torch.export keeps sizes open from torch 2.7 on")


def test_a_file_of_logits_scores_what_the_test_command_does(tiny_config, tiny_checkpoint, tmp_path):
    from gcseg.apis.test import test

    expected = test(tiny_config, tiny_checkpoint, work_dir=tmp_path / "work")
    model = init_model(tiny_config, tiny_checkpoint, device="cpu")
    for output, input in (("logits", "image"), ("coarse", "normalised")):
        file = export_model(model, out=tmp_path / f"{output}.ts", format="torchscript", output=output, input=input).file
        scores = evaluate_exported(ExportedModel(file), load_config(tiny_config))
        assert scores == pytest.approx({k: expected[k] for k in scores}, abs=0.05) and len(scores) == 3
    assert 1 < scores["mIoU"] < 99


@pytest.fixture(scope="module")
def report(labels_file, tiny_config, tmp_path_factory):
    file = tmp_path_factory.mktemp("int8") / "tiny_int8.onnx"
    return quantize_model(tiny_config, labels_file[0], file, num=6, threads=1)


@needs_new_torch
def test_eight_bits_give_nearly_the_same_classes(report, labels_file, tiny_config):
    images = np.stack([np.asarray(Image.open(file)) for file in sorted((tiny_config.parent / "img").iterdir())])
    before, after = ExportedModel(labels_file[0]), ExportedModel(report.file)
    equal = (before(images) == after(images)).mean()
    assert 0.75 < equal < 1  # of random weights, whose classes lie close together; chance is below 0.5
    assert after.fact("precision") == "int8" and after.fact("classes") == ["left", "right", "odd"]
    assert abs(report.scores[0]["mIoU"] - report.scores[1]["mIoU"]) < 10
    text = str(report)
    assert "| 8 bits |" in text and f"{report.scores[1]['mIoU']:.2f}" in text
    assert report.as_dict()["scores"][0]["mIoU"] == report.scores[0]["mIoU"]
    assert report.bytes[1] == report.file.stat().st_size


@needs_new_torch
def test_what_is_excluded_keeps_its_weights_in_float(report):
    import onnx

    network = onnx.load(report.file)
    weights = {tensor.name for tensor in network.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    kept = {w for node in network.graph.node if node.op_type == "Conv" for w in node.input[1:2] if w in weights}
    parts = {"conv_seg", "gc_block.conv_mask", "gc_block.channel_add_conv.0", "gc_block.channel_add_conv.3"}
    assert kept == {f"network.decode_head.{part}.weight" for part in parts}
    convolutions = [node for node in network.graph.node if node.op_type == "Conv"]
    assert report.convolutions == len(convolutions) and report.quantized == len(convolutions) - 4
    scales = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
    per_channel = [value for name, value in scales.items() if name.endswith("weight_scale")]
    assert len(per_channel) == report.quantized and all(value.ndim == 1 for value in per_channel)


@needs_new_torch
@pytest.mark.parametrize("method", ["minmax", "percentile", "moving-average"])
def test_ranges_come_from_every_image(labels_file, tiny_config, tmp_path, method):
    """The brightest and the darkest pixel, in images of two sizes of which neither is the last one."""
    import onnx

    sizes_and_greys = {"a": ((24, 32), 255), "b": ((32, 24), 0), "c": ((24, 32), 128)}
    for name, ((height, width), grey) in sizes_and_greys.items():
        Image.fromarray(np.full((height, width, 3), grey, np.uint8)).save(tmp_path / f"{name}.png")
    done = quantize_model(
        tiny_config,
        labels_file[0],
        tmp_path / "q.onnx",
        calibration_images=tmp_path,
        num=10,
        method=method,
        evaluate=False,
    )
    assert done.images == 3 and not done.scores
    network = onnx.load(done.file)
    first = next(node for node in network.graph.node if node.op_type == "QuantizeLinear")
    scale = next(t for t in network.graph.initializer if t.name == first.input[1])
    spread = float(onnx.numpy_helper.to_array(scale)) * 255
    whole = 255 / 60  # of the normalised pixels
    assert spread < 0.5 * whole if method == "moving-average" else spread == pytest.approx(whole, rel=0.02)


@needs_new_torch
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(exclude=["decode_head.conv_sgg"]), ExportError, "unknown part in exclude"),
        (dict(method="max"), ExportError, "Did you mean 'minmax'"),
        (dict(num=0), ExportError, "at least one image"),
        (dict(threads=0), ExportError, "at least one thread"),
        (dict(calibration_images=[]), DataError, "was given none"),
        (dict(calibration_images=[__file__]), DataError, "no image"),
        (dict(out="a.pth"), ExportError, "must end in .onnx"),
        (dict(cfg_options={"val_evaluator": None}), ConfigError, "no `val_evaluator`"),
    ],
)
def test_wrong_requests(labels_file, tiny_config, tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        quantize_model(tiny_config, labels_file[0], **options)
    assert not list(tmp_path.iterdir())


@needs_new_torch
def test_a_file_in_eight_bits_is_not_quantized_again(report, labels_file, tiny_config, tmp_path):
    with pytest.raises(ExportError, match="not a file in float32"):
        quantize_model(tiny_config, report.file, tmp_path / "again.onnx", evaluate=False)
    with pytest.raises(ExportError, match="would take the place"):
        quantize_model(tiny_config, labels_file[0], labels_file[0], evaluate=False)

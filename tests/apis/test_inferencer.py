import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.modules.batchnorm import _BatchNorm

from gcseg.apis import SegInferencer, create_model, inference_model, init_model
from gcseg.apis.zoo import published_weights
from gcseg.registry import INFERENCERS
from gcseg.utils import CheckpointError, ConfigError, HardwareError, WeightsNotFoundError, get_classes


@pytest.fixture(scope="module")
def inferencer(tiny_config, tiny_checkpoint):
    return SegInferencer(tiny_config, tiny_checkpoint, device="cpu", show_progress=False)


def image(seed, size=(24, 48)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    for i, name in enumerate(("a", "b", "c")):
        Image.fromarray(image(i)[:, :, ::-1]).save(path / f"{name}.png")
    return path


def test_predictions_are_those_of_the_model(inferencer, folder):
    expected = [inference_model(inferencer.model, image(i)).pred_sem_seg.data[0].numpy() for i in range(3)]
    out = inferencer(folder)
    assert out["visualization"] == []
    for got, want in zip(out["predictions"], expected, strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(inferencer(image(1))["predictions"], expected[1])
    sample = inferencer(Image.fromarray(image(2)[:, :, ::-1]), return_datasamples=True)
    np.testing.assert_array_equal(sample.pred_sem_seg.data[0].numpy(), expected[2])
    assert len(inferencer([image(0), folder / "b.png"], return_datasamples=True, batch_size=2)) == 2


def test_files_are_written_and_named_like_the_images(inferencer, folder, tmp_path):
    out = inferencer([folder, image(7)], out_dir=tmp_path / "out", return_vis=True, batch_size=2)
    assert sorted(p.name for p in (tmp_path / "out" / "vis").iterdir()) == [
        "00000003_vis.jpg",
        "a.png",
        "b.png",
        "c.png",
    ]
    assert sorted(p.name for p in (tmp_path / "out" / "pred").iterdir()) == [
        "00000003_pred.png",
        "a_pred.png",
        "b_pred.png",
        "c_pred.png",
    ]
    written = np.asarray(Image.open(tmp_path / "out" / "pred" / "b_pred.png"))
    np.testing.assert_array_equal(written, out["predictions"][1])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "vis" / "b.png")), out["visualization"][1])


def test_pictures_blend_the_models_colours_with_the_photograph(inferencer):
    out = inferencer(image(1), return_vis=True, opacity=0.5, with_labels=False)
    palette = np.asarray(inferencer.model.dataset_meta["palette"])
    rgb = image(1)[:, :, ::-1]
    np.testing.assert_array_equal(
        out["visualization"], (rgb * 0.5 + palette[out["predictions"]] * 0.5).astype(np.uint8)
    )


def test_equal_names_do_not_overwrite_each_other(inferencer, folder, tmp_path):
    (tmp_path / "more").mkdir()
    Image.fromarray(image(9)).save(tmp_path / "more" / "a.png")
    inferencer([folder / "a.png", tmp_path / "more" / "a.png"], out_dir=tmp_path / "out", img_out_dir="")
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.png")) == ["a_1_pred.png", "a_pred.png"]


def test_a_call_changes_nothing(inferencer, tmp_path):
    cfg, state = copy.deepcopy(inferencer.cfg._cfg_dict.to_dict()), dict(vars(inferencer))
    for n in range(2):
        inferencer(image(3), out_dir=tmp_path / str(n), opacity=0.1)
        assert (tmp_path / str(n) / "pred" / "00000000_pred.png").is_file()
    assert inferencer.cfg._cfg_dict.to_dict() == cfg
    assert vars(inferencer) == state


def test_checkpoint_alone_brings_its_config(tiny_checkpoint, inferencer):
    alone = SegInferencer(weights=tiny_checkpoint, device="cpu", show_progress=False)
    np.testing.assert_array_equal(alone(image(4))["predictions"], inferencer(image(4))["predictions"])
    assert alone.classes[0] == "name 0"
    first = SegInferencer(tiny_checkpoint, device="cpu", show_progress=False)  # as `gcseg predict` takes it
    np.testing.assert_array_equal(first(image(4))["predictions"], alone(image(4))["predictions"])


def test_a_finished_model_and_names_of_a_data_set(inferencer, tiny_config):
    named = SegInferencer(inferencer.model, dataset_name="cityscapes", show_progress=False)
    assert list(named.classes) == get_classes("cityscapes")
    with pytest.raises(ConfigError, match="19 classes but 1 colours"):
        SegInferencer(inferencer.model, palette=[[0, 0, 0]])
    with pytest.raises(ConfigError, match="init_model"):
        SegInferencer(init_model(tiny_config, device="cpu"), weights="x.pth")


def test_built_by_name(inferencer):
    for name in ("SegInferencer", "MMSegInferencer"):
        assert isinstance(INFERENCERS.build(dict(type=name, model=inferencer.model)), SegInferencer)


def norms(model):
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@pytest.fixture
def cpu_with_bf16(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx512_bf16\n")
    monkeypatch.setattr("gcseg.engine.hardware._CPUINFO", tmp_path / "cpuinfo")


def test_its_model_is_made_for_predicting_and_predicts_the_same(tiny_config, tiny_checkpoint, inferencer):
    plain = SegInferencer(tiny_config, tiny_checkpoint, device="cpu", show_progress=False, fast=False)
    assert norms(inferencer.model) == [] and not next(inferencer.model.parameters()).requires_grad
    assert len(norms(plain.model)) > 20 and next(plain.model.parameters()).requires_grad
    found, expected = (i(image(5), return_datasamples=True).seg_logits.data for i in (inferencer, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_amp_runs_in_bfloat16_on_a_copy_of_a_finished_model(tiny_config, tiny_checkpoint, cpu_with_bf16):
    model = init_model(tiny_config, tiny_checkpoint, device="cpu")
    dtypes = []
    exact = SegInferencer(model, show_progress=False)
    low = SegInferencer(model, show_progress=False, amp=True)
    assert exact.model is model and len(norms(model)) > 20 and {p.dtype for p in model.parameters()} == {torch.float32}
    assert norms(low.model) == [] and low.model.decode_head.conv_seg.weight.dtype == torch.bfloat16
    low.model.decode_head.conv_seg.register_forward_hook(lambda module, x, y: dtypes.append(y.dtype))
    found = low(image(5), return_datasamples=True)
    assert dtypes == [torch.bfloat16]
    logits = found.seg_logits.data
    assert logits.dtype == torch.float32
    expected = exact(image(5), return_datasamples=True).seg_logits.data
    assert 0 < (logits - expected).abs().max() < 0.1 * expected.abs().max()
    np.testing.assert_array_equal(SegInferencer(model, show_progress=False, fast=True).model.cfg, model.cfg)


def test_what_makes_it_faster_is_refused_or_told_when_it_cannot_be(tiny_config, tiny_checkpoint, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx2\n")
    monkeypatch.setattr("gcseg.engine.hardware._CPUINFO", tmp_path / "cpuinfo")
    with pytest.raises(HardwareError, match="bfloat16"):
        SegInferencer(tiny_config, tiny_checkpoint, device="cpu", amp=True)
    for wish in (dict(amp=True), dict(compile=True)):
        with pytest.raises(ConfigError, match="fast=False"):
            SegInferencer(tiny_config, tiny_checkpoint, device="cpu", fast=False, **wish)


def test_a_compiler_that_fails_costs_no_result(tiny_config, tiny_checkpoint, inferencer, monkeypatch):
    def failing(graph, inputs):
        raise OSError("no C++ compiler")

    said = []
    monkeypatch.setattr("mmengine.logging.print_log", lambda text, **options: said.append(text))
    torch._dynamo.reset()
    compiled = SegInferencer(tiny_config, tiny_checkpoint, device="cpu", compile=dict(backend=failing))
    for size in ((24, 48), (40, 30)):
        np.testing.assert_array_equal(
            compiled(image(6, size))["predictions"], inferencer(image(6, size))["predictions"]
        )
    assert sum("no C++ compiler" in text for text in said) == 1


def test_recipe_names_bring_the_published_weights(tmp_path, monkeypatch):
    name = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
    url = published_weights(name)
    assert url.endswith("gcnet_r50-d8_512x1024_40k_cityscapes_20200618_074436-4b0fd17b.pth")
    assert published_weights("nothing") is None
    asked = []

    def refuse(path):
        asked.append(path)
        raise WeightsNotFoundError("no network")

    monkeypatch.setattr("gcseg.engine.checkpoint.load_checkpoint_file", refuse)
    with pytest.raises(WeightsNotFoundError):
        SegInferencer(name, device="cpu")
    assert asked == [url]


def test_errors(tmp_path, tiny_checkpoint):
    with pytest.raises(ConfigError, match="needs a model"):
        SegInferencer()
    content = torch.load(tiny_checkpoint, weights_only=True)
    del content["meta"]["cfg"]
    torch.save(content, tmp_path / "bare.pth")
    with pytest.raises(ConfigError, match=r"bare\.pth: carries no config"):
        SegInferencer(weights=tmp_path / "bare.pth", device="cpu")
    (tmp_path / "broken.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="broken"):
        SegInferencer(weights=tmp_path / "broken.pth", device="cpu")


def test_a_checkpoint_with_parts_of_ones_own_says_what_it_needs(tiny_config, tmp_path):
    cfg = copy.deepcopy(tiny_config)
    cfg.merge_from_dict({"model.decode_head.type": "HeadOfMine", "custom_imports": dict(imports=["mine.heads"])})
    torch.save(dict(state_dict=dict(w=torch.ones(1)), meta=dict(cfg=cfg.pretty_text)), tmp_path / "own.pth")
    with pytest.raises(ConfigError, match=r"'HeadOfMine'.*own\.pth has custom_imports=.*'mine\.heads'.*weights"):
        SegInferencer(weights=tmp_path / "own.pth", device="cpu")


def test_probabilities_are_the_softmax_of_the_logits(inferencer, tiny_config, tiny_checkpoint):
    out = inferencer([image(1), image(2, (20, 30))], return_probs=True)
    for found, picture, classes in zip(
        out["probabilities"], (image(1), image(2, (20, 30))), out["predictions"], strict=True
    ):
        logits = inference_model(inferencer.model, picture).seg_logits.data.double()
        assert found.dtype == np.float32 and found.shape == (19, *picture.shape[:2])
        np.testing.assert_allclose(found, logits.exp() / logits.exp().sum(0), rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(found.argmax(0), classes)
    alone = inferencer(image(1), return_probs=True)
    np.testing.assert_array_equal(alone["probabilities"], out["probabilities"][0])
    sample = inferencer(image(1), return_probs=True, return_datasamples=True)
    np.testing.assert_array_equal(sample.seg_probs.data, alone["probabilities"])
    assert "seg_probs" not in inferencer(image(1), return_datasamples=True) and "probabilities" not in inferencer(
        image(1)
    )
    model = init_model(tiny_config, tiny_checkpoint, device="cpu")
    assert "seg_probs" not in inference_model(model, image(1))
    by_function = inference_model(model, image(1), return_probs=True).seg_probs.data
    np.testing.assert_allclose(by_function, alone["probabilities"], rtol=1e-3, atol=1e-5)


def test_one_score_per_pixel_gives_its_sigmoid(tiny_config):
    model = create_model(tiny_config, num_classes=1).eval()
    sample = inference_model(model, image(1), return_probs=True)
    assert sample.seg_probs.data.shape == (1, 24, 48)
    above = sample.seg_probs.data > model.decode_head.threshold
    assert torch.equal(sample.pred_sem_seg.data, above.long()) and not above.all()


def test_views_are_averaged(tiny_config, tiny_checkpoint, inferencer):
    model = init_model(tiny_config, tiny_checkpoint, device="cpu")
    several = SegInferencer(model, show_progress=False, tta=True)
    views = several.prepare(image(1))
    assert len(views["inputs"]) == 12 and several.model.module is model
    mean = 0
    for view, sample in zip(views["inputs"], views["data_samples"], strict=True):
        with torch.no_grad():
            result = model.test_step(dict(inputs=[view], data_samples=[sample.clone()]))[0]
        mean = mean + result.seg_logits.data.softmax(0) / 12
    out = several([image(1), image(2, (40, 20))], return_probs=True, batch_size=2)
    np.testing.assert_allclose(out["probabilities"][0], mean, rtol=1e-4, atol=1e-6)
    assert (out["predictions"][0] == mean.argmax(0).numpy()).mean() > 0.999
    assert (out["predictions"][0] != inferencer(image(1))["predictions"]).any()
    with pytest.raises(ConfigError, match="tta_pipeline"):
        SegInferencer(tiny_config, tiny_checkpoint, device="cpu", tta=True, cfg_options=dict(tta_pipeline=[]))


def test_what_cannot_be_done_is_said_before_the_work(inferencer, tmp_path):
    (tmp_path / "file").write_text("")
    for wrong in (0, -1):
        with pytest.raises(ConfigError, match=f"batch_size={wrong}: at least 1"):
            inferencer([image(1)], batch_size=wrong)
        with pytest.raises(ConfigError, match=f"batch_size={wrong}: at least 1"):
            inference_model(inferencer.model, image(1), batch_size=wrong)
    with pytest.raises(ConfigError, match="out_dir=.*file.*cannot be written to: .*; name another folder"):
        inferencer("no such picture.png", out_dir=tmp_path / "file" / "below")


def test_options_of_one_call_do_not_reach_the_next(inferencer, tmp_path):
    plain = inferencer(image(3), return_vis=True)
    inferencer(
        [image(4), image(3, (30, 20))],
        return_datasamples=True,
        batch_size=2,
        out_dir=tmp_path,
        img_out_dir="x",
        pred_out_dir="",
        opacity=0.2,
        with_labels=False,
        return_probs=True,
    )
    again = inferencer(image(3), return_vis=True)
    assert again.keys() == plain.keys() == {"predictions", "visualization"}
    np.testing.assert_array_equal(again["predictions"], plain["predictions"])
    np.testing.assert_array_equal(again["visualization"], plain["visualization"])


def test_the_precision_can_be_chosen(tiny_config, tiny_checkpoint, cpu_with_bf16):
    low = SegInferencer(tiny_config, tiny_checkpoint, device="cpu", show_progress=False, dtype="bfloat16")
    assert low.model.inference_dtype == torch.bfloat16 and low.model.decode_head.conv_seg.weight.dtype == torch.bfloat16
    exact = SegInferencer(tiny_config, tiny_checkpoint, device="cpu", show_progress=False, dtype=torch.float32)
    assert exact.model.decode_head.conv_seg.weight.dtype == torch.float32
    with pytest.raises(HardwareError, match="float16 needs a GPU"):
        SegInferencer(tiny_config, tiny_checkpoint, device="cpu", dtype="float16")
    with pytest.raises(ConfigError, match="bfloat16"):
        SegInferencer(tiny_config, tiny_checkpoint, device="cpu", dtype="bfloat")
    with pytest.raises(ConfigError, match="fast=False"):
        SegInferencer(tiny_config, tiny_checkpoint, device="cpu", dtype="bfloat16", fast=False)


def test_models_are_listed_by_patterns():
    found = SegInferencer.list_models("mmseg", "gcnet_r101.*ade20k")
    assert sorted(found) == [f"gcnet_r101-d8_4xb4-{n}k_ade20k-512x512" for n in (160, 80)]
    assert len(SegInferencer.list_models()) >= 16

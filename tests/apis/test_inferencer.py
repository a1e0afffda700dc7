import copy

import numpy as np
import pytest
import torch
from PIL import Image

from gcseg.apis import SegInferencer, inference_model, init_model
from gcseg.apis.inferencer import published_weights
from gcseg.registry import INFERENCERS
from gcseg.utils import CheckpointError, ConfigError, WeightsNotFoundError, get_classes


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

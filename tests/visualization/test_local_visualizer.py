import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from PIL import Image

from gcseg.registry import VISUALIZERS
from gcseg.structures import SegDataSample
from gcseg.utils import ConfigError, HardwareError, get_classes, get_palette
from gcseg.visualization import SegLocalVisualizer, require_display
from gcseg.visualization.local_visualizer import write_picture

META = dict(classes=("a", "b"), palette=[[200, 0, 0], [0, 100, 50]])
IMAGE = np.full((20, 30, 3), 100, np.uint8)


def data_sample(gt=None, pred=None):
    sample = SegDataSample()
    if gt is not None:
        sample.gt_sem_seg = PixelData(data=torch.full((1, 20, 30), gt))
    if pred is not None:
        sample.pred_sem_seg = PixelData(data=torch.full((1, 20, 30), pred))
    return sample


def painted(tmp_path, **kwargs):
    visualizer = SegLocalVisualizer(alpha=1, **META)
    visualizer.add_datasample("x", IMAGE, out_file=tmp_path / "sub" / "x.png", with_labels=False, **kwargs)
    return np.asarray(Image.open(tmp_path / "sub" / "x.png"))


def test_classes_and_palette_are_not_swapped():
    visualizer = SegLocalVisualizer(classes=["a", "b"], palette=[[1, 2, 3], [4, 5, 6]])
    assert visualizer.dataset_meta == dict(classes=("a", "b"), palette=[[1, 2, 3], [4, 5, 6]])
    assert visualizer.alpha == 0.8


def test_defaults_and_data_set_names():
    default = SegLocalVisualizer().dataset_meta
    assert default == dict(classes=tuple(get_classes("cityscapes")), palette=get_palette("cityscapes"))
    named = SegLocalVisualizer(dataset_name="ade").dataset_meta
    assert len(named["classes"]) == 150
    made_up = SegLocalVisualizer(classes=["a", "b", "c"]).dataset_meta
    assert len({tuple(c) for c in made_up["palette"]}) == 3
    with pytest.raises(ConfigError, match="2 classes but 1 colours"):
        SegLocalVisualizer(classes=["a", "b"], palette=[[0, 0, 0]])
    with pytest.raises(ConfigError, match="alpha"):
        SegLocalVisualizer(alpha=80)


def test_ground_truth_left_prediction_right(tmp_path):
    picture = painted(tmp_path, data_sample=data_sample(gt=0, pred=1))
    assert picture.shape == (20, 60, 3)
    assert picture[3, 3].tolist() == META["palette"][0]
    assert picture[3, 50].tolist() == META["palette"][1]


def test_draws_what_is_wanted_and_there(tmp_path):
    sample = data_sample(gt=0, pred=1)
    assert painted(tmp_path, data_sample=sample, draw_gt=False)[3, 3].tolist() == META["palette"][1]
    assert painted(tmp_path, data_sample=sample, draw_pred=False)[3, 3].tolist() == META["palette"][0]
    assert painted(tmp_path, data_sample=data_sample(pred=0)).shape == (20, 30, 3)
    np.testing.assert_array_equal(painted(tmp_path), IMAGE)
    with_image = painted(tmp_path, data_sample=data_sample(pred=0), with_image=True)
    assert with_image.shape == (20, 60, 3)
    np.testing.assert_array_equal(with_image[:, :30], IMAGE)


def test_names_are_written_by_default(tmp_path):
    visualizer = SegLocalVisualizer(alpha=1, **META)
    visualizer.add_datasample("x", IMAGE, data_sample(pred=1), out_file=tmp_path / "x.png")
    assert len(np.unique(np.asarray(Image.open(tmp_path / "x.png")).reshape(-1, 3), axis=0)) > 1


def test_built_by_name_backends_keep_pictures_and_the_loop_sets_the_classes(tmp_path):
    visualizer = VISUALIZERS.build(
        dict(
            type="SegLocalVisualizer",
            name="test",
            vis_backends=[dict(type="LocalVisBackend")],
            save_dir=str(tmp_path),
            alpha=1,
        )
    )
    visualizer.dataset_meta = META
    visualizer.add_datasample("x", IMAGE, data_sample(pred=1), with_labels=False, step=3)
    visualizer.add_panel("y", IMAGE, data_sample(pred=1), step=4)
    visualizer.add_panel("z", IMAGE, data_sample(pred=1), step=5, save=False)
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))
    assert files == ["vis_data/vis_image/x_3.png", "vis_data/vis_image/y_4.png"]
    assert np.asarray(Image.open(tmp_path / files[0]))[3, 3].tolist() == META["palette"][1]


def test_get_image_returns_what_was_painted():
    visualizer = SegLocalVisualizer(alpha=1, **META)
    visualizer.add_datasample("x", IMAGE, data_sample(gt=0, pred=1), with_labels=False)
    image = visualizer.get_image()
    assert image.shape == (20, 60, 3)
    assert image[10, 45].tolist() == META["palette"][1]


def test_feature_maps_are_inherited():
    assert (
        SegLocalVisualizer.draw_featmap(torch.rand(4, 20, 30), IMAGE, channel_reduction="squeeze_mean").shape
        == IMAGE.shape
    )


def test_without_a_display_showing_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for key in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(key, raising=False)
    visualizer = SegLocalVisualizer(**META)
    with pytest.raises(HardwareError, match=r"DISPLAY.*--show-dir"):
        visualizer.add_datasample("x", IMAGE, data_sample(pred=1), show=True)
    with pytest.raises(HardwareError, match="screen"):
        visualizer.show(IMAGE)


def test_a_notebook_needs_no_display(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("matplotlib.get_backend", lambda: "module://matplotlib_inline.backend_inline")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", object())
    require_display()


def test_a_suffix_that_is_no_format(tmp_path):
    with pytest.raises(ConfigError, match=r"\.xyz is no picture format"):
        write_picture(IMAGE, tmp_path / "a.xyz")

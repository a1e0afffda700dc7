import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from gcseg.analysis import confusion_of_checkpoint, confusion_of_folder
from gcseg.analysis.confusion import Confusion
from gcseg.apis import inference_model, init_model
from gcseg.config import load_config
from gcseg.utils import ConfigError, DataError


@pytest.fixture
def predictions(tiny_run, tmp_path):
    """Random classes for every image, one of them outside; returns the folder and the matrix that a loop counts."""
    folder, generator = tmp_path / "pred", np.random.default_rng(0)
    (folder / "sub").mkdir(parents=True)
    counts, outside = np.zeros((3, 3), np.int64), np.zeros(3, np.int64)
    for i in reversed(range(6)):
        pred = generator.integers(0, 4, (40, 48))
        Image.fromarray(pred.astype(np.uint8)).save(folder / ("sub" if i == 2 else "") / f"p{i}.png")
        label = np.asarray(Image.open(tiny_run.parent / "ann" / f"p{i}.png"))
        for true, predicted in zip(label.ravel(), pred.ravel(), strict=True):
            if true != 255 and predicted < 3:
                counts[true, predicted] += 1
            elif true != 255:
                outside[true] += 1
    (folder / "zz.txt").write_text("")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "another.png")
    return folder, counts, outside


def test_every_pixel_is_counted_once(tiny_run, predictions, run_tool, tmp_path, capsys):
    folder, counts, outside = predictions
    found = confusion_of_folder(tiny_run, folder)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_array_equal(found.outside, outside)
    assert found.counts.dtype == np.int64 and found.images == 6
    np.testing.assert_allclose(found.shares().sum(1) + outside / (counts.sum(1) + outside), 1)
    assert run_tool("confusion_matrix", tiny_run, "--folder", folder, "--json", "--csv", tmp_path / "x.csv") == 0
    assert json.loads(capsys.readouterr().out)["counts"] == counts.tolist()
    rows = list(csv.reader((tmp_path / "x.csv").open()))
    assert rows[1] == ["left", *map(str, counts[0]), str(outside[0])]
    most = np.unravel_index((counts - np.diag(counts.diagonal())).argmax(), (3, 3))
    assert str(found).splitlines()[2].split()[:2] == [found.classes[k] for k in most]


def test_names_with_quotes_commas_and_line_breaks_are_cells(tmp_path):
    names = ('a "b", c', "x\ny")
    Confusion(names, np.array([[1, 2], [3, 4]]), np.array([0, 5]), 1).save_csv(tmp_path / "x.csv")
    with open(tmp_path / "x.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["true \\ predicted", *names, "no class"],
            [names[0], "1", "2", "0"],
            [names[1], "3", "4", "5"],
        ]


def test_files_of_a_test_are_shifted_where_the_data_set_is(tiny_run, predictions):
    folder, counts, _ = predictions
    shifted = {"test_dataloader.dataset.reduce_zero_label": True}
    found = confusion_of_folder(tiny_run, folder, "test", shifted)
    # Labels 1 and 2 are now classes 0 and 1, and so are the numbers in the files.
    np.testing.assert_array_equal(found.counts[:2, :2], counts[1:, 1:])
    assert confusion_of_folder(tiny_run, folder, "index", shifted).counts[0, 1] == counts[1, 1]


def test_label_ids_of_cityscapes(tiny_run, predictions, tmp_path):
    folder, counts, outside = predictions
    classes = {"test_dataloader.dataset.metainfo.classes": ["road", "sky", "car"]}
    for file in folder.rglob("p*.png"):
        ids = np.array([7, 23, 26, 4], np.uint8)[np.asarray(Image.open(file))]
        Image.fromarray(ids).save(file)
    found = confusion_of_folder(tiny_run, folder, "cityscapes", classes)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_array_equal(found.outside, outside)


def test_a_missing_or_wrong_prediction_is_named(tiny_run, predictions):
    folder = predictions[0]
    with pytest.raises(ConfigError, match="Did you mean 'index'"):
        confusion_of_folder(tiny_run, folder, "indices")
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(folder / "p0.png")
    with pytest.raises(DataError, match=r"p0\.png.*colour"):
        confusion_of_folder(tiny_run, folder)
    (folder / "p0.png").unlink()
    with pytest.raises(DataError, match="no prediction of the image p0"):
        confusion_of_folder(tiny_run, folder)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "p0.png")
    with pytest.raises(DataError, match="size"):
        confusion_of_folder(tiny_run, folder)


def test_the_folders_inside_that_have_one_prediction_each_are_named(tiny_run, predictions, run_tool, capsys):
    folder = predictions[0]
    for kind in ("index", "palette"):
        shutil.copytree(folder / "sub", folder / "new" / kind / "sub")
    out = folder / "new"
    assert (
        run_tool("confusion_matrix", tiny_run, "--folder", out, "--cfg-options", "test_dataloader.dataset.indices=[2]")
        == 2
    )
    said = capsys.readouterr().err
    assert f"2 predictions ({out}/index/sub/p2.png, {out}/palette/sub/p2.png ...)" in said
    assert f"Give {out}/index or {out}/palette; what gcseg predict writes is of --form index" in said
    with pytest.raises(DataError, match=r"2 predictions .* for each image$"):
        shutil.copytree(out / "index" / "sub", folder / "double" / "a" / "1")
        shutil.copytree(out / "index" / "sub", folder / "double" / "a" / "2")
        confusion_of_folder(tiny_run, folder / "double", cfg_options={"test_dataloader.dataset.indices": [2]})


def test_a_config_that_only_trains_is_told_what_it_lacks(tiny_run):
    with pytest.raises(ConfigError, match="no `test_dataloader`"):
        confusion_of_checkpoint(tiny_run, "x.pth", {"test_evaluator": None, "test_cfg": None, "test_dataloader": None})


def test_a_checkpoint_is_tested_and_counted(tiny_run, tmp_path):
    torch.manual_seed(0)
    cfg = load_config(tiny_run)
    model = init_model(cfg, device="cpu")
    with torch.no_grad():
        model.decode_head.conv_seg.weight.normal_()
        logits = inference_model(model, tiny_run.parent / "img" / "p0.jpg").seg_logits.data
        model.decode_head.conv_seg.bias -= logits.mean((1, 2))  # so that all classes are predicted somewhere
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "tiny.pth")
    found = confusion_of_checkpoint(tiny_run, tmp_path / "tiny.pth")
    counts = np.zeros((3, 3), np.int64)
    for i in range(6):
        pred = inference_model(model, tiny_run.parent / "img" / f"p{i}.jpg").pred_sem_seg.data[0].numpy()
        label = np.asarray(Image.open(tiny_run.parent / "ann" / f"p{i}.png"))
        np.add.at(counts, (label[label != 255], pred[label != 255]), 1)
    assert np.abs(found.counts - counts).sum() <= 4 and (found.counts > 0).sum() > 3  # folding rounds differently
    assert found.counts.sum() == counts.sum()


def test_the_picture_has_the_shares(tiny_run, predictions, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    kept = []
    monkeypatch.setattr("gcseg.analysis.confusion.save_figure", lambda figure, path: kept.append(figure))
    found = confusion_of_folder(tiny_run, predictions[0])
    found.plot(tmp_path / "x.png")
    axes = kept[0].axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), 100 * found.shares())
    assert [label.get_text() for label in axes.get_yticklabels()] == list(found.classes)

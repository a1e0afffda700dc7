"""What a training says of a broken file, read in its own process and in workers of the data loader."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_run
import torch
from PIL import Image
from torch.utils.data import DataLoader

from gcseg.apis.train import train
from gcseg.cli import main
from gcseg.config import load_config
from gcseg.registry import DATASETS
from gcseg.utils import ConfigError, DataError


@pytest.fixture
def config(tmp_path):
    return tiny_run.write(tmp_path / "tiny")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_label_7(path):
    label = np.array(Image.open(path))
    label[0, :3] = 7
    Image.fromarray(label).save(path)


FAULTS = {
    "truncated image": ("img/p3.jpg", cut, "truncated"),
    "empty image": ("img/p3.jpg", lambda path: path.write_bytes(b""), "empty file"),
    "no image": ("img/p3.jpg", lambda path: path.write_text("<html>"), "no image"),
    "missing image": ("img/p3.jpg", lambda path: path.unlink(), "does not exist"),
    "truncated label": ("ann/p3.png", cut, "truncated"),
    "label of another size": ("ann/p3.png", lambda path: Image.new("L", (48, 39)).save(path), "39x48 .* is 40x48"),
    "label out of range": ("ann/p3.png", with_label_7, r"holds 7 on 3 pixels, but there are 3 classes"),
    "coloured label": ("ann/p3.png", lambda path: Image.new("RGB", (48, 40)).save(path), "an RGB picture"),
    "16-bit label": ("ann/p3.png", lambda p: Image.fromarray(np.full((40, 48), 999, np.uint16)).save(p), "to 999"),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_data_of_a_config_name_the_file(config, fault, workers):
    name, damage, words = FAULTS[fault]
    dataset = DATASETS.build(load_config(config).train_dataloader.dataset)
    damage(config.parent / name)
    items = iter(DataLoader(dataset, batch_size=None, num_workers=workers))
    with pytest.raises(DataError, match=words) as error:
        list(items)
    assert str(config.parent / name) in str(error.value)
    if workers:
        items._shutdown_workers()


@pytest.mark.parametrize(("fault", "workers"), [("truncated image", 0), ("label out of range", 2)])
def test_the_command_says_it_in_one_paragraph(config, tmp_path, capfd, fault, workers):
    name, damage, words = FAULTS[fault]
    damage(config.parent / name)
    options = [f"train_dataloader.num_workers={workers}", "train_cfg.max_iters=20", "train_cfg.val_interval=20"]
    assert main(["train", str(config), "--work-dir", str(tmp_path / "w"), "--cfg-options", *options]) == 2
    said = capfd.readouterr()
    error = said.err[said.err.index("gcseg: error: ") :]
    assert str(config.parent / name) in error and words.split("|")[0].split()[0] in error
    assert len(error.strip().splitlines()) == 1 and "Traceback" not in said.err + said.out


def test_a_training_that_leaves_out_bad_samples_does_not_depend_on_the_workers(config, tmp_path, capfd):
    cut(config.parent / "img/p3.jpg")
    with_label_7(config.parent / "ann/p0.png")
    weights = []
    for workers in (0, 2):
        run = train(
            config,
            work_dir=tmp_path / f"{workers}",
            cfg_options={
                "train_dataloader.dataset.skip_bad": 2,
                "train_dataloader.num_workers": workers,
                "val_dataloader.dataset.indices": [1, 2],
                "test_dataloader.dataset.indices": [1, 2],
            },
        )
        weights.append(run.model.state_dict())
    said = capfd.readouterr()
    assert "skip_bad: left out sample 1 of at most 2 in this process" in said.out + said.err
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


def test_classes_that_a_file_names_are_counted_before_weights_are_fetched(config, tmp_path):
    (config.parent / "classes.txt").write_bytes(b"left\r\nright\r\n")
    of_file = {"_delete_": True, "classes": "classes.txt"}
    options = {
        "train_dataloader.dataset.type": "FolderDataset",
        "train_dataloader.dataset.metainfo": of_file,
        "model.pretrained": str(tmp_path / "none.pth"),
    }
    with pytest.raises(ConfigError, match=r"decode_head.num_classes is 3 but train_dataloader.dataset has 2 classes"):
        train(config, work_dir=tmp_path / "w", cfg_options=options)

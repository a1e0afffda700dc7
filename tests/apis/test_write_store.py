"""The command ``gcseg store``, and a training that reads what it wrote."""

from __future__ import annotations

import pytest
import tiny_run
import torch

from gcseg.apis.store import write_store
from gcseg.apis.train import train
from gcseg.cli import main, parse_cfg_options
from gcseg.config import load_config
from gcseg.datasets.transforms import loading
from gcseg.registry import DATASETS
from gcseg.utils import ConfigError


@pytest.fixture
def config(tmp_path):
    return tiny_run.write(tmp_path / "tiny")


def printed_options(text):
    return parse_cfg_options(text.split("--cfg-options ")[1].split())


def test_the_options_it_prints_make_a_training_read_it(config, tmp_path, capsys, monkeypatch):
    assert main(["store", str(config), "--split", "train", "val"]) == 0
    said = capsys.readouterr().out
    folder = config.parent / "decoded_store"
    assert "12 files to decode: 72.0 KiB to write into" in said and f"{folder}: 12 files, 45.0 KiB" in said
    options = printed_options(said)
    assert options == {"train_dataloader.dataset.store": True, "val_dataloader.dataset.store": True}
    from_files = train(config, work_dir=tmp_path / "files")
    monkeypatch.setattr(loading, "read_file", None)  # nothing may be read from here on
    from_store = train(config, work_dir=tmp_path / "store", cfg_options=options)
    weights = from_store.model.state_dict()
    for key, value in from_files.model.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_another_folder_and_options(config, tmp_path, capsys):
    folder = tmp_path / "fast disk"
    arguments = ["store", str(config), "--out", str(folder), "--threads", "1"]
    assert main([*arguments, "--cfg-options", "train_dataloader.dataset.indices=2"]) == 0
    assert "4 files to decode" in capsys.readouterr().out
    options = write_store(config, folder).options
    assert options == {"train_dataloader.dataset.store": str(folder)}
    assert "8 files to decode, 4 are there already" in capsys.readouterr().out
    cfg = load_config(config, options)
    assert "stored" in DATASETS.build(cfg.train_dataloader.dataset).get_data_info(0)


def test_data_sets_inside_others_have_options_of_their_own(config, tmp_path):
    text = config.read_text()
    wrapped = config.with_name("wrapped.py")
    wrapped.write_text(
        text
        + """
part = train_dataloader["dataset"]
train_dataloader["dataset"] = dict(
    type="RepeatDataset", times=2, dataset=dict(type="ConcatDataset", datasets=[part, dict(part, indices=2)]))
"""
    )
    options = write_store(wrapped, tmp_path / "store").options
    place = "train_dataloader.dataset.dataset.datasets"
    assert options == {f"{place}.{i}.store": str(tmp_path / "store") for i in range(2)}
    dataset = DATASETS.build(load_config(wrapped, options).train_dataloader.dataset)
    assert len(dataset) == 16 and all("stored" in dataset.get_data_info(i) for i in range(16))


def test_no_threads(config, tmp_path):
    for threads in (0, -1):
        with pytest.raises(ConfigError, match=f"threads={threads}"):
            write_store(config, tmp_path / "store", threads=threads)
    assert not (tmp_path / "store").exists()


def test_what_is_no_data_set_of_ours(config, capsys):
    text = config.read_text()
    config.write_text(text.replace("train_dataloader = dict(", "some_dataloader = dict("))
    assert main(["store", str(config)]) == 2
    assert "train_dataloader" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="val_dataloader.dataset"):
        write_store(config, cfg_options={"val_dataloader.dataset": "x"}, splits=["val"])
    inside = dict(_delete_=True, type="RepeatDataset", times=1, dataset="x")
    with pytest.raises(ConfigError, match="val_dataloader: no data set in them"):
        write_store(config, cfg_options={"val_dataloader.dataset": inside}, splits=["val"])

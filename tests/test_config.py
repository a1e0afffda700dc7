"""Finding, reading, translating and overriding configs."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from gcseg.config import configs_dir, find_config, load_config, recipes, require, translate_scope
from gcseg.utils import ConfigError

NAME = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"


def test_a_recipe_is_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spelling in (NAME, f"{NAME}.py", f"gcnet/{NAME}", f"configs/gcnet/{NAME}.py"):
        assert find_config(spelling) == configs_dir() / "gcnet" / f"{NAME}.py"


def test_a_file_wins_over_a_recipe_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / f"{NAME}.py"
    mine.write_text("x = 1\n")
    assert load_config(mine.name, check=False).x == 1


def test_a_misspelt_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match=NAME):
        find_config(NAME.replace("gcnet", "gcent"))


def test_a_checkpoint_in_the_place_of_the_config_is_told(tmp_path):
    (tmp_path / "iter_9.pth").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"iter_9\.pth is a checkpoint .* the config"):
        load_config(tmp_path / "iter_9.pth")


def test_a_path_that_does_not_exist_is_not_taken_for_a_recipe(tmp_path):
    with pytest.raises(ConfigError, match="no config file"):
        find_config(tmp_path / "elsewhere" / f"{NAME}.py")


def test_base_files_are_no_recipes():
    assert NAME in recipes()
    assert not any("schedule" in name for name in recipes())


def test_scope_of_mmsegmentation_is_translated():
    cfg = Config(
        dict(
            default_scope="mmseg",
            model=dict(type="mmseg.EncoderDecoder", heads=[dict(type="mmseg.GCHead", _scope_="mmseg")]),
            other=dict(type="mmdet.FasterRCNN"),
            path=dict(type="mmseg.models.GCHead"),
        )
    )
    translate_scope(cfg)
    assert cfg.default_scope == "gcseg"
    assert cfg.model.type == "EncoderDecoder"
    assert cfg.model.heads[0] == dict(type="GCHead", _scope_="gcseg")
    assert cfg.other.type == "mmdet.FasterRCNN"
    assert cfg.path.type == "mmseg.models.GCHead"


def test_override_changes_the_value_and_keeps_its_neighbours():
    cfg = load_config(NAME, {"model.decode_head.ratio": 0.125}, check=False)
    assert cfg.model.decode_head.ratio == 0.125
    assert cfg.model.decode_head.channels == 512


def test_override_that_matches_nothing_is_an_error():
    with pytest.raises(ConfigError, match="model"):
        load_config(NAME, {"modle.decode_head.ratio": 0.125}, check=False)


@pytest.mark.parametrize("variable", ["data_root", "crop_size", "test_pipeline", "norm_cfg"])
def test_overriding_a_variable_that_is_used_already_names_its_places(variable):
    with pytest.raises(ConfigError, match=rf"variable of the config file.*\.({variable}|pipeline)\b"):
        load_config(NAME, {variable: "x"}, check=False)


def test_a_variable_that_is_used_nowhere_may_be_overridden(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("my_number = 1\n")
    assert load_config(mine, {"my_number": 2}, check=False).my_number == 2


def test_the_config_given_is_not_changed():
    given = Config.fromfile(configs_dir() / "gcnet" / f"{NAME}.py")
    load_config(given, {"model.decode_head.ratio": 0.125}, check=False)
    assert given.model.decode_head.ratio == 0.25


def test_a_config_elsewhere_builds_on_a_packaged_recipe(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("GCSEG_CONFIGS", raising=False)
    monkeypatch.setenv("MY_NAME", "street")
    mine = tmp_path / "mine.py"
    base = f"_base_ = '{{{{$GCSEG_CONFIGS:}}}}/gcnet/{NAME}.py'"
    mine.write_text(f"{base}\nmodel = dict(decode_head=dict(ratio=0.5))\nname = '{{{{$MY_NAME:none}}}}'\n")
    cfg = load_config(mine, check=False)
    assert cfg.model.decode_head.ratio == 0.5
    said = "".join(capfd.readouterr())
    assert "`MY_NAME` with value of street" in said
    assert "GCSEG_CONFIGS" not in said, "gcseg sets that variable itself"
    assert cfg.model.backbone.depth == 50


def test_a_missing_base_that_is_packaged_is_named(tmp_path):
    (tmp_path / "mine.py").write_text("_base_ = '../_base_/models/gcnet_r50-d8.py'\n")
    with pytest.raises(ConfigError, match=r"\. gcseg's own is '(\S+)'$") as error:
        load_config(tmp_path / "mine.py")
    (tmp_path / "mine.py").write_text(f"_base_ = '{str(error.value).split()[-1][1:-1]}'\n")
    assert load_config(tmp_path / "mine.py").model.decode_head.type == "GCHead"


def test_a_config_of_mmsegmentation_before_1_is_told():
    with pytest.raises(ConfigError, match=r"no `train_dataloader`.* of mmsegmentation 0\.x"):
        require(Config(dict(data=dict(train={}), runner=dict(max_iters=1))), ("train_dataloader",), "training")


def test_a_missing_base_names_the_file(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("_base_ = './absent.py'\n")
    with pytest.raises(ConfigError, match=r"mine\.py"):
        load_config(mine)


def test_a_syntax_error_names_the_file(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("model = dict(\n")
    with pytest.raises(ConfigError, match=r"mine\.py"):
        load_config(mine)


def test_custom_modules_are_imported_after_the_overrides(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_first_parts.py").touch()
    (tmp_path / "my_second_parts.py").touch()
    mine = tmp_path / "mine.py"
    mine.write_text("custom_imports = dict(imports=['my_first_parts'])\n")
    load_config(mine, {"custom_imports.imports": ["my_second_parts"]}, check=False)
    assert "my_second_parts" in sys.modules and "my_first_parts" not in sys.modules


@pytest.mark.parametrize("place", ["project", "project/configs"])
def test_a_custom_module_may_lie_where_the_command_starts_or_beside_the_config(tmp_path, monkeypatch, place):
    (tmp_path / "project" / "configs").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path / "project")
    name = f"parts_in_{place.replace('/', '_')}"
    (tmp_path / place / f"{name}.py").touch()
    mine = tmp_path / "project" / "configs" / "mine.py"
    mine.write_text(f"custom_imports = dict(imports=['{name}'])\n")
    before = list(sys.path)
    load_config("configs/mine.py", check=False)
    assert name in sys.modules and sys.path[: len(before)] == before


@pytest.mark.parametrize(
    ("imports", "said"),
    [
        (["my_absent_parts.heads"], r"Failed to import my_absent_parts\.heads \(ModuleNotFoundError: No module named"),
        (["my_broken_parts"], r"invalid syntax .*\(SyntaxError: "),
        (3, r"custom_imports must be a list"),
    ],
)
def test_a_custom_module_that_cannot_be_imported(tmp_path, monkeypatch, imports, said):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_broken_parts.py").write_text("def\n")
    mine = tmp_path / "mine.py"
    mine.write_text(f"custom_imports = dict(imports={imports!r}, allow_failed_imports=False)\n")
    with pytest.raises(ConfigError, match=rf"mine\.py: custom_imports=.*{said}.* on PYTHONPATH") as caught:
        load_config(mine, check=False)
    assert sys.path[-1] not in str(caught.value) and "\n" not in str(caught.value)


def test_a_custom_module_of_mmsegmentation_is_told_the_name_here(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "mmseg", None)  # also where it is installed
    (tmp_path / "my_old_parts.py").write_text("from mmseg.registry import MODELS\n")
    (tmp_path / "mine.py").write_text("custom_imports = dict(imports=['my_old_parts'])\n")
    with pytest.raises(ConfigError, match="my_old_parts.*imports from mmseg: write gcseg there"):
        load_config(tmp_path / "mine.py", check=False)


def test_a_config_that_is_given_imports_nothing():
    load_config(Config(dict(custom_imports=dict(imports=["my_absent_parts"]))), check=False)


def test_a_missing_key_says_who_needs_it():
    cfg = Config(dict(model=dict(), train_dataloder=dict()))
    with pytest.raises(ConfigError, match="`train_dataloader`, which training needs.*train_dataloder"):
        require(cfg, ("model", "train_dataloader"), "training")


def test_recipes_travel_in_the_wheel(tmp_path):
    root = Path(__file__).parents[1]
    if not (root / "setup.py").exists():
        pytest.skip("runs from a checkout")
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = tmp_path / "lib" / "gcseg"
    assert (built / "configs" / "gcnet" / f"{NAME}.py").is_file()
    assert len(list((built / "configs" / "gcnet").glob("gcnet_*.py"))) == 16


def test_overrides_stay_as_they_were_given():
    options = {"model": {"decode_head": {"loss_decode": {"_delete_": True, "type": "DiceLoss"}}}}
    given = copy.deepcopy(options)
    assert load_config(NAME, options).model.decode_head.loss_decode == {"type": "DiceLoss"}
    assert options == given

import types

import pytest
from mmengine.model import BaseTTAModel
from torch import nn

from gcseg.engine.hooks import ClassesHook
from gcseg.utils.errors import ConfigError


def runner(model, **classes_of):
    def loop(names):
        dataset = types.SimpleNamespace(metainfo={} if names is None else dict(classes=names))
        return types.SimpleNamespace(dataloader=types.SimpleNamespace(dataset=dataset))

    loops = {f"_{s}_loop": loop(classes_of[s]) if s in classes_of else None for s in ("train", "val", "test")}
    return types.SimpleNamespace(model=model, **loops)


def model(*counts):
    net = nn.Module()
    heads = [nn.Module() for _ in counts]
    for head, count in zip(heads, counts, strict=True):
        head.num_classes = count
    net.decode_head = heads[0]
    if len(heads) > 1:
        net.auxiliary_head = nn.ModuleList(heads[1:])
    return net


NAMES = ["road", "crack", "hole"]


@pytest.mark.parametrize(
    ("net", "splits"),
    [
        (model(3), dict(train=NAMES, val=NAMES, test=NAMES)),
        (model(3, 3, 3), dict(train=NAMES)),
        (model(1), dict(train=NAMES[:2])),  # one score for foreground and background
        (model(7), dict(train=None)),  # a data set that names no classes
        (model(7), {}),
        (nn.Linear(1, 1), dict(train=NAMES)),
    ],
)
def test_numbers_that_agree_or_are_not_known_are_passed_over(net, splits):
    ClassesHook().before_run(runner(net, **splits))


def test_a_loop_that_is_not_built_is_none_of_its_business():
    run = runner(model(7))
    run._test_loop = dict(type="TestLoop")
    ClassesHook().before_run(run)


@pytest.mark.parametrize(
    ("net", "splits", "words"),
    [
        (model(2), dict(train=NAMES), r"model.decode_head.num_classes is 2 but train_dataloader.dataset has 3 classes"),
        (model(3, 3, 4), dict(val=NAMES), r"model.auxiliary_head\[1\].num_classes is 4 but val_.*road, crack, hole"),
        (model(1), dict(train=NAMES[:1]), r"num_classes is 2 .* 1 classes .road.; .* name the background as a class"),
        (model(1), dict(test=NAMES), r"set model.decode_head.num_classes=3"),
        (model(2), dict(train=[str(i) for i in range(150)]), r"150 classes \(0, 1, 2, 3, 4, \.\.\.\)"),
    ],
)
def test_numbers_that_differ_are_named_with_their_places(net, splits, words):
    with pytest.raises(ConfigError, match=words):
        ClassesHook().before_run(runner(net, **splits))


def test_classes_in_another_order_are_an_error_and_another_name_a_warning(capfd):
    with pytest.raises(ConfigError, match=r"label 1 is the class 'crack' in train_\S+ and 'hole' in test_.*order"):
        ClassesHook().before_run(runner(model(3), train=NAMES, val=NAMES, test=["road", "hole", "crack"]))
    ClassesHook().before_run(runner(model(3), train=["road", "crak", "hole"], val=NAMES))
    assert "'crak' in train_dataloader and 'crack' in val_dataloader" in "".join(capfd.readouterr())
    ClassesHook().before_run(runner(model(3), train=NAMES, val=tuple(NAMES), test=None))
    assert "label" not in "".join(capfd.readouterr())


def test_a_checkpoint_whose_classes_stand_in_another_order_is_not_tested(capfd):
    def check(classes, **splits):
        meta = {} if classes is None else dict(dataset_meta=dict(classes=classes))
        ClassesHook().after_load_checkpoint(runner(model(3), **splits), dict(meta=meta))

    with pytest.raises(ConfigError, match=r"label 1 is the class 'hole' in the checkpoint and 'crack' in test_.*order"):
        check(["road", "hole", "crack"], test=NAMES)
    for classes in (NAMES, None, NAMES[:2]):
        check(classes, test=NAMES)
    check(["road", "hole", "crack"], train=NAMES)  # which goes on to learn them
    assert "Is a name misspelt" not in capfd.readouterr().out
    check(["road", "crack", "hoel"], test=NAMES)
    assert "'hoel' in the checkpoint and 'hole' in test_dataloader" in capfd.readouterr().out


def test_a_model_for_several_views_is_looked_into():
    class Views(BaseTTAModel):
        def __init__(self, module):
            nn.Module.__init__(self)
            self.module = module

        def merge_preds(self, data_samples_list):
            raise NotImplementedError

    with pytest.raises(ConfigError, match="num_classes is 2"):
        ClassesHook().before_run(runner(Views(model(2)), test=NAMES))

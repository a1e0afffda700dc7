import copy

import pytest
import torch
from random_segmentor import build, error, images
from torch import nn

from gcseg.engine.compiled import compile_parts
from gcseg.utils import ConfigError


@pytest.fixture(autouse=True)
def _nothing_compiled_before():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def said(monkeypatch):
    texts = []

    def say(text, **options):
        if text.startswith("compile"):
            texts.append(text)

    monkeypatch.setattr("mmengine.logging.print_log", say)
    return texts


class Backend:
    """Runs graphs as they are and counts them, or fails."""

    def __init__(self, error=None):
        self.graphs = 0
        self.error = error

    def __call__(self, graph, inputs):
        self.graphs += 1
        if self.error is not None:
            raise self.error
        return graph.forward


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4)
        self.out_indices = (1, 2)

    def forward(self, x):
        if x.shape[1] != 3:
            raise ValueError(f"received {x.shape[1]} channels")
        x = self.bn(self.conv(x)).relu()
        levels = [x * 2, x, x.amax((2, 3), keepdim=True)]
        return [level for i, level in enumerate(levels) if i in self.out_indices]


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 2, 1)

    def forward(self, features):
        x, context = features
        return self.conv(x - context)


class Segmentor(nn.Module):
    def __init__(self, heads=1):
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.decode_head = Backbone(), Head()
        self.auxiliary_head = nn.ModuleList(Head() for _ in range(heads))
        self.eval()

    def forward(self, x):
        return self.decode_head.forward(self.backbone(x))


SIZES = [(33, 47), (64, 32), (40, 40), (71, 90), (9, 130)]


def run(model, *sizes):
    with torch.no_grad():
        return [model(images(height=h, width=w)) for h, w in sizes]


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_backbone_and_heads_are_compiled_once_for_all_sizes(said):
    model, backend = Segmentor(), Backend()
    expected, names = run(model, *SIZES), list(model.state_dict())
    assert compile_parts(model, dict(backend=backend)) == 3
    assert_same(run(model, *SIZES), expected)
    assert backend.graphs == 2  # backbone and decode head; nobody asks the auxiliary head
    assert list(model.state_dict()) == names and said == []


def test_a_segmentor_of_ours_is_one_graph_a_part(said):
    model, backend = build(num_stages=1, strides=(1,), dilations=(1,), out_indices=(0, 0, 0, 0)), Backend()
    del model.auxiliary_head
    model.decode_head.in_index, model.decode_head.in_channels = 0, 16
    model.decode_head.convs[0].conv = nn.Conv2d(16, 8, 3, padding=1)
    model.decode_head.conv_cat.conv = nn.Conv2d(24, 8, 3, padding=1)
    expected = run(model, *SIZES[:1])
    compile_parts(model, dict(backend=backend, fullgraph=True))
    assert max(map(error, run(model, *SIZES[:1]), expected)) < 1e-5
    assert backend.graphs == 2 and said == []


def test_a_compiler_that_fails_is_told_once_and_costs_no_result(said):
    model, backend = Segmentor(), Backend(OSError("no C++ compiler\n  in sight"))
    expected = run(model, *SIZES)
    compile_parts(model, dict(backend=backend))
    assert_same(run(model, *SIZES), expected)
    assert backend.graphs == 1 and len(said) == 1
    assert "no C++ compiler in sight" in said[0] and "uncompiled" in said[0] and "\n" not in said[0]
    assert len(said[0]) < 500


def test_a_system_without_a_cpp_compiler(said, tmp_path):
    import torch._inductor.config
    import torch._inductor.cpp_builder

    model = Segmentor()
    expected = run(model, *SIZES)
    compile_parts(model)
    with torch._inductor.config.patch({"cpp.cxx": (None, str(tmp_path / "no-g++")), "force_disable_caches": True}):
        assert_same(run(model, *SIZES), expected)
    assert len(said) == 1 and "compiler" in said[0].lower()


def test_a_system_without_torch_compile(said, monkeypatch):
    def refuse(model=None, *, dynamic=None):
        raise RuntimeError("Dynamo is not supported on Python 3.99")

    monkeypatch.setattr(torch, "compile", refuse)
    model = Segmentor()
    expected = run(model, (33, 47))
    compile_parts(model)
    assert_same(run(model, (33, 47)), expected)
    assert len(said) == 1 and "Python 3.99" in said[0]


def test_versions_beyond_the_limit_run_uncompiled(said):
    model, backend = Segmentor(), Backend()
    expected = run(model, *SIZES)
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    with torch._dynamo.config.patch({limit: 2}):
        compile_parts(model, dict(backend=backend, dynamic=False))
        assert_same(run(model, *SIZES), expected)
    assert 2 <= backend.graphs < 2 * len(SIZES) and said == []


def test_wrong_input_is_the_callers_error_and_does_not_end_the_compiling(said):
    model, backend = Segmentor(), Backend()
    compile_parts(model, dict(backend=backend))
    with pytest.raises(ValueError, match=r"received 4 channels") as raised:
        model(torch.zeros(1, 4, 8, 8))
    assert raised.value.__context__ is None
    run(model, (33, 47))
    assert said == [] and backend.graphs >= 2


def test_compiled_for_training_it_leaves_predictions_alone(said):
    model, backend = Segmentor(), Backend()
    expected = run(model, (33, 47))
    compile_parts(model, dict(backend=backend), training=True)
    assert_same(run(model, (33, 47)), expected)
    assert backend.graphs == 0
    model.train()
    run(model, (33, 47))
    assert backend.graphs == 2


def test_training_steps_are_the_same(said):
    plain, compiled, backend = Segmentor(), Segmentor(), Backend()
    compile_parts(compiled, dict(backend=backend), training=True)
    for model in (plain.train(), compiled.train()):
        model(images()).square().mean().backward()
    assert backend.graphs == 2 and said == []
    for part in ("backbone", "decode_head"):
        pairs = zip(getattr(compiled, part).parameters(), getattr(plain, part).parameters(), strict=True)
        assert_same(*zip(*((a.grad, b.grad) for a, b in pairs), strict=True))
    assert_same(compiled.buffers(), plain.buffers())


def test_a_copy_computes_with_its_own_weights():
    model = Segmentor()
    compile_parts(model, dict(backend=Backend()))
    before = run(model, (33, 47))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.backbone.conv.weight.mul_(2)
    assert not torch.allclose(run(twin, (33, 47))[0], before[0], atol=1e-3)
    assert_same(run(model, (33, 47)), before)


def test_wishes_that_cannot_be_met(said):
    for wish, words in ((dict(moed="max-autotune"), "'mode'"), ("inductor", "dict of arguments")):
        with pytest.raises(ConfigError, match=words):
            compile_parts(Segmentor(), wish)
    assert compile_parts(nn.Conv2d(3, 3, 1)) == 0 and "decode_head" in said[0]
    model = Segmentor()
    assert compile_parts(model, False) == compile_parts(model, None) == 0 and "forward" not in vars(model.backbone)


def test_heads_in_a_list_and_inside_wrappers(said):
    model = Segmentor(heads=2)
    assert compile_parts(nn.ModuleDict(dict(module=model))) == 4
    assert compile_parts(model) == 0  # they are compiled already
    assert said == []


@pytest.mark.slow
def test_the_default_compiler_gives_the_same_logits(said):
    model = build()
    expected = run(model, *SIZES[:3])
    compile_parts(model)
    assert max(map(error, run(model, *SIZES[:3]), expected)) < 1e-5
    assert said == []

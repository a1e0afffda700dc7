"""An import of mmsegmentation works when ``mmseg`` is replaced by ``gcseg``."""

import inspect
import pickle
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

import gcseg
from gcseg.mmseg_paths import MOVED

HEADS = "BaseDecodeHead DNLHead FCNHead GCHead NLHead"
BACKBONES = "ResNet ResNetV1c ResNetV1d"
LOSS_FUNCTIONS = (
    "accuracy binary_cross_entropy cross_entropy mask_cross_entropy reduce_loss weight_reduce_loss weighted_loss"
)
LOSSES = f"Accuracy CrossEntropyLoss DiceLoss FocalLoss LovaszLoss TverskyLoss {LOSS_FUNCTIONS}"
SEGMENTORS = "BaseSegmentor EncoderDecoder SegTTAModel"
BUILDERS = "build_backbone build_head build_loss build_segmentor"
REGISTRY_ALIASES = "BACKBONES HEADS LOSSES SEGMENTORS"
SAMPLERS = "BasePixelSampler OHEMPixelSampler build_pixel_sampler"
TRANSFORMS = (
    "AdjustGamma Albu CLAHE GenerateEdge PhotoMetricDistortion RGB2Gray RandomCrop RandomCutOut RandomFlip "
    "RandomMosaic RandomRotate Rerange Resize ResizeShortestEdge ResizeToMultiple SegRescale"
)
LOADING = "LoadAnnotations LoadImageFromNDArray"
CLASS_NAMES = (
    "ade_classes ade_palette cityscapes_classes cityscapes_palette get_classes get_palette voc_classes voc_palette"
)
TYPES = (
    "ConfigType ForwardResults MultiConfig OptConfigType OptMultiConfig OptSampleList SampleList TensorDict TensorList"
)
REGISTRIES = (
    "DATASETS DATA_SAMPLERS EVALUATOR HOOKS INFERENCERS LOG_PROCESSORS LOOPS METRICS MODELS MODEL_WRAPPERS OPTIMIZERS "
    "OPTIM_WRAPPERS OPTIM_WRAPPER_CONSTRUCTORS PARAM_SCHEDULERS RUNNERS RUNNER_CONSTRUCTORS TASK_UTILS TRANSFORMS "
    "VISBACKENDS VISUALIZERS WEIGHT_INITIALIZERS"
)

# What mmsegmentation 1.x has at these paths, as far as gcseg has the part.
OFFERED = {
    "gcseg": "digit_version version_info __version__",
    "gcseg.version": "version_info __version__",
    "gcseg.apis": "MMSegInferencer inference_model init_model show_result_pyplot",
    "gcseg.apis.inference": "inference_model init_model show_result_pyplot",
    "gcseg.apis.mmseg_inferencer": "MMSegInferencer",
    "gcseg.datasets": f"ADE20KDataset BaseSegDataset CityscapesDataset MultiImageMixDataset PascalVOCDataset "
    f"PackSegInputs {LOADING} {TRANSFORMS}",
    "gcseg.datasets.ade": "ADE20KDataset",
    "gcseg.datasets.basesegdataset": "BaseSegDataset",
    "gcseg.datasets.cityscapes": "CityscapesDataset",
    "gcseg.datasets.dataset_wrappers": "MultiImageMixDataset",
    "gcseg.datasets.transforms": f"PackSegInputs {LOADING} {TRANSFORMS}",
    "gcseg.datasets.transforms.formatting": "PackSegInputs",
    "gcseg.datasets.transforms.loading": LOADING,
    "gcseg.datasets.transforms.transforms": TRANSFORMS,
    "gcseg.datasets.voc": "PascalVOCDataset",
    "gcseg.engine": "SegVisualizationHook",
    "gcseg.engine.hooks": "SegVisualizationHook",
    "gcseg.engine.hooks.visualization_hook": "SegVisualizationHook",
    "gcseg.evaluation": "CityscapesMetric IoUMetric",
    "gcseg.evaluation.metrics": "CityscapesMetric IoUMetric",
    "gcseg.evaluation.metrics.citys_metric": "CityscapesMetric",
    "gcseg.evaluation.metrics.iou_metric": "IoUMetric",
    "gcseg.models": f"{HEADS} {BACKBONES} {LOSSES} {SEGMENTORS} {BUILDERS} {REGISTRY_ALIASES} SegDataPreProcessor",
    "gcseg.models.backbones": BACKBONES,
    "gcseg.models.backbones.resnet": f"{BACKBONES} BasicBlock Bottleneck",
    "gcseg.models.builder": f"{BUILDERS} build_neck {REGISTRY_ALIASES} NECKS",
    "gcseg.models.data_preprocessor": "SegDataPreProcessor",
    "gcseg.models.decode_heads": "DNLHead FCNHead GCHead NLHead",
    "gcseg.models.decode_heads.decode_head": "BaseDecodeHead",
    "gcseg.models.decode_heads.dnl_head": "DNLHead DisentangledNonLocal2d",
    "gcseg.models.decode_heads.fcn_head": "FCNHead",
    "gcseg.models.decode_heads.gc_head": "GCHead",
    "gcseg.models.decode_heads.nl_head": "NLHead",
    "gcseg.models.losses": LOSSES,
    "gcseg.models.losses.accuracy": "Accuracy accuracy",
    "gcseg.models.losses.cross_entropy_loss": "CrossEntropyLoss binary_cross_entropy cross_entropy mask_cross_entropy",
    "gcseg.models.losses.dice_loss": "DiceLoss",
    "gcseg.models.losses.focal_loss": "FocalLoss",
    "gcseg.models.losses.lovasz_loss": "LovaszLoss",
    "gcseg.models.losses.tversky_loss": "TverskyLoss",
    "gcseg.models.losses.utils": "get_class_weight reduce_loss weight_reduce_loss weighted_loss",
    "gcseg.models.segmentors": SEGMENTORS,
    "gcseg.models.segmentors.base": "BaseSegmentor",
    "gcseg.models.segmentors.encoder_decoder": "EncoderDecoder",
    "gcseg.models.segmentors.seg_tta": "SegTTAModel",
    "gcseg.models.utils": "resize",
    "gcseg.models.utils.wrappers": "resize",
    "gcseg.registry": REGISTRIES,
    "gcseg.structures": f"SegDataSample {SAMPLERS}",
    "gcseg.structures.sampler": SAMPLERS,
    "gcseg.structures.sampler.base_pixel_sampler": "BasePixelSampler",
    "gcseg.structures.sampler.builder": "build_pixel_sampler",
    "gcseg.structures.sampler.ohem_pixel_sampler": "OHEMPixelSampler",
    "gcseg.structures.seg_data_sample": "SegDataSample",
    "gcseg.utils": f"add_prefix collect_env register_all_modules {CLASS_NAMES} {TYPES}",
    "gcseg.utils.class_names": CLASS_NAMES,
    "gcseg.utils.misc": "add_prefix",
    "gcseg.utils.set_env": "register_all_modules",
    "gcseg.utils.typing_utils": TYPES,
    "gcseg.visualization": "SegLocalVisualizer",
    "gcseg.visualization.local_visualizer": "SegLocalVisualizer",
}
MOVED_NAMES = [(path, home, name) for path, homes in MOVED.items() for home, names in homes.items() for name in names]
PACKAGES = [
    "analysis apis datasets datasets.converters datasets.transforms engine engine.hooks evaluation evaluation.metrics",
    "export models models.backbones models.context models.decode_heads models.losses models.segmentors ops structures",
    "utils visualization",
]


@pytest.mark.parametrize(("path", "home", "name"), MOVED_NAMES, ids=lambda part: part)
def test_a_moved_name_is_the_object_of_its_home(path, home, name):
    assert getattr(import_module(path), name) is getattr(import_module(home), name)


@pytest.mark.parametrize("path", OFFERED)
def test_the_names_of_mmsegmentation_resolve(path):
    module, namespace = import_module(path), {}
    for name in OFFERED[path].split():
        exec(f"from {path} import {name}", namespace)
        found = namespace[name]
        assert found is getattr(module, name) and not inspect.ismodule(found)
        if inspect.isclass(found) and found.__module__.startswith("gcseg."):
            assert getattr(import_module(found.__module__), found.__name__) is found
            assert pickle.loads(pickle.dumps(found)) is found


def test_every_moved_path_is_offered():
    assert len(MOVED) > 5 and set(MOVED) <= set(OFFERED)
    for path, homes in MOVED.items():
        assert sorted(name for names in homes.values() for name in names) == import_module(path).__all__
        assert not [other for other in MOVED if other in homes]
        assert OFFERED[path].split()[0] in dir(import_module(path))


@pytest.mark.parametrize("package", " ".join(PACKAGES).split())
def test_importing_a_file_leaves_the_names_of_its_package_alone(package):
    """``from package import name`` must not turn into the file ``name.py`` once somebody imported that."""
    module = import_module(f"gcseg.{package}")
    assert module.__all__ and set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        if find_spec(f"{module.__name__}.{name}"):
            import_module(f"{module.__name__}.{name}")
        assert not inspect.ismodule(getattr(module, name)), name


def test_a_moved_module_is_a_module_like_others():
    code = """
import sys, gcseg.models.utils.wrappers, gcseg.structures.sampler.builder as builder
from gcseg.datasets.transforms.transforms import *
assert gcseg.models.utils.resize is gcseg.models.utils.wrappers.resize
assert sys.modules[builder.__name__] is builder is gcseg.structures.sampler.builder
assert RandomCrop.__name__ == "RandomCrop" and "LoadAnnotations" not in globals()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_not_there_is_said():
    with pytest.raises(ModuleNotFoundError, match="psp_head"):
        import_module("gcseg.models.decode_heads.psp_head")
    with pytest.raises(ImportError, match="Upsample"):
        exec("from gcseg.models.utils import Upsample")
    with pytest.raises(AttributeError, match=r"gcseg\.models\.utils.*resise"):
        import_module("gcseg.models.utils").resise  # noqa: B018


def test_the_finder_is_asked_last_and_once():
    from gcseg import mmseg_paths

    mmseg_paths.install()
    assert sys.meta_path.count(mmseg_paths.Finder) == 1
    assert mmseg_paths.Finder.find_spec("gcseg.models") is None


def test_version():
    assert gcseg.digit_version("1.2.0") > gcseg.digit_version("1.2.0rc1") and gcseg.version_info >= (0, 1, 0)
    assert gcseg.__version__.startswith(".".join(map(str, gcseg.version_info[:3])))


def test_class_names_and_environment():
    from gcseg.utils import add_prefix, cityscapes_classes, collect_env, get_palette, voc_palette

    assert cityscapes_classes()[:2] == ["road", "sidewalk"] and voc_palette() == get_palette("voc")
    assert add_prefix({"loss_ce": 1}, "decode") == {"decode.loss_ce": 1}
    assert collect_env()["gcseg"] == gcseg.__version__

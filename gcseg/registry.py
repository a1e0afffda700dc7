"""The registries of gcseg: children of mmengine's, scope ``gcseg``.

``locations`` name the packages whose import registers the classes. mmengine imports them the first time a name is
looked up, so that importing a registry costs nothing and building from a config still finds everything. A name that is
not found here is looked up in mmengine's own registry, where mmcv registers its transforms and layers.
"""

from mmengine import registry as _root
from mmengine.registry import Registry

SCOPE = "gcseg"


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=list(locations))


_MODEL_PACKAGES = (
    "gcseg.models.data_preprocessor",
    "gcseg.models.backbones",
    "gcseg.models.decode_heads",
    "gcseg.models.losses",
    "gcseg.models.segmentors",
)

RUNNERS = _child(_root.RUNNERS, "gcseg.engine.registered")
RUNNER_CONSTRUCTORS = _child(_root.RUNNER_CONSTRUCTORS, "gcseg.engine.registered")
LOOPS = _child(_root.LOOPS, "gcseg.engine.registered")
HOOKS = _child(_root.HOOKS, "gcseg.engine.hooks")
STRATEGIES = _child(_root.STRATEGIES, "gcseg.engine.registered")

DATASETS = _child(_root.DATASETS, "gcseg.datasets.registered")
DATA_SAMPLERS = _child(_root.DATA_SAMPLERS, "gcseg.engine.registered")
TRANSFORMS = _child(_root.TRANSFORMS, "gcseg.datasets.transforms.registered")

MODELS = _child(_root.MODELS, *_MODEL_PACKAGES)
MODEL_WRAPPERS = _child(_root.MODEL_WRAPPERS, "gcseg.engine.registered")
WEIGHT_INITIALIZERS = _child(_root.WEIGHT_INITIALIZERS, "gcseg.engine.pretrained_init", *_MODEL_PACKAGES)

OPTIMIZERS = _child(_root.OPTIMIZERS, "gcseg.engine.registered")
OPTIM_WRAPPERS = _child(_root.OPTIM_WRAPPERS, "gcseg.engine.registered")
OPTIM_WRAPPER_CONSTRUCTORS = _child(_root.OPTIM_WRAPPER_CONSTRUCTORS, "gcseg.engine.registered")
PARAM_SCHEDULERS = _child(_root.PARAM_SCHEDULERS, "gcseg.engine.registered")

METRICS = _child(_root.METRICS, "gcseg.evaluation.metrics")
EVALUATOR = _child(_root.EVALUATOR, "gcseg.evaluation.metrics")

TASK_UTILS = _child(_root.TASK_UTILS, "gcseg.models.losses")

VISUALIZERS = _child(_root.VISUALIZERS, "gcseg.visualization.local_visualizer")
VISBACKENDS = _child(_root.VISBACKENDS, "gcseg.visualization.local_visualizer")
LOG_PROCESSORS = _child(_root.LOG_PROCESSORS, "gcseg.engine.registered")
INFERENCERS = _child(_root.INFERENCERS, "gcseg.apis.inferencer")
FUNCTIONS = _child(_root.FUNCTIONS)

"""Training and testing machinery around mmengine's runner.

What a config can name is registered by :mod:`gcseg.engine.registered`; the names below are loaded when asked for.
"""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".checkpoint": ("install_safe_loader", "load_checkpoint_file"),
        ".state_dict": ("LoadReport", "load_into_model"),
        ".hardware": ("adapt_config_for_hardware", "hide_broken_torchvision"),
        ".randomness": ("fix_seed",),
        ".launch": ("init_distributed",),
        ".resume": ("prepare_resume", "verify_checkpoint"),
        ".optim_wrapper": ("AmpOptimWrapper",),
        ".preparation": ("prepare_for_inference",),
        ".hooks": ("SegVisualizationHook",),
    },
)

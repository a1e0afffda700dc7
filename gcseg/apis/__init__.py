"""What a program calls: train, test, and predict on images. Names are loaded when asked for.

``train`` and ``test`` are the sub-modules; their functions are ``gcseg.apis.train.train`` and ``gcseg.apis.test.test``.
"""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".create": ("create_model", "list_models"),
        ".hub": ("push_to_hub",),
        ".pretrained": ("from_pretrained", "save_pretrained"),
        ".inference": ("inference_model", "init_model", "show_result_pyplot"),
        ".inferencer": ("MMSegInferencer", "SegInferencer"),
        ".demo": ("run_demo",),
        ".zoo": ("download_models", "published_models", "verify_model"),
    },
)

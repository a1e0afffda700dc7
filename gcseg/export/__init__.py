"""Models for use elsewhere; each name is loaded when asked for."""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".publish": ("publish_checkpoint",),
        ".export": ("ExportReport", "export_model"),
        ".formats": ("ExportedModel",),
        ".evaluate": ("evaluate_exported",),
        ".latency": ("LatencyReport", "measure_latency"),
        ".quantize": ("QuantizationReport", "quantize_model"),
    },
)

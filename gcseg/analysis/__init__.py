"""What a model costs and what a config says; each name is loaded when asked for."""

from gcseg.utils.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        ".attention_distance": (
            "cosine_distance",
            "is_distribution",
            "jensen_shannon",
            "mean_cosine_distance",
            "mean_jensen_shannon",
        ),
        ".attention_maps": ("Attention", "AttentionProbe", "draw_attention"),
        ".attention_report": ("AttentionDistances", "AttentionReport", "attention_distances", "compare_attention"),
        ".browse": ("browse_dataset",),
        ".cam": ("grad_cam",),
        ".check_dataset": ("check_data",),
        ".class_frequencies": ("ClassWeights", "class_weights", "count_classes", "weights_of"),
        ".confusion": ("Confusion", "confusion_of_checkpoint", "confusion_of_folder"),
        ".context_cost": ("Cost", "compare_costs", "find_recipes"),
        ".cost_table": ("CostReport",),
        ".cost_timing": ("Timing", "peak_memory", "time_interleaved"),
        ".curves": ("format_summary", "plot_logs"),
        ".flops": ("Complexity", "count_complexity", "measure_complexity"),
        ".lr_finder": ("LrSweep", "find_lr"),
        ".report": ("read_run", "write_report"),
        ".speed": ("Speed", "measure_speed"),
        ".training_log": ("TrainingLog", "read_log", "read_training"),
        ".whole_config": ("config_text",),
    },
)

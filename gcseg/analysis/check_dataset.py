"""Look at every image and label of a config before hours of training meet them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gcseg.analysis.data_check.facts import decodes_as, killed, look_at
from gcseg.analysis.data_check.judge import Judge
from gcseg.analysis.data_check.pool import run_all
from gcseg.analysis.data_check.report import CheckReport, DataSetSummary
from gcseg.analysis.data_check.sources import Source, distinct_jobs, list_sources, miscounted_classes, spare_labels
from gcseg.config import load_config
from gcseg.utils.errors import ConfigError
from gcseg.utils.progress import progress

if TYPE_CHECKING:
    from mmengine.config import Config


def check_data(
    config: str | os.PathLike | Config,
    splits: Sequence[str] | None = None,
    workers: int | None = None,
    cfg_options: dict[str, Any] | None = None,
) -> CheckReport:
    """Read every file of the data sets of a config, each once, and say what is wrong with them.

    Data sets are looked for inside whatever wraps them. A fault does not end the check.

    Args:
        config: a path, the name of a packaged recipe, or a ``Config``.
        splits: some of train, val, test; None takes all that the config has.
        workers: number of processes; 0 reads in this one, None takes one per processor, 8 at most.
        cfg_options: overrides with dotted keys.

    Raises:
        ConfigError: the check itself cannot run: the config does not work, or a split is not there.
    """
    begin = time.perf_counter()
    if workers is None:
        workers = min(8, os.cpu_count() or 1)
    if workers < 0:
        raise ConfigError(f"--workers {workers}: give the number of processes, or 0 to read in this one")
    cfg = load_config(config, cfg_options)
    sources, findings = list_sources(cfg, splits)
    jobs = distinct_jobs(sources)
    results = run_all(look_at, jobs, workers, killed)
    bar = progress(results, total=len(jobs), desc="checking", unit="file")
    judge = Judge({decodes_as(jobs[place]): facts for place, facts in bar})
    judge.judge(sources)
    return CheckReport(
        config=str(config if isinstance(config, str | os.PathLike) else cfg.filename or "the config"),
        seconds=time.perf_counter() - begin,
        workers=workers,
        files=len({(job.kind, job.path) for job in jobs}),
        data_sets=[_summary(source) for source in sources],
        tallies=judge.tallies,
        findings=[*findings, *miscounted_classes(cfg, sources), *judge.findings, *spare_labels(sources)],
    )


def _summary(source: Source) -> DataSetSummary:
    labels = {label for _, label in source.pairs if label is not None}
    images = {image for image, _ in source.pairs}
    return DataSetSummary(
        source.split, source.place, source.name, len(source.pairs), len(images), len(labels), source.same_as
    )

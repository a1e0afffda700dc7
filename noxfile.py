"""The environments gcseg promises to work in: ``nox`` runs them all, ``nox -s minimum`` one."""

import nox

nox.options.sessions = ["minimum", "newest", "onedl"]
nox.options.error_on_missing_interpreters = False


def pytest(session: nox.Session) -> None:
    session.run("python", "-m", "pytest", "-n", "2", *session.posargs)


@nox.session(python="3.10")
def minimum(session: nox.Session) -> None:
    """The oldest of everything."""
    # The last releases of the libraries of docs/integrations.md that work with this torch.
    libraries = ("timm==1.0.3", "segmentation-models-pytorch==0.5.0", "transformers==4.50.3")
    session.install("torch==2.4.1", "torchvision==0.19.1", "numpy==1.26.4", *libraries, "-e", ".[tests]")
    pytest(session)


@nox.session(python="3.13")
def newest(session: nox.Session) -> None:
    """The newest of everything."""
    session.install("--upgrade", "-e", ".[tests]")
    pytest(session)


@nox.session(python="3.12")
def onedl(session: nox.Session) -> None:
    """The onedl forks provide ``mmcv`` and ``mmengine``; gcseg leaves them alone."""
    session.install("onedl-mmcv", "onedl-mmengine", "-r", "requirements/runtime.txt", "-r", "requirements/tests.txt")
    session.install("--no-deps", "-e", ".")
    pytest(session)

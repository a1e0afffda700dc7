from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithRecipes(build_py):
    """Carry configs/ inside the wheel as gcseg/configs, so that an installed gcseg finds its recipes by name."""

    def run(self):
        super().run()
        if not self.editable_mode:
            self.copy_tree(str(ROOT / "configs"), str(Path(self.build_lib) / "gcseg" / "configs"))


def requirements(name):
    found = []
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if line.startswith("-r "):
            found += requirements(line.removeprefix("-r ").removesuffix(".txt"))
        elif line.strip() and not line.startswith("#"):
            found.append(line.strip())
    return found


version: dict = {}
exec((ROOT / "gcseg" / "version.py").read_text(), version)

setup(
    name="gcseg",
    version=version["__version__"],
    description="GCNet for semantic segmentation: mmsegmentation's configs and checkpoints on a current PyTorch",
    long_description=(ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["gcseg", "gcseg.*"]),
    package_data={"gcseg": ["py.typed"], "gcseg.visualization.report": ["*.css", "*.js"]},
    cmdclass={"build_py": BuildWithRecipes},
    install_requires=requirements("runtime") + requirements("openmmlab"),
    extras_require={name: requirements(name) for name in ("tests", "docs", "optional", "export", "integrations")},
    entry_points={"console_scripts": ["gcseg = gcseg.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Operating System :: POSIX :: Linux",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)

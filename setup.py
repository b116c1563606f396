"""The part of the packaging that pyproject.toml cannot say: recipes and published figures travel inside the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["uda", "uda.*"]), "uda.configs"],
    package_dir={"uda.configs": "configs"},
    package_data={"uda": ["py.typed"], "uda.configs": ["*/*.yaml"], "uda.report.published": ["*.json"]},
)

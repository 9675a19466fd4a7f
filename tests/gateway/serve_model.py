"""A process that serves a model of a cluster: `python serve_model.py '{"port": 1234}'`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from gateway.cluster_model import ClusterModel  # noqa: E402

from khala.errors import ConfigurationError, KhalaError  # noqa: E402
from khala.gateway.serving import serve  # noqa: E402
from khala.gateway.settings import GatewaySettings  # noqa: E402


def broken_factory() -> ClusterModel:
    """A factory that fails as one does that finds no cluster."""
    raise ConfigurationError("no cluster here")


if __name__ == "__main__":
    settings = GatewaySettings(**json.loads(sys.argv[1]))
    try:
        serve(settings, broken_factory if "broken-factory" in settings.allowed_hosts else ClusterModel)
    except KhalaError as error:
        sys.exit(f"{type(error).__name__}: {error}")

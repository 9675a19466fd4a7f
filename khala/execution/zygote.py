"""The zygote's entry: `python -I -S zygote.py CONTROL_FD [KEPT_FD …]`, started by ZygoteProcess.

Runs before the executor makes threads or channels and shares no memory with it. It finds its
modules by its own path, so that it loads neither khala nor any installed library.
"""

from __future__ import annotations

import importlib
import os
import sys


def main() -> None:
    """Serve until the executor closes its end of CONTROL_FD."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    serve = importlib.import_module("launching.forking").serve
    serve(int(sys.argv[1]), [int(fd) for fd in sys.argv[2:]])


if __name__ == "__main__":
    main()

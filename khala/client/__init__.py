"""The Python client of Khala's HTTP API.

with Client("http://127.0.0.1:7000", token="…") as client:
    task = client.run({"execute": {"command": "echo hello"}}, timeout_s=60)
    print(task.execute.stdout.text)
"""

from khala.client.client import Client
from khala.client.views import (
    STATES,
    DifferenceView,
    OutputEnd,
    OutputFileView,
    OutputPiece,
    OutputView,
    PhaseView,
    TaskPageView,
    TaskView,
)

__all__ = [
    "STATES",
    "Client",
    "DifferenceView",
    "OutputEnd",
    "OutputFileView",
    "OutputPiece",
    "OutputView",
    "PhaseView",
    "TaskPageView",
    "TaskView",
]

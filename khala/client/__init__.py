"""The Python client of Khala's HTTP API.

with Client("http://127.0.0.1:7000", token="…") as client:
    task = client.submit({"execute": {"command": "echo hello"}})
    print(client.wait(task.id, timeout_s=60).execute.stdout.text)
"""

from khala.client.client import Client
from khala.client.views import STATES, OutputView, PhaseView, TaskPageView, TaskView

__all__ = ["STATES", "Client", "OutputView", "PhaseView", "TaskPageView", "TaskView"]

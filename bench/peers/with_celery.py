"""Celery with Redis, prefork. Arguments: slots, tasks. Prints tasks per second."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery, group

PORT = os.environ.get("BENCH_REDIS_PORT", "")
app = Celery("with_celery", broker=f"redis://127.0.0.1:{PORT}/0", backend=f"redis://127.0.0.1:{PORT}/1")


@app.task(name="run")
def run(command: list[str]) -> tuple[int, bytes]:
    """Run it, and bring back what it wrote."""
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode, done.stdout.decode()


def main() -> None:
    """A Redis, a worker, the tasks."""
    slots, tasks = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        redis = ["redis-server", "--port", PORT, "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        worker = [sys.executable, "-m", "celery", "-A", "with_celery", "worker", "-P", "prefork", "-c", slots]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        servers = [subprocess.Popen(redis, **quiet)]
        try:
            servers.append(subprocess.Popen(worker, cwd=Path(__file__).parent, **quiet))
            run.delay(["true"]).get(timeout=60)
            began = time.perf_counter()
            results = group(run.s(["sh", "-c", "true"]) for _ in range(tasks)).apply_async().get(timeout=300)
            took_s = time.perf_counter() - began
            assert len(results) == tasks and all(code == 0 for code, _ in results)
            print(tasks / took_s)
        finally:
            for server in reversed(servers):
                server.terminate()
                server.wait()


if __name__ == "__main__":
    if not PORT:  # the worker is told the same port by the environment
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            os.environ["BENCH_REDIS_PORT"] = str(free.getsockname()[1])
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main()

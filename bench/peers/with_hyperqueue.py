"""HyperQueue's local cluster, output to files. Arguments: slots, tasks. Prints tasks per second."""

import sys
import tempfile
import time
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

if __name__ == "__main__":
    slots, tasks = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder, LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=slots))
        client = cluster.client()

        def submit(count: int) -> None:
            job = Job(folder)
            for number in range(count):
                files = {"stdout": Path(folder) / f"{number}.out", "stderr": Path(folder) / f"{number}.err"}
                job.program(["sh", "-c", "true"], **files)
            client.wait_for_jobs([client.submit(job)])

        submit(slots)
        began = time.perf_counter()
        submit(tasks)
        print(tasks / (time.perf_counter() - began))

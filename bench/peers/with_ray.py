"""Ray on one machine. Arguments: slots, tasks. Prints tasks per second."""

import subprocess
import sys
import time

import ray

slots, tasks = int(sys.argv[1]), int(sys.argv[2])
ray.init(num_cpus=slots, include_dashboard=False, log_to_driver=False, configure_logging=False)


@ray.remote
def run() -> tuple[int, bytes]:
    """Run the command."""
    done = subprocess.run(["sh", "-c", "true"], capture_output=True, check=False)
    return done.returncode, done.stdout


ray.get([run.remote() for _ in range(20 * slots)])
began = time.perf_counter()
results = ray.get([run.remote() for _ in range(tasks)])
took_s = time.perf_counter() - began
assert all(code == 0 for code, _ in results)
ray.shutdown()
print(tasks / took_s)

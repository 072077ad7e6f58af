# %% [markdown]
# # Two workers, one of them killed
#
# Training can be distributed over several machines: each worker has a copy of the model and
# processes its part of each batch, and the workers sum their gradients in each step. Here two
# workers run on this machine and communicate over its loopback address. On two machines only the
# addresses would differ. During training one of them is killed. The final result is that of a
# single process, which this program checks.
#
#     pip install ".[tutorials]"
#     python tutorials/two_workers.py

# %%
import csv
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import keras
import matplotlib.pyplot as plt
import moons_worker
import numpy as np
import support
import tensorflow as tf

options = support.options("Two workers, one of them killed.")
start = time.perf_counter()

# %% [markdown]
# ## The program of a worker
#
# [moons_worker.py](moons_worker.py) is a Keras program with two additions. It sets the addresses of
# the workers, and creates its model under the scope of a strategy:
#
#     os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
#     strategy = tf.distribute.MultiWorkerMirroredStrategy()
#     with strategy.scope():
#         model = compiled()
#
# and it trains with `gx.callbacks.BackupAndRestore`, in a separate directory for each worker. This
# callback saves the state of the model atomically after every epoch. After a restart the workers
# resume from the last epoch that all of them have saved.

# %%
EPOCHS, ROWS = (4, 2_560) if options.short else (30, 10_240)
FOLDER = pathlib.Path(tempfile.mkdtemp())
PROGRAM = support.HERE / "moons_worker.py"


def free_ports() -> list[int]:
    """Returns two free ports."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in (one, other)]


def started() -> list[subprocess.Popen]:
    """Starts both workers."""
    ports = [str(port) for port in free_ports()]
    command = [sys.executable, str(PROGRAM), str(FOLDER), "--epochs", str(EPOCHS)]
    command += ["--rows", str(ROWS), "--ports", *ports, "--worker"]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with open(FOLDER / "errors.txt", "a") as errors:
        return [
            subprocess.Popen([*command, str(worker)], env=quiet, stderr=errors)
            for worker in range(2)
        ]


def log(worker: int) -> list[float]:
    """Returns the negative log-likelihoods of the epochs that a worker has finished."""
    path = FOLDER / f"log{worker}.csv"
    if not path.exists():
        return []
    with open(path) as file:
        return [float(row["nll"]) for row in csv.DictReader(file)]


# %% [markdown]
# ## A worker is killed
#
# After half of the epochs, worker 1 gets a SIGKILL, which no program can catch. Worker 0 cannot
# continue alone, and is ended too, as the scheduler of a cluster would do.

# %%
workers = started()
while len(log(0)) < EPOCHS // 2:
    if any(worker.poll() is not None for worker in workers):
        sys.exit((FOLDER / "errors.txt").read_text())
    time.sleep(0.02)
for worker in reversed(workers):
    worker.kill()
    worker.wait()
before = len(log(0))
print(f"worker 1 was killed after {before} epochs of {EPOCHS}")

# %% [markdown]
# ## Both workers are restarted
#
# The command is the same. The logs are appended to, and an unfinished epoch is repeated.

# %%
for worker in started():
    if worker.wait():
        sys.exit((FOLDER / "errors.txt").read_text())
logs = [log(worker) for worker in range(2)]
print(f"started again, they did the last {len(logs[0]) - before} epochs")

# %% [markdown]
# ## Training in a single process
#
# This is the ordinary `fit`, without strategy, backup or interruption. Floating-point sums depend
# on the order of their terms, which differs between two workers and one process. The difference
# grows a little in each step. The flow computes in float64, so that it starts in the sixteenth
# digit.

# %%
alone = moons_worker.compiled()
x = moons_worker.moons(ROWS, 1)
options_of_fit = {
    "batch_size": moons_worker.BATCH,
    "epochs": EPOCHS,
    "shuffle": False,
    "verbose": 0,
}
history = alone.fit(x, **options_of_fit).history["nll"]
together = [keras.saving.load_model(FOLDER / f"flow{worker}.keras") for worker in range(2)]


def distance(one: keras.Model, other: keras.Model) -> float:
    """Returns the largest difference between weights."""
    pairs = zip(one.trainable_variables, other.trainable_variables, strict=True)
    return max(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs)


held_out = moons_worker.moons(2_000, 2)
found = [
    model.evaluate(held_out, verbose=0, return_dict=True)["nll"] for model in [alone, *together]
]
print(f"between the workers: weights differ by {distance(*together):.1e}")
print(f"from the single process: weights differ by {distance(alone, together[0]):.1e}")
print(f"held-out points: {found[0]:.4f} nats alone, {found[1]:.4f} and {found[2]:.4f} as workers")

# %% [markdown]
# ## Pictures
#
# On the left are the losses by epoch: the grey line is the single process, the dots are worker 0
# before and after the kill. On the right is the learned density.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
left.plot(range(1, EPOCHS + 1), history, color="0.8", linewidth=6, label="one process")
left.plot(range(1, before + 1), logs[0][:before], "o", color="C0", label="two workers")
again = range(EPOCHS - len(logs[0]) + before + 1, EPOCHS + 1)
left.plot(again, logs[0][before:], "o", color="C1", label="two workers, started again")
left.axvline(before + 0.5, color="k", linestyle=":", label="worker 1 is killed")
left.set(xlabel="epoch", ylabel="negative log-likelihood, nats")
left.legend()
sides = [np.linspace(-2.0, 2.0, 161), np.linspace(-1.3, 1.3, 121)]
grid = np.stack(np.meshgrid(*sides), axis=-1)
density = tf.exp(together[0].distribution.log_prob(grid))
right.pcolormesh(*sides, density, cmap="magma", rasterized=True)
right.plot(*held_out[:300].T, ".", color="w", markersize=1.5)
right.set(title="density of the flow, and held-out points", aspect="equal")
support.save(figure, options.output / "two_workers.png")
print(f"took {time.perf_counter() - start:.0f} s")

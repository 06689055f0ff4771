"""Signals, in a process of its own that says what it did on the way out; the whole command: tests/test_engines.py."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from modelrank import stopping
from modelrank.features.extraction import FeatureWriter
from modelrank.features.store import FeatureStore
from modelrank.trainers import StepProgress

PROGRAM = """
import os, sys, time
from modelrank import stopping
stopping.heed(begun=True)
read, write = os.pipe()
if not os.fork():  # as a loader's worker before it has begun
    os.write(write, b".")
    while True:  # in short sleeps: a signal just before a long one would be heeded after it
        time.sleep(0.05)
try:
    os.read(read, 1)
    print("begun", flush=True)
    while True:
        time.sleep(0.05)
except KeyboardInterrupt:
    stopping.leave()
finally:
    print("closing", flush=True)
    time.sleep(float(sys.argv[1]))
    print("closed", flush=True)
"""


def begun(closing: float) -> subprocess.Popen:
    run = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(closing)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert run.stdout.readline() == "begun\n"
    return run


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_its_processes_closes_what_is_open_once(sign, code):
    run = begun(closing=0.1)
    os.kill(run.pid, sign)  # as `timeout` does it: to the process, then to its group, which is one stop
    os.killpg(run.pid, sign)
    assert run.communicate(timeout=30)[0] == "closing\nclosed\n"  # the child has died without a word, else this waits
    assert run.returncode == code


def test_a_signal_where_exceptions_are_ignored_is_not_lost():
    program = """
import os, time
from modelrank import stopping
stopping.heed(begun=True)
def wait():
    print("begun", flush=True)
    time.sleep(2)
os.register_at_fork(before=wait)  # as logging does: what is raised here is printed and forgotten
try:
    if os.fork():
        time.sleep(60)
except KeyboardInterrupt:
    stopping.leave()
"""
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.stdout.readline() == "begun\n"
    run.send_signal(signal.SIGTERM)
    assert run.communicate(timeout=30)[0] == ""
    assert run.returncode == 143


def test_a_second_signal_ends_what_does_not_end():
    run = begun(closing=60)
    run.send_signal(signal.SIGTERM)
    assert run.stdout.readline() == "closing\n"
    time.sleep(1.1)
    os.killpg(run.pid, signal.SIGINT)
    assert run.communicate(timeout=30)[0] == ""
    assert run.returncode == 143


def test_a_download_is_not_waited_for(tmp_path):
    program = f"""
import sys, time
from pathlib import Path
from modelrank import packages, stopping
stopping.heed(begun=True)
def client(package, folder):
    print("begun", flush=True)
    time.sleep(60)
packages._CLIENTS["pypi"] = client
pin = packages.PackageFile("pypi", "tiny", "1.0", "tiny-1.0.tar.gz", "0" * 64)
try:
    packages.fetch(pin, Path({str(tmp_path)!r}))
except KeyboardInterrupt:
    stopping.leave()
"""
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "begun\n"
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=30)
    assert run.returncode == 143
    assert [path.name for path in (tmp_path / "packages").iterdir()] == [".tiny-1.0.tar.gz.lock"]


def test_an_error_after_a_stop_is_the_stop_and_before_it_is_none_of_its_business():
    said = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["before", "stopped", "stopped"]


AGAIN = """
import os, signal
from modelrank import stopping
stopping.heed(begun=True)
stopping.again()
print("before")
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("stopped")
try:
    stopping.again()
except KeyboardInterrupt:
    print("stopped")
"""


def test_a_stop_before_anything_has_begun_ends_at_once_whoever_would_swallow_it():
    run = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (143, "", "")


EARLY = """
import os, signal
from modelrank import stopping
stopping.heed(begun=False)
try:
    os.kill(os.getpid(), signal.SIGTERM)
except BaseException:
    pass
print("went on")
"""


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("", "stopped"),  # between two jobs of a sweep: swallowed, but still asked for
        ("stopping.heed(begun=False)", "goes on"),  # the next command of a process, which nobody has stopped
    ],
)
def test_a_stop_is_of_all_jobs_of_its_command_and_of_no_other(then, said):
    done = subprocess.run([sys.executable, "-c", BETWEEN.format(then=then)], capture_output=True, text=True)
    assert done.stdout == f"{said}\n"


BETWEEN = """
import os, signal
from modelrank import stopping
stopping.heed(begun=True)
try:
    os.kill(os.getpid(), signal.SIGTERM)
except BaseException:
    pass
{then}
stopping.heed(begun=True)
try:
    stopping.again()
    print("goes on")
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize(
    ("ends", "given_up"),
    [("raise RuntimeError('Job not requeued')", "Job not requeued"), ("sys.exit(-1)", "None"), ("return", "None")],
)
def test_a_job_of_submitit_that_is_to_end_is_stopped_and_asked_for_again(ends, given_up):
    """Its handler raises an error, exits, or (of a further rank) returns; the error would be one of one model."""
    job = os.environ | {"SUBMITIT_EXECUTOR": "slurm"}
    done = subprocess.run([sys.executable, "-c", SUBMITTED.format(ends=ends)], env=job, capture_output=True, text=True)
    assert done.stdout == f"asked for again\nrows are kept\n{given_up}\n"
    assert done.returncode == 128 + signal.SIGUSR2


SUBMITTED = """
import os, signal, sys, time
from modelrank import stopping
def requeue(number, frame):
    print("asked for again")
    {ends}
signal.signal(signal.SIGUSR2, requeue)
for _ in range(2):
    stopping.heed(begun=True)
try:
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(60)
    except Exception:
        print("one model failed")
except KeyboardInterrupt:
    print("rows are kept")
    print(stopping.given_up())
    stopping.leave()
"""


def test_a_stop_that_was_swallowed_is_heeded_at_the_next_step(tmp_path, monkeypatch):
    steps = StepProgress("training", 32)
    writer = FeatureWriter("model", 2, dtype=torch.float32, store=FeatureStore(tmp_path), key="k")
    writer.on_predict_start(None, None)
    batch = (torch.tensor([0]), torch.zeros(1, 3), None)
    steps.on_train_batch_end(None, None, None, None, 0)
    writer.write_on_batch_end(None, None, batch, None, None, 0, 0)
    monkeypatch.setattr(stopping, "asked", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        steps.on_train_batch_end(None, None, None, None, 1)
    with pytest.raises(KeyboardInterrupt):
        writer.write_on_batch_end(None, None, batch, None, None, 1, 0)

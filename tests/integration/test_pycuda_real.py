"""The GPU path through the real pycuda, over a driver whose device is this machine's memory.

It states who holds what and who gives it back: `tools/gpu_check.sh` says what a GPU makes of it.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pycuda_parts import Stage, nothing_left, stage

AT_WORK = (
    "import os, signal, sys, threading\n"
    "from pycuda_scene import *\n"
    "with at_work() as (gpu, loaded, kernel):\n"
    "    {way}\n"
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return stage(tmp_path_factory.mktemp("pycuda"))


@pytest.mark.parametrize(
    "naive",
    [
        "context = cuda.Device(0).make_context()",
        "context = cuda.Device(0).retain_primary_context(); context.push()",
        "context = cuda.Device(0).retain_primary_context(); context.push(); sys.exit(3)",
    ],
)
def test_pycuda_aborts_a_process_that_leaves_a_context_on_its_stack(
    machine: Stage, naive: str
) -> None:
    done = machine.run(f"import sys, pycuda.driver as cuda\ncuda.init()\n{naive}\n")
    assert done.returncode == -signal.SIGABRT
    assert "The context stack was not empty upon module cleanup" in done.stderr


@pytest.mark.parametrize(
    ("way", "status", "said"),
    [
        ("pass", 0, ""),
        ("raise ValueError('amid a series')", 1, "amid a series"),
        ("sys.exit(3)", 3, ""),
        ("with gpu.current(): sys.exit(3)", 3, ""),
        ("with gpu.current(): raise ValueError('in the context')", 1, "in the context"),
        ("with gpu.current(): gpu.close()", 0, ""),
        ("gpu.close(); gpu.close(); loaded.close(); kernel.close()", 0, ""),
        ("loaded.close(); loaded.close(); kernel.close(); gpu.close()", 0, ""),
        ("one = threading.Thread(target=gpu.close); one.start(); one.join()", 0, ""),
        ("one = threading.Thread(target=doubled, args=[loaded]); one.start(); one.join()", 0, ""),
        ("one = threading.Thread(target=prepared, args=[kernel]); one.start(); one.join()", 0, ""),
        ("loaded._context.broken = True; loaded.infer({'x': ONES['x'][:1]})", 1, "could not run"),
        ("DRIVER.fail(0, NO_MEMORY, lasting=False); prepared(kernel)", 1, "OUT_OF_MEMORY"),
        (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); signal.raise_signal(15)",
            4,
            "",
        ),
    ],
)
def test_a_process_gives_everything_back_on_every_way_out(
    machine: Stage, way: str, status: int, said: str
) -> None:
    done = machine.run(AT_WORK.format(way=way))
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert said or not done.stderr
    assert "PyCUDA" not in done.stderr
    done_there = nothing_left(machine)
    assert done_there["launched"] >= 1
    assert done_there["replayed"] >= 1


@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("signal.raise_signal(signal.SIGTERM)", -signal.SIGTERM),
        ("with gpu.current(): signal.raise_signal(signal.SIGTERM)", -signal.SIGTERM),
        ("with gpu.current(): os._exit(0)", 0),  # as the worker ends
    ],
)
def test_a_process_that_is_ended_is_the_driver_s_to_clean_up_and_says_nothing(
    machine: Stage, way: str, status: int
) -> None:
    done = machine.run(AT_WORK.format(way=way))
    assert (done.returncode, done.stderr) == (status, "")
    assert machine.left() is None


def test_the_context_is_on_no_stack_between_uses_and_one_for_all(machine: Stage) -> None:
    done = machine.run(
        "from pycuda_scene import *\n"
        "with at_work() as (gpu, loaded, kernel):\n"
        "    others = [engine(gpu) for _ in range(3)]\n"
        "    for one in others: doubled(one)\n"
        "    now = DRIVER.counts()\n"
        "    assert (now['depth'], now['retained'], now['contexts']) == (0, 1, 0), now\n"
        "    assert now['device'] > 0 and now['pinned'] > 0, now\n"
        "    for one in others: one.close()\n"
        "    kernel.close(); loaded.close()\n"
        "    now = DRIVER.counts()\n"
        "    assert (now['device'], now['pinned'], now['retained']) == (0, 0, 1), now\n"
        "    assert not now['streams'] + now['events'] + now['modules'] + now['graphs'], now\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    nothing_left(machine)


def test_a_repeated_run_is_recorded_once_and_replayed_with_what_is_given_then(
    machine: Stage,
) -> None:
    done = machine.run(
        "from pycuda_scene import *\n"
        "gpu = open_context()\n"
        "loaded = engine(gpu)\n"
        "doubled(loaded, 2)\n"
        "assert DRIVER.counts()['graphs'] == 1\n"
        "doubled(loaded, 20)\n"
        "assert DRIVER.counts()['replayed'] == 21, DRIVER.counts()\n"
        "assert loaded.infer({'x': ONES['x'][:1]})['logits'].tolist() == [[2] * 4]\n"
        "assert DRIVER.counts()['graphs'] == 0\n"
        "assert loaded.timing.compute >= 0\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert nothing_left(machine)["graphs"] == 0


def test_what_must_not_be_recorded_is_told_by_the_driver_and_the_run_goes_on_without(
    machine: Stage,
) -> None:
    done = machine.run(
        "from pycuda_scene import *\n"
        "gpu = open_context()\n"
        "loaded = engine(gpu)\n"
        "enqueue = loaded._enqueue\n"
        "def waits():\n"
        "    enqueue()\n"
        "    loaded._stream.synchronize()\n"
        "loaded._enqueue = waits\n"
        "doubled(loaded, 5)\n"
        "assert DRIVER.counts()['replayed'] == 0\n"
        "assert not loaded._recording.allowed\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    nothing_left(machine)


def test_the_kernel_that_pycuda_compiles_and_launches_gives_the_specification_s_bits(
    machine: Stage,
) -> None:
    done = machine.run(
        "from pycuda_scene import *\n"
        "from engines.cuda.recipe import reference\n"
        "gpu = open_context()\n"
        "kernel = FusedPreparation(gpu)\n"
        "for dtype in ('int16', 'uint16', 'float32'):\n"
        "    for columns in (47, 60, 47):\n"
        "        recipe = Recipe(60, columns, (80, 63), 80, 80, RECIPE.windows)\n"
        "        stack = np.random.default_rng(columns).integers(0, 3000, (3, 60, columns))\n"
        "        stack = stack.astype(dtype)\n"
        "        lines = np.array([[1.0, -1024.0], [1.1, -1000.5], [0.9, 3.0]], np.float32)\n"
        "        planes = kernel.prepare(stack, lines, recipe)\n"
        "        np.testing.assert_array_equal(planes, reference(stack, lines, recipe))\n"
        "        assert planes.any() and kernel.milliseconds >= 0\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert nothing_left(machine)["launched"] == 9


@pytest.mark.parametrize("lasting", [False, True])
def test_whichever_call_of_the_driver_fails_it_is_an_error_and_nothing_stays(
    machine: Stage, lasting: bool
) -> None:
    """One call after another fails, alone or with all that follow, as after a failed launch."""
    done = machine.run(
        "from pycuda_scene import *\n"
        "from engines import EngineError\n"
        "failed = 0\n"
        "def life():\n"
        "    gpu = open_context()\n"
        "    try:\n"
        "        loaded = engine(gpu)\n"
        "        kernel = FusedPreparation(gpu)\n"
        "        doubled(loaded)\n"
        "        prepared(kernel)\n"
        "    finally:\n"
        "        gpu.close()\n"
        "life()\n"
        "calls = DRIVER.calls()\n"
        "for number in range(calls):\n"
        f"    DRIVER.fail(number, LAUNCH_FAILED if {lasting} else NO_MEMORY, lasting={lasting})\n"
        "    try: life()\n"
        "    except EngineError: failed += 1\n"
        "    DRIVER.fail(-1, 0, lasting=False)\n"
        "    now = DRIVER.counts()\n"
        "    held = ('device', 'pinned', 'streams', 'events', 'modules', 'graphs')\n"
        "    assert not any(now[name] for name in held), (number, now)\n"
        "    assert (now['retained'], now['depth']) == (0, 0), (number, now)\n"
        "life()\n"
        "print(calls, failed)\n"
    )
    assert done.returncode == 0, done.stderr
    calls, failed = map(int, done.stdout.split())
    assert calls > 80
    assert failed > calls / 2
    assert "ERROR" not in re.sub(r"CUDA_ERROR_\w+", "", done.stderr)


def test_the_check_of_an_appliance_sees_the_gpu_and_pycuda(machine: Stage) -> None:
    done = machine.run(
        "from pycuda_scene import *\n"
        "from engines.stack import stack_here\n"
        "found = stack_here()\n"
        "print(found.gpu.name, found.gpu.capability, found.pycuda)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"stand-in SM87 \d{4}\.\d+\n", done.stdout)
    nothing_left(machine)


def test_the_suite_of_all_runtimes_passes_over_the_real_pycuda(machine: Stage) -> None:
    suite = Path(__file__).with_name("test_runtime_conformance.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "pycuda"]
    done = subprocess.run(
        [*command, str(suite)],
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b1[4-9] passed", done.stdout), done.stdout
    nothing_left(machine)

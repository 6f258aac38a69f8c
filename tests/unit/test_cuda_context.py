"""The GPU's context is on the stack only while something runs, and ends on every way out."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cuda_stand_in import Cuda

from engines import EngineError
from engines.cuda.context import CudaContext, open_context


def opened(cuda: Cuda, pops: list[str] | None = None) -> CudaContext:
    told = pops if pops is not None else []
    return CudaContext(cuda, pop_driver=lambda: told.append("driver"))


def test_the_stack_is_as_it_was_after_every_use() -> None:
    cuda = Cuda()
    gpu = opened(cuda)
    assert (gpu.name, gpu.capability, cuda.stack) == ("stand-in", "SM87", [])
    with gpu.current(), gpu.current():
        assert len(cuda.stack) == 2
    with pytest.raises(ZeroDivisionError), gpu.current():
        _ = 1 / 0
    assert not cuda.stack
    gpu.close()


def test_what_was_made_goes_before_the_context_and_the_last_made_first() -> None:
    cuda, went = Cuda(), list[str]()
    gpu = opened(cuda, went)
    gpu.admit(lambda: went.append("first"))
    ticket = gpu.admit(lambda: went.append("gone by itself"))
    gpu.admit(lambda: went.append("last"))
    gpu.dismiss(ticket)
    gpu.close()
    gpu.close()
    assert went == ["last", "first", "driver"]
    assert (cuda.retained, cuda.stack, gpu.closed) == (0, [], True)
    with pytest.raises(EngineError, match="given back"), gpu.current():
        pass


def test_the_context_is_given_back_even_when_something_cannot_be_freed() -> None:
    cuda = Cuda()
    gpu = opened(cuda)

    def refuse() -> None:
        raise EngineError("stuck")

    gpu.admit(refuse)
    with pytest.raises(EngineError, match="stuck"):
        gpu.close()
    assert (cuda.retained, gpu.closed) == (0, True)


def test_any_thread_may_use_it_and_any_may_close_it() -> None:
    cuda = Cuda()
    gpu = opened(cuda)

    def work() -> None:
        with gpu.current():
            assert len(cuda.stack) == 1
        gpu.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert (cuda.retained, gpu.closed) == (0, True)


@pytest.mark.parametrize("way", ["pass", "sys.exit(3)", "1 / 0", "gpu.close()"])
def test_it_ends_on_every_way_out_of_the_interpreter(way: str) -> None:
    code = (
        "import sys\n"
        "from cuda_stand_in import Cuda\n"
        "from engines.cuda.context import CudaContext\n"
        "cuda = Cuda()\n"
        "gpu = CudaContext(cuda, pop_driver=lambda: print('retained', cuda.retained))\n"
        "gpu.admit(lambda: print('freed'))\n"
        f"with gpu.current(): {way}\n"
    )
    folder = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(folder)},
        cwd=folder.parent,
    )
    assert done.stdout.split("\n") == ["freed", "retained 0", ""], done.stderr


def test_a_forked_child_leaves_the_parent_s_context_alone() -> None:
    cuda = Cuda()
    gpu = opened(cuda)
    gpu._owner += 1  # as a child sees it
    gpu.close()
    assert cuda.retained == 1
    gpu._owner -= 1
    gpu.close()
    assert cuda.retained == 0


@pytest.mark.parametrize(("devices", "says"), [(0, "no CUDA-capable device"), (1, "ordinal")])
def test_a_machine_without_that_gpu_is_told_what_it_needs(devices: int, says: str) -> None:
    with pytest.raises(EngineError, match=rf"No GPU can be used: .*{says}.* nvidia-smi"):
        CudaContext(Cuda(devices=devices), index=1)


@pytest.mark.parametrize(
    ("lack", "says"),
    [
        ("No module named 'pycuda'", "tools/setup.sh run --gpu"),
        ("libcuda.so.1: cannot open shared object file", "It needs an NVIDIA GPU and its driver"),
    ],
)
def test_what_is_missing_to_open_a_gpu_is_named(
    lack: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    (tmp_path / "pycuda" / "driver.py").write_text(f"raise ImportError({lack!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pycuda", raising=False)
    with pytest.raises(EngineError, match=says):
        open_context()

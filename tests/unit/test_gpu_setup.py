"""`setup.sh --gpu`: the environment sees the system's TensorRT and nothing else of the system."""

from __future__ import annotations

import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from tools.jetson import pycuda
from tools.jetson.__main__ import built
from tools.jetson.bindings import see
from tools.jetson.toolkit import Missing, Toolkit, find_toolkit


class System:
    """A system's Python with TensorRT as Debian's package installs it, and an older numpy."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "system", symlinks=True)
        self.python = folder / "system" / "bin" / "python"
        self.packages = next((folder / "system" / "lib").glob("python3*")) / "site-packages"
        self.tensorrt = self.packages / "tensorrt"
        for name, version in (("tensorrt", "10.3.0"), ("numpy", "1.21.5")):
            (self.packages / name).mkdir()
            text = f"__version__ = {version!r}\n"
            (self.packages / name / "__init__.py").write_text(text, encoding="utf-8")


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The site-packages of an appliance's environment; its Python is beside."""
    venv.create(tmp_path / "ours", symlinks=True)
    return next((tmp_path / "ours" / "lib").glob("python3*")) / "site-packages"


def imports(site: Path, name: str) -> subprocess.CompletedProcess[str]:
    python = site.parents[2] / "bin" / "python"
    code = f"import {name}; print({name}.__version__)"
    return subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=False, cwd="/"
    )


def test_tensorrt_of_the_system_is_seen_and_its_numpy_is_not(system: System, site: Path) -> None:
    for _ in range(2):
        assert see(site, system.python) == system.tensorrt
    assert imports(site, "tensorrt").stdout == "10.3.0\n"
    assert "No module named 'numpy'" in imports(site, "numpy").stderr


def test_a_tensorrt_that_moved_is_followed_and_one_that_went_is_told(
    system: System, site: Path, tmp_path: Path
) -> None:
    (site / "tensorrt").symlink_to(tmp_path / "elsewhere")
    assert see(site, system.python) == system.tensorrt
    assert (site / "tensorrt").readlink() == system.tensorrt
    system.tensorrt.rename(tmp_path / "removed")
    with pytest.raises(Missing, match=r"not installed for .*python3-libnvinfer"):
        see(site, system.python)
    assert not (site / "tensorrt").is_symlink()


def test_what_pip_installed_in_the_environment_comes_first(system: System, site: Path) -> None:
    (site / "tensorrt").mkdir()
    assert see(site, system.python) == site / "tensorrt"
    (site / "tensorrt").rmdir()
    (site / "tensorrt_rtx").mkdir()
    assert see(site, system.python) == system.tensorrt
    system.tensorrt.rename(system.packages / "gone")
    assert see(site, system.python) == site / "tensorrt_rtx"


def test_a_tensorrt_for_another_python_is_told_with_the_command(site: Path, tmp_path: Path) -> None:
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\necho '[[3, 9], \"/usr/lib/python3.9/tensorrt/__init__.py\"]'\n")
    other.chmod(0o755)
    with pytest.raises(Missing, match=r"for Python 3\.9, .*PYTHON=.*python3 tools/setup.sh run"):
        see(site, other)
    assert not (site / "tensorrt").exists()


def test_a_system_without_python_is_told(site: Path, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="cannot be asked"):
        see(site, tmp_path / "none")


@pytest.fixture
def cuda(tmp_path: Path) -> Path:
    """CUDA as JetPack 6 lays it out, with the driver's stub."""
    root = tmp_path / "cuda"
    (root / "include").mkdir(parents=True)
    (root / "include" / "cuda.h").write_text("#define CUDA_VERSION 12060\n", encoding="utf-8")
    (root / "lib64" / "stubs").mkdir(parents=True)
    (root / "lib64" / "stubs" / "libcuda.so").touch()
    return root


def has_headers() -> bool:
    return (Path(sysconfig.get_path("include")) / "Python.h").is_file()


@pytest.mark.skipif(not has_headers(), reason="Python's headers are not installed")
def test_cuda_is_found_with_its_version_and_what_to_link_with(cuda: Path, tmp_path: Path) -> None:
    found = find_toolkit([tmp_path, cuda], driver=cuda)
    assert (found.root, str(found)) == (cuda, "CUDA 12.6")
    assert (find_toolkit([cuda]).driver / "libcuda.so").exists()


def test_a_machine_without_cuda_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"cuda.h in .*apt-get install nvidia-jetpack.*CUDA_HOME"):
        find_toolkit([tmp_path])


def test_a_header_without_a_version_is_told(cuda: Path) -> None:
    (cuda / "include" / "cuda.h").write_text("", encoding="utf-8")
    with pytest.raises(Missing, match="does not say its version"):
        find_toolkit([cuda])


def test_a_machine_without_a_compiler_is_told(cuda: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cuda))
    with pytest.raises(Missing, match=r"apt-get install g\+\+"):
        find_toolkit([cuda])


def test_pycuda_is_built_once_for_a_cuda_and_again_for_another(cuda: Path, tmp_path: Path) -> None:
    made: list[int] = []
    stamp = tmp_path / "stamp"
    stamp.touch()
    for version in (12060, 12060, 13000, 13000):
        toolkit = Toolkit(cuda, version, cuda)
        built(toolkit, stamp, build=lambda toolkit: made.append(toolkit.version))
    assert made == [12060, 13000]


def test_a_build_that_fails_is_tried_again_the_next_time(cuda: Path, tmp_path: Path) -> None:
    made: list[int] = []
    stamp = tmp_path / "stamp"
    stamp.touch()

    def fails(_: Toolkit) -> None:
        made.append(0)
        raise Missing("no compiler")

    for _ in range(2):
        with pytest.raises(Missing):
            built(Toolkit(cuda, 12060, cuda), stamp, build=fails)
    assert len(made) == 2


@pytest.mark.parametrize(
    ("processors", "gigabytes", "files"), [(6, 4, 2), (6, 1, 1), (6, 8, 4), (2, 24, 2), (12, 64, 4)]
)
def test_as_many_files_are_compiled_at_once_as_there_is_memory_for(
    processors: int, gigabytes: int, files: int
) -> None:
    assert pycuda.at_once(processors, gigabytes << 30) == files


def test_the_lock_names_pycuda_and_what_it_is_built_with() -> None:
    own, others = pycuda.locked()
    assert own.startswith(f"pycuda=={pycuda.version()} ")
    assert "--hash=sha256:" in own
    assert "setuptools==" in others
    assert "pycuda==" not in others

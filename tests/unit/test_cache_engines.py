"""An engine in the cache is whole or not there, whatever happens to who writes it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from engines.build.modules import write_whole
from engines.cache import CacheError, EngineCache, EngineKey
from engines.store import EngineStore

KEY = EngineKey("a" * 64, "tensorrt 10.3.0", "Orin", "SM87", "fp16", "1x3x160x160", "0.1.0")

_WRITER = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from typing import Any
import engines.cache as cache
from engines.cache import EngineCache, EngineKey

key = EngineKey("a" * 64, "tensorrt 10.3.0", "Orin", "SM87", "fp16", "1x3x160x160", "0.1.0")
where = sys.argv[2]
calls = 0
real = cache._to_disk

def dying(path):
    global calls
    calls += 1
    if where == f"sync-{calls}":
        os.kill(os.getpid(), signal.SIGKILL)
    real(path)

def build(path):
    path.write_bytes(b"half")
    if where == "build":
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_bytes(b"an engine")

cache._to_disk = dying
EngineCache(Path(sys.argv[1]), limit=1000).get_or_build(key, build)
"""

_TIMING = """
import os, signal, sys
from pathlib import Path
from typing import Any
import engines.build.modules as modules

modules.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
modules.write_whole(Path(sys.argv[1]), b"kernels")
"""

_WAITER = """
import sys
from pathlib import Path
from typing import Any
from engines.cache import EngineCache, EngineKey

key = EngineKey("a" * 64, "tensorrt 10.3.0", "Orin", "SM87", "fp16", "1x3x160x160", "0.1.0")
folder = Path(sys.argv[1])

def build(path):
    with (folder / "builds").open("a") as stream:
        stream.write("one\\n")
    print("building", flush=True)
    sys.stdin.read()
    path.write_bytes(b"an engine")

print("asking", flush=True)
assert EngineCache(folder, limit=1000).get_or_build(key, build) == b"an engine"
"""


def writes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def refuses(_: Path) -> None:
    raise AssertionError("It was built again.")


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path, limit=1000)


def test_an_engine_is_built_once_and_found_after(cache: EngineCache, tmp_path: Path) -> None:
    assert cache.get(KEY) is None
    assert cache.get_or_build(KEY, writes(b"an engine")) == b"an engine"
    assert EngineCache(tmp_path, limit=1000).get_or_build(KEY, refuses) == b"an engine"
    assert [entry.key for entry in cache.entries()] == [KEY]


@pytest.mark.parametrize("name", [field.name for field in fields(EngineKey)])
def test_whatever_differs_makes_it_another_engine(cache: EngineCache, name: str) -> None:
    other: dict[str, Any] = {name: 1 if name == "dla_core" else "other"}
    cache.get_or_build(KEY, writes(b"an engine"))
    assert cache.get(replace(KEY, **other)) is None


@pytest.mark.parametrize("damage", [b"", b"an englne", b"an engine and more"])
def test_a_damaged_engine_is_built_again(cache: EngineCache, tmp_path: Path, damage: bytes) -> None:
    cache.get_or_build(KEY, writes(b"an engine"))
    (tmp_path / f"{KEY.digest}.engine").write_bytes(damage)
    assert cache.get(KEY) is None
    assert cache.get_or_build(KEY, writes(b"a new one")) == b"a new one"
    assert cache.get(KEY) == b"a new one"


def test_a_damaged_proof_is_built_again(cache: EngineCache, tmp_path: Path) -> None:
    cache.get_or_build(KEY, writes(b"an engine"))
    (tmp_path / f"{KEY.digest}.json").write_text('{"sha256": ', encoding="utf-8")
    assert not cache.entries()
    assert cache.get_or_build(KEY, writes(b"a new one")) == b"a new one"


def test_the_least_recently_used_goes_first(cache: EngineCache, tmp_path: Path) -> None:
    keys = [replace(KEY, precision=name) for name in ("first", "second", "third")]
    for age, key in zip((300, 200, 100), keys, strict=True):
        cache.get_or_build(key, writes(b"x" * 300))
        os.utime(tmp_path / f"{key.digest}.json", (1e9 - age, 1e9 - age))
    assert cache.get(keys[0]) is not None  # and so it is the most recently used
    cache.get_or_build(KEY, writes(b"x" * 300))
    assert {entry.key for entry in cache.entries()} == {keys[0], keys[2], KEY}
    assert not (tmp_path / f"{keys[1].digest}.engine").exists()


def test_an_engine_larger_than_the_limit_stays_alone(cache: EngineCache) -> None:
    other = replace(KEY, precision="int8")
    cache.get_or_build(other, writes(b"x"))
    cache.get_or_build(KEY, writes(b"x" * 2000))
    assert [entry.key for entry in cache.entries()] == [KEY]


def test_a_removed_engine_is_gone(cache: EngineCache, tmp_path: Path) -> None:
    cache.get_or_build(KEY, writes(b"an engine"))
    (tmp_path / f"{KEY.digest}.kernels").write_bytes(b"what a runtime compiled for it")
    cache.remove(KEY)
    assert not (tmp_path / f"{KEY.digest}.kernels").exists()
    cache.remove(KEY)
    assert cache.get(KEY) is None


def test_a_build_that_fails_leaves_nothing(cache: EngineCache, tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get_or_build(KEY, fails)
    with pytest.raises(CacheError, match="without writing an engine"):
        cache.get_or_build(KEY, str)  # touches no file
    assert {file.suffix for file in tmp_path.iterdir()} == {".lock"}


@pytest.mark.parametrize("where", ["build", "sync-1", "sync-2", "sync-3"])
def test_a_writer_killed_at_any_step_leaves_the_engine_or_nothing(
    where: str, tmp_path: Path
) -> None:
    killed = subprocess.run([sys.executable, "-c", _WRITER, str(tmp_path), where], check=False)
    assert killed.returncode == -9
    cache = EngineCache(tmp_path, limit=1000)
    assert cache.get(KEY) == (b"an engine" if where == "sync-3" else None)
    # The next engine of any kind sweeps what was left; the next of this kind is built whole.
    cache.get_or_build(replace(KEY, precision="int8"), writes(b"another"))
    kinds = {file.name.partition(".")[2] for file in tmp_path.iterdir()}
    assert kinds <= {"engine", "json", "lock", ""}
    assert cache.get_or_build(KEY, writes(b"an engine")) == b"an engine"


def test_two_processes_that_want_the_same_engine_build_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WAITER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as first:  # type: ignore[call-overload]
        assert first.stdout.readline() == b"asking\n"
        assert first.stdout.readline() == b"building\n"
        with subprocess.Popen(command, **pipes) as second:  # type: ignore[call-overload]
            assert second.stdout.readline() == b"asking\n"
            # Another engine is not held up, and its sweep leaves the one being built alone.
            other = replace(KEY, precision="int8")
            EngineCache(tmp_path, limit=1000).get_or_build(other, writes(b"another"))
            first.stdin.close()
            assert first.wait(timeout=60) == 0
            assert second.wait(timeout=60) == 0
    assert (tmp_path / "builds").read_text(encoding="utf-8") == "one\n"


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = EngineCache(tmp_path / "file" / "engines", limit=1000)
    assert cache.get(KEY) is None
    assert not cache.entries()
    with pytest.raises(CacheError, match="cannot be made"):
        cache.get_or_build(KEY, refuses)


def test_what_serves_is_never_thrown_out(tmp_path: Path) -> None:
    serving = replace(KEY, precision="int8")
    cache = EngineCache(tmp_path, limit=1000, kept=lambda: {serving.digest})
    cache.get_or_build(serving, writes(b"x" * 900))
    os.utime(tmp_path / f"{serving.digest}.json", (1, 1))
    for number in range(3):
        cache.get_or_build(replace(KEY, profile=str(number)), writes(b"x" * 300))
    assert {entry.key.precision for entry in cache.entries()} == {"int8", "fp16"}
    assert len(cache.entries()) == 2  # it, and the one just put in


def test_an_engine_is_found_with_the_digest_it_must_have(cache: EngineCache) -> None:
    assert cache.find(KEY) is None
    cache.get_or_build(KEY, writes(b"an engine"))
    found = cache.find(KEY)
    assert found is not None
    assert hashlib.sha256(found.path.read_bytes()).hexdigest() == found.sha256
    found.path.unlink()
    assert cache.find(KEY) is None


def test_what_a_killed_builder_was_writing_is_swept(cache: EngineCache, tmp_path: Path) -> None:
    left = tmp_path / f"{'b' * 64}.partial.1234.partial"
    left.touch()
    cache.get_or_build(KEY, writes(b"an engine"))
    assert not left.exists()


def test_timings_that_a_killed_builder_was_writing_are_swept(tmp_path: Path) -> None:
    store = EngineStore(tmp_path, limit=1000)
    timings = store.timings("tensorrt")
    write_whole(timings, b"whole")
    killed = subprocess.run([sys.executable, "-c", _TIMING, str(timings)], check=False)
    assert killed.returncode == -9
    (left,) = tmp_path.glob("*.partial")
    of_a_running_builder = tmp_path / f"tensorrt.timings.{os.getpid()}.partial"
    of_a_running_builder.touch()
    store.sweep_timings()
    assert not left.exists()
    assert of_a_running_builder.exists()
    assert timings.read_bytes() == b"whole"

"""A model elsewhere comes first while it can be had; no study waits long for it or is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import small_graph
from onnx import helper

from engines import Engine, EngineError
from engines.remote import read_remote
from engines.runtime import onnx_runtime
from engines.runtime.fallback import FallbackEngine

GIVEN = {"x": np.full((1, 4), 3, np.float32)}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Server:
    """An engine elsewhere that can be had, or not."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self.up = True
        self.asked = 0

    def connect(self) -> Engine:
        self.asked += 1
        if not self.up:
            raise EngineError("the server cannot be reached")
        return self._engine()


def engine(folder: Path, op: str, out: str = "logits") -> Callable[[], Engine]:
    file = folder / f"{op}.onnx"
    model = small_graph([helper.make_node(op, ["x", "x"], ["logits"])])
    onnx.save(model, file)
    return lambda: onnx_runtime.load(file)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(engine(tmp_path, "Mul"))


@pytest.fixture
def both(tmp_path: Path, server: Server, clock: Clock) -> FallbackEngine:
    return FallbackEngine(server.connect, engine(tmp_path, "Add")(), clock=clock)


def answer(one: FallbackEngine) -> float:
    return float(one.infer(GIVEN)["logits"][0, 0])


def fail(both: FallbackEngine) -> None:
    assert both._there is not None
    both._there.close()  # from here on it refuses to run


def test_the_server_answers_while_it_can(both: FallbackEngine) -> None:
    both.warm_up()
    assert answer(both) == 9
    assert both.why_not == ""


def test_what_the_server_does_not_answer_is_run_here_at_once(both: FallbackEngine) -> None:
    fail(both)
    assert answer(both) == 6
    assert "closed" in both.why_not


def test_a_server_that_failed_is_left_alone_for_a_while_and_longer_each_time(
    both: FallbackEngine, server: Server, clock: Clock
) -> None:
    server.up = False
    fail(both)
    assert answer(both) == 6
    clock.now = 29.0
    assert answer(both) == 6
    assert server.asked == 1
    clock.now = 30.0
    assert answer(both) == 6
    assert server.asked == 2
    clock.now = 89.0
    assert answer(both) == 6
    assert server.asked == 2
    server.up, clock.now = True, 90.0
    assert answer(both) == 9
    fail(both)
    assert answer(both) == 6
    clock.now += 30.0
    assert answer(both) == 9


def test_a_server_that_is_not_there_at_the_start_is_used_when_it_comes(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    server.up = False
    both = FallbackEngine(server.connect, engine(tmp_path, "Add")(), clock=clock)
    assert answer(both) == 6
    assert both.why_not == "the server cannot be reached"
    server.up, clock.now = True, 31.0
    assert answer(both) == 9


def test_a_wrong_tensor_is_the_caller_s_fault_and_not_the_server_s(both: FallbackEngine) -> None:
    with pytest.raises(EngineError, match="'x': missing"):
        both.infer({})
    assert answer(both) == 9


def test_a_model_that_lacks_an_output_is_not_used(tmp_path: Path, server: Server) -> None:
    file = tmp_path / "more.onnx"
    model = small_graph([helper.make_node("Add", ["x", "x"], ["logits"])])
    model.graph.node.append(helper.make_node("Neg", ["x"], ["far"]))
    far = helper.make_tensor_value_info("far", onnx.TensorProto.FLOAT, ("n", 4))
    model.graph.output.append(far)
    onnx.save(model, file)
    both = FallbackEngine(server.connect, onnx_runtime.load(file))
    assert both.why_not == "The model there lacks output 'far'."
    assert answer(both) == 6


def test_closing_closes_both_and_reaches_for_nothing_again(
    both: FallbackEngine, server: Server
) -> None:
    both.close()
    both.close()
    with pytest.raises(EngineError, match="closed"):
        both.infer(GIVEN)
    assert server.asked == 1


def test_a_package_s_server_is_read_with_paths_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "remote.toml"
    file.write_text(
        '[head-ct]\naddress = "inference:8001"\nauthority = "ca.pem"\n'
        '[other]\naddress = "inference:8001"\nmodel = "m"\ndeadline_s = 2.5\n'
    )
    ours = read_remote(file, "head-ct")
    assert ours is not None
    assert (ours.model, ours.deadline_s, ours.authority) == ("head-ct", 5, tmp_path / "ca.pem")
    other = read_remote(file, "other")
    assert other is not None
    assert (other.model, other.deadline_s, other.authority) == ("m", 2.5, None)
    assert read_remote(file, "a-third") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[m]\n", "[m] address"),
        ('[m]\naddress = "inference"\n', "is not host:port"),
        ('[m]\naddress = "inference:1"\nplain = true\n', "sends pixels unencrypted"),
        ('[m]\naddress = "inference:1"\ndeadline_s = 0\n', "deadline_s = 0"),
        ('[m]\naddress = "inference:1"\nadress = "x"\n', "adress is not a known key"),
        ("m = 3\n", "m = 3 is not a table"),
        ("[m\n", "remote.toml"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "remote.toml"
    file.write_text(text)
    with pytest.raises(EngineError) as caught:
        read_remote(file, "m")
    assert says in str(caught.value)
    assert "remote.toml" in str(caught.value)

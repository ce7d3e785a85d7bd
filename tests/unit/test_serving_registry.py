"""Models that come, change, fail and go while they are served."""

import asyncio
import gc
import shutil
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from monitor.errors import ModelError
from monitor.events import Schema, Task
from monitor.serving.batching import Batching
from monitor.serving.loading import Loader
from monitor.serving.measured import Meters
from monitor.serving.refusals import BadRequest, NotFound, NotReady
from monitor.serving.registry import Registry
from monitor.serving.repository import scan
from monitor.serving.requests import Answer, InferRequest, OutputWanted
from monitor.serving.row_parameters import NO_PARAMETERS
from monitor.serving.served import Served
from monitor.serving.standing import IndexEntry, State
from monitor.serving.tensors import Tensor
from monitor.serving.versions import Latest
from monitor.serving.waiting import WaitingThreads
from tests.unit.serving_models import echo, logistic, registry_of, schema, shifted, torch_export

FLOAT = 1
BROKEN = b"not a model"


def place(root: Path, name: str, shift: float = 0.0) -> Path:
    """A version that answers what it is asked plus `shift`, put there as a careful tool does: whole."""
    copy = shifted(root / ".copy", shift)
    path = root / name / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    return copy.replace(path)


def started(root: Path, *, all_must_load: bool = False, **options: Latest | tuple[str, ...]) -> Registry:
    registry = registry_of(root, versions=options.get("versions", "all"))
    registry.start(all_must_load=all_must_load)
    return registry


def request(rows: int = 1) -> InferRequest:
    return InferRequest({"x": np.zeros((rows, 2), dtype=np.float32)}, rows, None, "", NO_PARAMETERS)


def shift_of(served: Served) -> float:
    """Which file answers."""
    (output,) = served.model.run(request().feeds)
    return float(output[0, 0])


def states(registry: Registry) -> list[str]:
    return [f"{entry.name}/{entry.version} {entry.state}" for entry in registry.index()]


def reason(registry: Registry, version: str) -> str:
    return next(entry.reason for entry in registry.index() if entry.version == version)


def look(registry: Registry, times: int = 1) -> None:
    async def looks() -> None:
        for _ in range(times):
            await registry.look()

    asyncio.run(looks())


def run(call: Awaitable[None]) -> None:
    async def awaited() -> None:
        await call

    asyncio.run(awaited())


# The start


def test_every_version_is_served_and_the_newest_means_the_model(tmp_path: Path) -> None:
    for version in ("9", "10"):
        place(tmp_path, f"flights/{version}", shift=float(version))
    registry = started(tmp_path, all_must_load=True)
    assert {path: shift_of(served) for path, served in registry.infer_paths.items()} == {
        "/v2/models/flights/infer": 10.0,
        "/v2/models/flights/versions/9/infer": 9.0,
        "/v2/models/flights/versions/10/infer": 10.0,
    }
    assert registry.find("flights") is registry.find("flights", "10")
    assert (registry.names(), registry.versions("flights")) == (["flights"], ["9", "10"])
    assert registry.index() == [IndexEntry("flights", "9", State.READY, ""), IndexEntry("flights", "10", State.READY, "")]


def test_a_start_with_nothing_to_serve_says_every_reason(tmp_path: Path) -> None:
    for name in ("churn/1", "flights/1"):
        place(tmp_path, name).write_bytes(BROKEN)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError) as refused:
        started(tmp_path)
    lines = str(refused.value).splitlines()
    assert [line.partition(": ")[0].removeprefix(f"{tmp_path}/") for line in lines] == [
        "churn/1/model.onnx",
        "empty",
        "flights/1/model.onnx",
    ]


def test_an_empty_repository_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model in it; expected <model>/<version>/model\.onnx"):
        started(tmp_path)


def test_what_fails_at_the_start_stops_it_or_is_unavailable_beside_the_others(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    place(tmp_path, "flights/2").write_bytes(BROKEN)
    with pytest.raises(ModelError, match=r"flights/2/model\.onnx: is no ONNX model"):
        started(tmp_path, all_must_load=True)
    registry = started(tmp_path)
    assert states(registry) == ["flights/1 READY", "flights/2 UNAVAILABLE"]
    assert "flights/2/model.onnx: is no ONNX model" in reason(registry, "2")
    assert [entry.version for entry in registry.index(ready_only=True)] == ["1"]
    with pytest.raises(NotReady, match=r'model "flights" version 2 is not ready: .*is no ONNX model'):
        registry.find("flights", "2")
    assert registry.find("flights").codec.version == "1"


def test_without_a_repository_there_is_nothing(tmp_path: Path) -> None:
    registry = Registry()
    registry.start(all_must_load=True)
    look(registry)
    assert (registry.names(), registry.index(), dict(registry.infer_paths)) == ([], [], {})
    with pytest.raises(NotFound, match='unknown model "flights"; this server has none'):
        registry.find("flights")
    with pytest.raises(NotFound):
        run(registry.load(str(tmp_path)))


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    registry = started(tmp_path)
    for name in ("../flights", "", "flights/1", "x" * 5_000):
        with pytest.raises(NotFound, match="; this server has flights"):
            registry.find(name)
        assert not registry.is_ready(name)
    with pytest.raises(NotFound, match=r'model "flights" has no version "\.\./1"; it has 1'):
        registry.find("flights", "../1")


# Versions


@pytest.mark.parametrize(
    ("config", "served"), [(None, ["2", "3"]), ("{latest: 1}", ["3"]), ("all", ["1", "2", "3"]), ("[1, 2]", ["1", "2"])]
)
def test_a_models_own_config_chooses_its_versions_else_the_servers(config: str | None, served: list[str], tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        place(tmp_path, f"flights/{version}")
    if config is not None:
        (tmp_path / "flights" / "config.yaml").write_text(f"versions: {config}")
    registry = started(tmp_path, versions=Latest(2))
    assert registry.versions("flights") == served


def test_versions_that_are_not_chosen_say_so(tmp_path: Path) -> None:
    for version in ("1", "2"):
        place(tmp_path, f"flights/{version}")
    registry = started(tmp_path, all_must_load=True, versions=Latest(1))
    assert states(registry) == ["flights/1 UNAVAILABLE", "flights/2 READY"]
    assert reason(registry, "1") == "not among those that are served (serving.versions: {latest: 1})"


def test_the_latest_are_those_that_load(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    place(tmp_path, "flights/2").write_bytes(BROKEN)
    assert started(tmp_path, versions=Latest(1)).versions("flights") == ["1"]


def test_a_configured_version_that_is_not_there_is_told(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    (tmp_path / "flights" / "config.yaml").write_text("versions: [1, 5]")
    with pytest.raises(ModelError, match=r"flights/config\.yaml: versions: flights has no version 5; it has 1"):
        started(tmp_path, all_must_load=True)
    assert states(started(tmp_path)) == ["flights/1 READY", "flights/5 UNAVAILABLE"]


# Changes that are noticed


def test_a_new_version_is_served_when_two_looks_find_it_the_same(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", shift=1)
    registry = started(tmp_path)
    place(tmp_path, "flights/2", shift=2)
    look(registry)
    assert states(registry) == ["flights/1 READY", "flights/2 UNAVAILABLE"]
    assert reason(registry, "2") == "its files changed since the last look: it is loaded when they are the same in two"
    look(registry)
    assert states(registry) == ["flights/1 READY", "flights/2 READY"]
    assert shift_of(registry.find("flights")) == 2


def test_a_file_that_is_still_written_is_not_loaded(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", shift=1)
    registry = started(tmp_path)
    whole = shifted(tmp_path / ".whole", 2).read_bytes()
    path = tmp_path / "flights" / "1" / "model.onnx"
    for length in range(0, len(whole), 20):
        path.write_bytes(whole[:length])
        look(registry)
    assert (shift_of(registry.find("flights")), reason(registry, "1")) == (1, "")
    path.write_bytes(whole)
    look(registry, times=2)
    assert shift_of(registry.find("flights")) == 2


@pytest.mark.parametrize("beside", ["flights/config.yaml", "flights/1/config.yaml", "flights/1/weights.bin"])
def test_a_change_beside_the_model_loads_it_again(beside: str, tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    registry = started(tmp_path)
    before = registry.find("flights")
    (tmp_path / beside).write_text("{}")
    look(registry, times=2)
    assert registry.find("flights") is not before


def test_nothing_is_loaded_again_that_did_not_change(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    place(tmp_path, "churn/1").write_bytes(BROKEN)
    registry = started(tmp_path)
    before, told = registry.find("flights"), reason(registry, "1")
    look(registry, times=3)
    assert registry.find("flights") is before
    assert reason(registry, "1") == told


def test_a_failed_reload_keeps_what_was_there_and_says_why(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", shift=1)
    registry = started(tmp_path)
    (tmp_path / "flights" / "1" / "model.onnx").write_bytes(BROKEN)
    look(registry, times=2)
    assert states(registry) == ["flights/1 READY"]
    assert shift_of(registry.find("flights")) == 1
    assert reason(registry, "1").endswith("copy it again as a whole (what was loaded before still answers)")
    place(tmp_path, "flights/1", shift=2)
    look(registry, times=2)
    assert (shift_of(registry.find("flights")), reason(registry, "1")) == (2, "")


def test_a_broken_config_keeps_what_was_there_and_says_why(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    registry = started(tmp_path)
    (tmp_path / "flights" / "config.yaml").write_text("version: all")
    look(registry, times=3)
    assert states(registry) == ["flights/1 READY"]
    assert 'config.yaml: version: unknown key; did you mean "versions"?' in reason(registry, "1")


def test_a_changed_choice_of_versions_counts_when_two_looks_find_it_the_same(tmp_path: Path) -> None:
    for version in ("1", "2"):
        place(tmp_path, f"flights/{version}")
    registry = started(tmp_path)
    (tmp_path / "flights" / "config.yaml").write_text("versions: {latest: 1}")
    look(registry)
    assert registry.versions("flights") == ["1", "2"]
    look(registry)
    assert registry.versions("flights") == ["2"]


def test_the_only_version_is_not_unloaded_for_a_newer_one_that_does_not_load(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", shift=1)
    registry = started(tmp_path, versions=Latest(1))
    place(tmp_path, "flights/2").write_bytes(BROKEN)
    look(registry, times=3)
    assert registry.versions("flights") == ["1"]
    place(tmp_path, "flights/2", shift=2)
    look(registry, times=2)
    assert registry.versions("flights") == ["2"]
    shutil.rmtree(tmp_path / "flights" / "2")
    look(registry, times=2)
    assert registry.versions("flights") == ["1"]


def test_a_version_whose_folder_is_gone_is_unloaded_and_with_the_last_one_the_model(tmp_path: Path) -> None:
    for version in ("1", "2"):
        place(tmp_path, f"flights/{version}")
    place(tmp_path, "churn/1")
    registry = started(tmp_path)
    shutil.rmtree(tmp_path / "flights" / "2")
    look(registry)
    assert registry.versions("flights") == ["1", "2"]
    look(registry)
    assert registry.versions("flights") == ["1"]
    shutil.rmtree(tmp_path / "flights")
    look(registry)
    assert registry.names() == ["churn", "flights"]
    look(registry)
    assert (registry.names(), states(registry)) == (["churn"], ["churn/1 READY"])
    assert list(registry.infer_paths) == ["/v2/models/churn/infer", "/v2/models/churn/versions/1/infer"]


def test_a_model_file_that_is_gone_from_its_folder_is_being_replaced(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", shift=1)
    place(tmp_path, "flights/2", shift=2)
    registry = started(tmp_path)
    (tmp_path / "flights" / "2" / "model.onnx").unlink()
    look(registry, times=3)
    assert shift_of(registry.find("flights")) == 2
    assert reason(registry, "2") == "its folder has no model.onnx any more (what was loaded before still answers)"


def test_a_repository_that_is_away_unloads_nothing(tmp_path: Path) -> None:
    root = tmp_path / "models"
    place(root, "flights/1", shift=1)
    registry = started(root)
    root.rename(tmp_path / "away")
    look(registry, times=3)
    assert registry.is_ready("flights")
    (tmp_path / "away").rename(root)
    place(root, "flights/1", shift=2)
    look(registry, times=2)
    assert shift_of(registry.find("flights")) == 2


# Load and unload by request


def test_load_reads_a_folder_again_at_once(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", shift=1)
    registry = started(tmp_path)
    place(tmp_path, "flights/1", shift=2)
    place(tmp_path, "churn/1")
    run(registry.load("flights"))
    assert shift_of(registry.find("flights")) == 2
    assert registry.names() == ["flights"]
    run(registry.load("churn"))
    assert registry.names() == ["churn", "flights"]


def test_unload_leaves_a_model_not_ready_until_it_is_loaded(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    registry = started(tmp_path)
    run(registry.unload("flights"))
    assert registry.index() == [IndexEntry("flights", "1", State.UNAVAILABLE, "unloaded")]
    assert (registry.names(), registry.is_ready("flights"), dict(registry.infer_paths)) == ([], False, {})
    with pytest.raises(NotReady, match='model "flights" is not ready: unloaded'):
        registry.find("flights")
    run(registry.load("flights"))
    assert registry.is_ready("flights", "1")


def test_a_load_that_fails_is_the_answer_and_keeps_what_was_there(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", shift=1)
    registry = started(tmp_path)
    (tmp_path / "flights" / "1" / "model.onnx").write_bytes(BROKEN)
    with pytest.raises(BadRequest, match=r"flights/1/model\.onnx: is no ONNX model"):
        run(registry.load("flights"))
    assert shift_of(registry.find("flights")) == 1


@pytest.mark.parametrize("name", ["other", "../models/flights", "", ".", "flights/1", "flights\0"])
def test_only_what_a_scan_finds_can_be_loaded_or_unloaded(name: str, tmp_path: Path) -> None:
    place(tmp_path / "models", "flights/1")
    registry = started(tmp_path / "models")
    for act in (registry.load, registry.unload):
        with pytest.raises(NotFound, match="unknown model"):
            run(act(name))
    assert registry.is_ready("flights")


def test_a_model_whose_folder_is_gone_cannot_be_loaded_and_is_not_served(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    place(tmp_path, "churn/1")
    registry = started(tmp_path)
    shutil.rmtree(tmp_path / "flights")
    with pytest.raises(NotFound, match='unknown model "flights"; this server has churn'):
        run(registry.load("flights"))
    assert states(registry) == ["churn/1 READY"]


def test_a_model_says_that_it_is_loading(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    registry = started(tmp_path)
    place(tmp_path, "churn/1")

    async def loading() -> list[str]:
        task = asyncio.create_task(registry.load("churn"))
        seen: list[str] = []
        while not task.done():
            await asyncio.sleep(0)
            seen += [state for state in states(registry) if state.startswith("churn")]
        return list(dict.fromkeys(seen))

    assert asyncio.run(loading()) == ["churn/1 LOADING", "churn/1 READY"]


def test_who_asked_for_a_load_may_go_away(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", shift=1)
    registry = started(tmp_path)
    place(tmp_path, "flights/1", shift=2)

    async def abandoned() -> None:
        task = asyncio.create_task(registry.load("flights"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The next change waits for the one that is under way.
        with pytest.raises(NotFound):
            await registry.load("other")

    asyncio.run(abandoned())
    assert shift_of(registry.find("flights")) == 2


# Shadows


def logged(_model: str, _version: str) -> Schema:
    return Schema("flights", Task.BINARY, ("on_time", "late"), 1, 0.5, {})


def shadows_of(registry: Registry, version: str) -> list[str]:
    return [shadow.codec.version for shadow in registry.find("flights", version).shadows]


def flights(root: Path, *, shadows: str, where: str = "flights") -> Registry:
    for version in ("1", "2", "3"):
        if not (root / "flights" / version).exists():
            logistic(root / "flights" / version / "model.onnx")
    (root / where / "config.yaml").write_text(f"shadows: {shadows}")
    registry = registry_of(root, logged, versions=Latest(1))
    registry.start(all_must_load=False)
    return registry


def test_shadows_stand_beside_the_others_and_are_never_what_a_model_means(tmp_path: Path) -> None:
    registry = flights(tmp_path, shadows="3")
    assert registry.versions("flights") == ["2", "3"]
    assert registry.find("flights").codec.version == "2"
    assert (shadows_of(registry, "2"), shadows_of(registry, "3")) == (["3"], [])
    assert registry.find("flights").shadows[0] is registry.find("flights", "3")


def test_a_versions_own_config_names_its_own_shadows(tmp_path: Path) -> None:
    logistic(tmp_path / "flights" / "2" / "model.onnx")
    registry = flights(tmp_path, shadows="[1, 2]", where="flights/2")
    assert registry.find("flights", "3").shadows == ()
    assert registry.versions("flights") == ["1", "3"]
    (tmp_path / "flights" / "config.yaml").write_text("versions: [2]")
    run(registry.load("flights"))
    assert (registry.versions("flights"), shadows_of(registry, "2")) == (["1", "2"], ["1"])


def test_a_shadow_that_does_not_load_leaves_the_champion(tmp_path: Path) -> None:
    path = tmp_path / "flights" / "3" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(BROKEN)
    registry = flights(tmp_path, shadows="3")
    assert (registry.find("flights").codec.version, registry.find("flights").shadows) == ("2", ())
    assert "is no ONNX model" in reason(registry, "3")
    logistic(path)
    run(registry.load("flights"))
    assert shadows_of(registry, "2") == ["3"]


def test_a_shadow_is_replaced_without_its_champion(tmp_path: Path) -> None:
    registry = flights(tmp_path, shadows="3")
    champion = registry.find("flights")
    logistic(tmp_path / "flights" / "3" / "model.onnx", classes=("on_time", "late"))
    look(registry, times=2)
    assert registry.find("flights").model is champion.model
    assert registry.find("flights").shadows[0] is registry.find("flights", "3") is not champion.shadows[0]


def test_a_version_that_takes_other_inputs_is_no_shadow(tmp_path: Path, told: Callable[[], str]) -> None:
    torch_export(tmp_path / "flights" / "3" / "model.onnx", head="Softmax")
    registry = flights(tmp_path, shadows="3")
    look(registry, times=2)
    assert registry.find("flights").shadows == ()
    assert told().count("version 3 is no shadow of version 2: it takes input FP32 [-1, 3], not X FP32 [-1, 3]") == 1


def test_a_shadow_of_which_nothing_is_logged_is_none(tmp_path: Path, told: Callable[[], str]) -> None:
    place(tmp_path, "flights/1")
    place(tmp_path, "flights/2")
    (tmp_path / "flights" / "config.yaml").write_text("shadows: 2")
    registry = started(tmp_path)
    assert (registry.find("flights").codec.version, registry.find("flights").shadows) == ("1", ())
    assert "nothing of it would be logged, since `models` in the configuration does not name the model" in told()


# What a model's own config changes


def test_a_model_is_queued_as_its_own_config_says(tmp_path: Path) -> None:
    place(tmp_path, "flights/1")
    (tmp_path / "flights" / "config.yaml").write_text("batching: {queue_rows: 7}")
    entry = scan(tmp_path)["flights"].versions["1"]
    loader = Loader(lambda _model, _version: None, WaitingThreads(1, "run"), Meters(), batching=Batching(max_rows=5))
    assert loader.load(entry).batching == Batching(max_rows=5, queue_rows=7)


@pytest.mark.parametrize(("config", "named"), [("{}", "late"), ("labels: {probabilities: [Late, On time]}", "Late")])
def test_classes_are_named_as_the_graph_has_them_or_as_configured(config: str, named: str, tmp_path: Path) -> None:
    logistic(tmp_path / "flights" / "1" / "model.onnx", classes=("late", "on_time"))
    (tmp_path / "flights" / "config.yaml").write_text(config)
    codec = started(tmp_path).find("flights").codec
    asked = request()._replace(outputs=[OutputWanted(1, classes=1)])
    outputs = [np.array(["late"], dtype=object), np.array([[0.75, 0.25]], dtype=np.float32)]
    assert f'"0.75:0:{named}"' in codec.encode(Answer(outputs, ["a"], "a"), asked).body.decode().replace("0.750000", "0.75")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ("{other: [a, b]}", "labels.other: the model has no such output; it gives label, probabilities"),
        ("{probabilities: [a, b, c]}", "labels.probabilities: 3 names for 2 columns"),
        ("{probabilities: [on_time, late]}", "labels.probabilities: ['on_time', 'late'], where the columns are ['late', 'on_time']"),
    ],
)
def test_labels_that_do_not_fit_the_model_stop_the_start(labels: str, told: str, tmp_path: Path) -> None:
    logistic(tmp_path / "flights" / "1" / "model.onnx", classes=("late", "on_time"))
    path = tmp_path / "flights" / "config.yaml"
    path.write_text(f"labels: {labels}")
    with pytest.raises(ModelError) as refused:
        registry_of(tmp_path, lambda _model, _version: schema()).start(all_must_load=True)
    assert str(refused.value).startswith(f"{path}: {told}")


# What the runtime cannot run


@pytest.mark.parametrize(
    ("operator", "opset", "ir_version", "told"),
    [
        ("NoSuch", 18, 10, "No Op registered for NoSuch with domain_version of 18: only operators of ONNX and of ONNX Runtime itself"),
        ("Identity", 99, 10, "Opset 99 is under development"),
        ("Identity", 18, 99, ": export it for an older one, or install a newer ONNX Runtime"),
    ],
)
def test_a_model_that_the_runtime_does_not_know_is_unavailable_with_the_remedy(
    operator: str, opset: int, ir_version: int, told: str, tmp_path: Path
) -> None:
    tensors = [helper.make_tensor_value_info(name, FLOAT, [None]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "unknown", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    path = tmp_path / "flights" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())
    place(tmp_path, "churn/1")
    registry = started(tmp_path)
    (entry,) = (entry for entry in registry.index() if entry.name == "flights")
    assert entry.state is State.UNAVAILABLE
    assert entry.reason.startswith(f"{path}: ONNX Runtime ")
    assert told in entry.reason
    assert registry.is_ready("churn")


# Under load


def test_requests_go_on_through_fifty_swaps(tmp_path: Path) -> None:
    place(tmp_path, "flights/1", shift=0)
    (tmp_path / "flights" / "config.yaml").write_text("batching: {queue_rows: 1000000}")
    registry = started(tmp_path)
    swaps, answered = 50, [0, 0]

    async def client(number: int, rows: int, swapped: Callable[[], int]) -> None:
        """Asks again and again; each answer is that of a file that was there while it was asked for."""
        while (before := swapped()) < swaps:
            outputs = await registry.infer_paths["/v2/models/flights/infer"].batcher.run(request(rows))
            shifts = np.unique(outputs[0])
            assert (len(outputs[0]), len(shifts)) == (rows, 1)
            assert before <= shifts[0] <= swapped() + 1
            answered[number] += 1
            await asyncio.sleep(0)

    async def clients_and_swaps() -> None:
        done = 0
        # Runs in the event loop, which may share one, and runs in a thread.
        sizes = [1, 1, 1, 2, 20_000, 30_000]
        asking = [asyncio.create_task(client(rows > 2, rows, lambda: done)) for rows in sizes]
        for shift in range(1, swaps + 1):
            place(tmp_path, "flights/1", shift)
            await registry.load("flights")
            done = shift
        await asyncio.gather(*asking)

    asyncio.run(clients_and_swaps())
    assert shift_of(registry.find("flights")) == swaps
    assert min(answered) > swaps


@pytest.mark.parametrize("change", ["replace", "unload", "remove"])
def test_a_session_is_released_when_its_last_request_is_done(change: str, tmp_path: Path) -> None:
    place(tmp_path, "flights/1", shift=1)
    place(tmp_path, "churn/1")
    registry = started(tmp_path)

    async def changed() -> None:
        await registry.load("flights")
        holding: Served | None = registry.find("flights")
        assert holding is not None
        session = weakref.ref(holding.model.runs)
        under_way = asyncio.create_task(run_of(holding))
        await asyncio.sleep(0)
        if change == "replace":
            place(tmp_path, "flights/1", shift=2)
            await registry.load("flights")
        elif change == "unload":
            await registry.unload("flights")
        else:
            shutil.rmtree(tmp_path / "flights")
            await registry.look()
            await registry.look()
        holding = None
        assert float((await under_way)[0][0, 0]) == 1
        del under_way
        # The threads that loaded it and ran it let go of it a moment after they have told.
        async with asyncio.timeout(20):
            while session() is not None:
                gc.collect()
                await asyncio.sleep(0)

    asyncio.run(changed())


async def run_of(served: Served) -> list[Tensor]:
    return list(await served.batcher.run(request(100_000)))


def test_an_unforeseen_failure_is_one_models_own(tmp_path: Path) -> None:
    echo(tmp_path / "flights" / "1" / "model.onnx", FLOAT, [None, 2])
    place(tmp_path, "churn/1")

    def broken(model: str, _version: str) -> Schema | None:
        if model == "flights":
            raise ZeroDivisionError("nobody foresaw this")
        return None

    registry = registry_of(tmp_path, broken)
    registry.start(all_must_load=False)
    assert registry.names() == ["churn"]
    assert [entry.reason for entry in registry.index()][1] == (f"{tmp_path}/flights/1/model.onnx: ZeroDivisionError: nobody foresaw this")

"""The configuration: what is understood, what is refused and with which words, and what `config check` and `config schema` print."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner, Result

from monitor.app import cli
from monitor.config import ClockKind, Settings, Window, load
from monitor.config.log import EmbeddedLogSettings
from monitor.config.models import Corrections as SpelledCorrections
from monitor.config.objectives import Average as SpelledAverage
from monitor.config.settings import DriftMethod
from monitor.errors import ConfigError
from monitor.events import FeatureKind, Task
from monitor.join import Corrections
from monitor.quality.drift import Method
from monitor.quality.performance import Average
from monitor.stats.windows import step_of

ROOT = Path(__file__).parents[2]
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

DESIGNED = """
log:      {kind: embedded, path: data/log.db}
state:    {path: data/state}
serving:  {repository: models/, host: 127.0.0.1, port: 8000, grpc_port: 8001}
exporter: {host: 127.0.0.1, port: 9464, max_series_per_model: 5000}
clock:    wall
alarms:   {alpha: 0.01}
models:
  - name: flights
    task: binary
    owner: pricing-team
    positive_class: late
    classes: [on_time, late]
    threshold: 0.5
    features: {distance: numeric, carrier: categorical}
    reference: flights-{version}.reference
    windows: [1h, 1d, 7d]
    labels: {horizon: 14d, policy: explicit, corrections: last_wins, mature_after: learned, min_maturity: 0.9}
    segments: [carrier, [carrier, origin]]
    objectives:
      recall-page: {metric: recall, class: late, min: 0.6, window: [1d, 7d], severity: page}
      inputs: {metric: drift, max_features: 0, window: 1d, severity: ticket}
"""
SMALLEST = "log: {path: log.db}\nmodels: [{name: m, task: binary, classes: [a, b], positive_class: b}]\n"
MODEL = "  - {name: m, task: binary, classes: [a, b], positive_class: b"


def written(folder: Path, text: str, env: Mapping[str, str] | None = None) -> Settings:
    (folder / "model-monitor.yaml").write_text(text)
    return load(folder / "model-monitor.yaml", env or {})


def embedded(settings: Settings) -> EmbeddedLogSettings:
    assert isinstance(settings.log, EmbeddedLogSettings)
    return settings.log


def refusal(folder: Path, text: str, env: Mapping[str, str] | None = None) -> str:
    """What is said about the text, without the file's name at the front of each line."""
    with pytest.raises(ConfigError) as refused:
        written(folder, text, env)
    return "\n".join(line.removeprefix(f"{folder / 'model-monitor.yaml'}: ") for line in str(refused.value).splitlines())


def with_model(keys: str, rest: str = "") -> str:
    return f"log: {{path: log.db}}\n{rest}\nmodels:\n{MODEL}, {keys}}}\n"


def test_the_designed_file_is_understood(tmp_path: Path) -> None:
    settings = written(tmp_path, DESIGNED)
    model = settings.models[0]
    assert (embedded(settings).path, settings.log.partitions, settings.log.out_of_order) == (tmp_path / "data/log.db", 1, DAY)
    assert (settings.serving.repository, settings.exporter.port, settings.clock) == (tmp_path / "models", 9464, ClockKind.WALL)
    assert (model.task, model.classes, model.positive_class) == (Task.BINARY, ("on_time", "late"), "late")
    assert model.features == {"distance": FeatureKind.NUMERIC, "carrier": FeatureKind.CATEGORICAL}
    assert model.windows == (Window("1h", HOUR, 2 * MINUTE), Window("1d", DAY, HOUR), Window("7d", 7 * DAY, 6 * HOUR))
    assert (model.horizon, model.labels.mature_after) == (14 * DAY, None)
    assert (model.segments, model.dimensions) == ((("carrier",), ("carrier", "origin")), ("carrier", "origin"))
    objective = model.objectives["recall-page"]
    assert (objective.class_name, [window.text for window in objective.windows], objective.clock) == ("late", ["1d", "7d"], "mature")


def test_everything_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    settings = written(tmp_path, SMALLEST)
    assert (settings.state.path, settings.serving.repository) == (tmp_path / "data/state", None)
    assert [window.text for window in settings.models[0].windows] == ["1h", "1d", "7d"]
    assert (settings.worker.tick, embedded(settings).max_bytes, settings.models[0].horizon) == (2_000, 10_000_000_000, 14 * DAY)


def test_the_example_file_spells_the_defaults(tmp_path: Path) -> None:
    example = load(ROOT / "deploy/model-monitor.example.yaml", {}).model_dump(exclude={"models"})
    defaults = written(tmp_path, SMALLEST.replace("log.db", "data/log.db")).model_dump(exclude={"models"})
    for settings in (example, defaults):
        for section in (settings["log"], settings["state"], settings["serving"]["spool"]):
            section["path"] = section["path"].name
    assert example == defaults


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/prefix?endpoint=http://minio:9000&region=eu-west-1",
        "s3://bucket",
        "gs://bucket/prefix",
        "az://container/prefix?account=someone",
        "abfs://container@someone.dfs.core.windows.net/prefix",
    ],
)
def test_the_state_may_lie_in_an_object_store_whose_url_is_left_as_it_stands(tmp_path: Path, url: str) -> None:
    assert written(tmp_path, SMALLEST + f"state: {{path: '{url}'}}").state.path == url
    assert written(tmp_path, SMALLEST, {"MODEL_MONITOR_STATE__PATH": url}).state.path == url


def test_a_folder_of_the_state_may_be_called_shared_and_have_a_colon_in_its_name(tmp_path: Path) -> None:
    state = written(tmp_path, SMALLEST + "state: {path: 'a:b', shared: true}").state
    assert (state.path, state.shared) == (tmp_path / "a:b", True)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = written(tmp_path, SMALLEST)
    with pytest.raises(ValueError, match="frozen"):
        settings.log.partitions = 2  # type: ignore[misc]  # what is refused before the run, too


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (with_model("treshold: 0.5"), 'models[0].treshold: unknown key; did you mean "threshold"?'),
        (with_model("labels: {horizn: 3d}"), 'models[0].labels.horizn: unknown key; did you mean "horizon"?'),
        (
            with_model("objectives: {a: {metric: f1, min: 0.5, window: 1d, clas: b}}"),
            'models[0].objectives.a.clas: unknown key; did you mean "class"?',
        ),
        (SMALLEST + "exportr: {port: 1}", 'exportr: unknown key; did you mean "exporter"?'),
        (
            SMALLEST + "alarms: {qqq: 1}",
            "alarms.qqq: unknown key; expected one of alpha",
        ),
        (
            "models: [{name: m, task: binary, classes: [a, b], positive_class: b}]",
            "log: missing; write for example `log: {kind: embedded, path: data/log.db}`",
        ),
        ("log: {path: x}\nmodels: []", "models: expected a list of at least 1, not an empty list"),
        (with_model("labels: {horizon: 14}"), "models[0].labels.horizon: a length of time needs a unit: write 14s, 14m, 14h or 14d"),
        (
            with_model("labels: {horizon: soon}"),
            'models[0].labels.horizon: expected a length of time such as 45s, 30m, 24h or 14d, not "soon"',
        ),
        (with_model("labels: {horizon: 0d}"), 'models[0].labels.horizon: "0d" is out of range: expected more than 0 and at most ten years'),
        (
            with_model(f"labels: {{horizon: {'9' * 5000}d}}"),
            f'models[0].labels.horizon: "{"9" * 59}... is out of range: expected more than 0 and at most ten years',
        ),
        (
            SMALLEST.replace("log.db", "log.db, max_bytes: 1000"),
            "log.max_bytes: a size needs a unit: write 1000B, 1000kB, 1000MB or 1000GB",
        ),
        (SMALLEST.replace("log.db", "log.db, max_bytes: 10Gb"), 'log.max_bytes: expected a size such as 512kB, 16MB or 10GiB, not "10Gb"'),
        (SMALLEST + 'exporter: {port: "9464"}', 'exporter.port: expected a whole number, not "9464"'),
        (SMALLEST + "exporter: {port: 70000}", "exporter.port: expected at most 65535, not 70000"),
        (SMALLEST + "exporter: {port: true}", "exporter.port: expected a whole number, not true"),
        (SMALLEST + "alarms: {alpha: .nan}", "alarms.alpha: expected a finite number, not nan"),
        (SMALLEST + "clock: wal", "clock: expected one of 'wall' or 'watermark', not \"wal\""),
        (SMALLEST + "exporter: 9464", "exporter: expected keys and values, not 9464"),
        (
            SMALLEST + "state: {path: 'ftp://host/x'}",
            "state.path: ftp:// is no object store that is supported; name a folder, or use one of s3, gs, az, abfs, abfss://",
        ),
        (
            SMALLEST + "state: {path: [1]}",
            "state.path: expected a folder such as data/state or a URL such as s3://bucket/prefix, not a list of 1",
        ),
        (
            SMALLEST + "state: {path: 's3:bucket/x'}",
            "state.path: expected the name of a bucket or container and then a prefix, such as s3://bucket/prefix",
        ),
        (
            SMALLEST + "state: {path: 's3://key:secret@bucket/x'}",
            "state.path: a URL holds no credentials: take out what stands before the @; they come from the environment or the platform",
        ),
        (
            SMALLEST + "state: {path: 's3://bucket/x?secret_access_key=hush&region=eu-west-1'}",
            (
                "state.path: secret_access_key: no option of s3://, which takes endpoint, region; credentials and everything else come "
                "from the environment or the platform"
            ),
        ),
        (
            SMALLEST + "state: {path: 's3://bucket/a b'}",
            "state.path: a URL has no blanks and no control characters; write one in it as %20",
        ),
        (
            SMALLEST + "serving: {labels_durable: spool, spool: {enabled: false}}",
            "serving.labels_durable: needs the spool: set spool.enabled to true, or labels_durable to log",
        ),
        (
            SMALLEST + "serving: {repository: models, upstream: {url: 'http://127.0.0.1:8080'}}",
            "serving.upstream: stands in front of another server, which has the models: leave out repository, or upstream",
        ),
        (
            SMALLEST + "serving: {upstream: {url: 'https://models.example.com/v2'}}",
            "serving.upstream.url: expected the address of a server beside this one, such as http://127.0.0.1:8080",
        ),
        (SMALLEST + "serving: {model_control: poll}", "serving.model_control: poll needs a repository"),
        (
            SMALLEST + "serving: {workers: 2, cloudevents: {}}",
            "serving.workers: has to be 1 with cloudevents: an event waits for its other half in the process that received it",
        ),
        (
            with_model("tap: {hash: [carrier]}"),
            "models[0].tap.salt_file: is missing: `hash` needs a file with at least 16 random bytes as its key",
        ),
        (SMALLEST.replace("binary", "regression"), "models[0].task: regression models come with a later release; use binary or multiclass"),
        (SMALLEST.replace("binary", "multilabel"), "models[0].task: multilabel models come with a later release; use binary or multiclass"),
        (
            SMALLEST.replace("name: m,", "name: ../m,"),
            'models[0].name: "../m" cannot name a folder of the model repository; leave out / and \\',
        ),
        (SMALLEST.replace("positive_class: b", "positive_class: c"), 'models[0].positive_class: "c" is not among classes; expected a or b'),
        (SMALLEST.replace(", positive_class: b", ""), "models[0].positive_class: missing; which of a or b does the score speak of?"),
        (SMALLEST.replace("[a, b]", "[a, b, c]"), "models[0].classes: a binary model has two, not 3; is its task multiclass?"),
        (SMALLEST.replace("[a, b]", "[b, b]"), "models[0].classes: the class b is listed twice; leave one out"),
        (
            SMALLEST.replace("classes: [a, b], ", ""),
            "models[0].classes: expected at least two, in the order of the model's outputs, such as [on_time, late]",
        ),
        (with_model("threshold: 1.5"), "models[0].threshold: expected at most 1.0, not 1.5"),
        (
            with_model("windows: [1h, 10m]"),
            "models[0].windows[1]: a window is at least 24m long, so that it holds 24 panes of a minute or more",
        ),
        (with_model("windows: [1h, 1h]"), "models[0].windows: the window 1h is listed twice; leave one out"),
        (
            with_model("segments: [a, b, c, d, e, f]"),
            (
                "models[0].segments: 6 dimensions of 53 values each are 22,164,361,129 combinations, more than the 2,147,483,648 "
                "that a row's segment code can tell apart: name at most 5 dimensions"
            ),
        ),
        (
            with_model("labels: {horizon: 3h}"),
            (
                "models[0].labels.horizon: 3h is shorter than log.out_of_order (1d): an event that late would be accepted and could "
                "not join any more; lengthen the one or shorten the other"
            ),
        ),
        (
            with_model("labels: {horizon: 30d}"),
            (
                "log.retention: 30d is too short for the model m, which needs 30d horizon + 1d out_of_order + 1h = 745h; "
                "lengthen it, or shorten models[0].labels.horizon"
            ),
        ),
        (
            with_model("labels: {mature_after: 20d}"),
            (
                "models[0].labels.mature_after: 20d is longer than horizon (14d), after which no label is accepted; "
                "shorten the one or lengthen the other"
            ),
        ),
        (
            with_model("labels: {policy: {negative_after: 7d}}"),
            "models[0].labels.policy: negative_after comes with a later release; use explicit, and send the negative labels",
        ),
        (
            with_model("objectives: {a: {metric: recall, class: c, min: 0.5, window: 1d}}"),
            'models[0].objectives.a.class: "c" is not among classes; expected a or b',
        ),
        (
            with_model("objectives: {a: {metric: recall, class: b, min: 0.5, window: 2d}}"),
            "models[0].objectives.a.window: 2d is not among the model's windows; add it there, or use 1h or 1d or 7d",
        ),
        (
            with_model("objectives: {a: {metric: recall, class: b, min: 60, window: 1d}}"),
            "models[0].objectives.a.min: recall is between 0 and 1, not 60",
        ),
        (
            with_model("objectives: {a: {metric: drift, window: 1d}}"),
            "models[0].objectives.a.max_features: missing; say how many features may drift, such as 0",
        ),
        (
            with_model("objectives: {a: {metric: log_loss, window: 1d, class: b}}"),
            (
                "models[0].objectives.a.max: missing; say what log_loss has to be\n"
                "models[0].objectives.a.class: log_loss has none; leave it out"
            ),
        ),
        (SMALLEST + "log: {path: y}", 'line 3, column 1: the key "log" is there twice; leave one out'),
        (SMALLEST + "state: &x {path: y}\nserving: *x", "line 4, column 10: aliases (*name) are not allowed; write the value out"),
        (SMALLEST + "state: !!python/object/apply:os.system [echo]", None),
        ("- a\n- b", "expected keys and values such as `log: {kind: embedded, path: data/log.db}`"),
        ("log: {path", None),
        ("a: " + "[" * 100 + "]" * 100, "line 1, column 54: nested more than 50 levels deep"),
        ("#" * 1_000_001, "1,000,001 bytes, more than the 1,000,000 a configuration may have; is it the right file?"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_remedy(tmp_path: Path, text: str, complaint: str | None) -> None:
    said = refusal(tmp_path, text)
    if complaint is None:  # the reader's own words, which change with it
        assert said.startswith("line ")
    else:
        assert said == complaint


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    said = refusal(tmp_path, SMALLEST.replace("name: m", "nam: m").replace("log.db", "log.db, retention: 3") + "clock: x\n")
    assert [line.partition(": ")[0] for line in said.splitlines()] == ["log.retention", "clock", "models[0].name", "models[0].nam"]


def test_no_complaint_speaks_of_the_library_that_found_it(tmp_path: Path) -> None:
    said = refusal(
        tmp_path,
        "log: 1\nstate: {path: [1]}\nserving: {host: 1, trust_client_times: 1}\nalarms: {alpha: x}\nmodels: [1, {alert_labels: 1}]\n",
    )
    assert not {word for word in ("Input", "pydantic", "http", "validat", "instance", "dict") if word in said}


@pytest.mark.parametrize(("text", "classes"), [("[0, 1]", ("0", "1")), ("[no, yes]", ("no", "yes")), ("[01, 1e3]", None)])
def test_classes_are_the_texts_that_they_look_like(tmp_path: Path, text: str, classes: tuple[str, ...] | None) -> None:
    model = f"log: {{path: x}}\nmodels: [{{name: m, task: multiclass, classes: {text}}}]"
    if classes is None:
        assert refusal(tmp_path, model) == "models[0].classes[1]: expected a text; if it is one, write it in quotes, not 1000.0"
    else:
        assert written(tmp_path, model).models[0].classes == classes


def test_the_environment_overrides_what_is_not_a_model(tmp_path: Path) -> None:
    env = {
        "MODEL_MONITOR_LOG__PATH": "/elsewhere/log.db",
        "MODEL_MONITOR_LOG__OUT_OF_ORDER": "2h",
        "MODEL_MONITOR_EXPORTER__PORT": "9999",
        "MODEL_MONITOR_SERVING__TRUST_CLIENT_TIMES": "true",
        "MODEL_MONITOR_CLOCK": "watermark",
        "MODEL_MONITOR_LABELS_WITHOUT_MODEL": "true",
        "MODEL_MONITOR_ALARMS__ALPHA": "0.05",
        "MODEL_MONITOR_STATE__PATH": "123",
    }
    settings = written(tmp_path, DESIGNED, env)
    assert (embedded(settings).path, settings.log.out_of_order) == (Path("/elsewhere/log.db"), 2 * HOUR)
    assert (settings.exporter.port, settings.serving.trust_client_times, settings.serving.port) == (9999, True, 8000)
    assert (settings.clock, settings.labels_without_model, settings.alarms.alpha) == (ClockKind.WATERMARK, True, 0.05)
    assert settings.state.path == tmp_path / "123"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("MODEL_MONITOR_EXPORTER__PORT", "x", 'MODEL_MONITOR_EXPORTER__PORT: expected a whole number, not "x"'),
        ("MODEL_MONITOR_EXPORTER__PROT", "1", 'MODEL_MONITOR_EXPORTER__PROT: unknown key; did you mean "port"?'),
        ("MODEL_MONITOR_EXPORTR__PORT", "1", 'MODEL_MONITOR_EXPORTR__PORT: unknown section "exportr"; did you mean "exporter"?'),
        ("MODEL_MONITOR_WORKER__TICK", "2", "MODEL_MONITOR_WORKER__TICK: a length of time needs a unit: write 2s, 2m, 2h or 2d"),
        ("MODEL_MONITOR_MODELS", "[]", "MODEL_MONITOR_MODELS: models are configured in the file alone; unset the variable"),
        ("MODEL_MONITOR_MODELS__0", "x", "MODEL_MONITOR_MODELS__0: models are configured in the file alone; unset the variable"),
        (
            "MODEL_MONITOR_LOG__RETENTION",
            "3d",
            (
                "MODEL_MONITOR_LOG__RETENTION: 3d is too short for the model m, which needs 14d horizon + 1d out_of_order + 1h = 361h; "
                "lengthen it, or shorten models[0].labels.horizon"
            ),
        ),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, name: str, value: str, complaint: str) -> None:
    assert refusal(tmp_path, SMALLEST, {name: value}) == complaint


def test_what_kubernetes_puts_beside_a_service_of_our_name_is_no_override(tmp_path: Path) -> None:
    env = {"MODEL_MONITOR_PORT": "tcp://10.0.0.1:9464", "MODEL_MONITOR_SERVICE_HOST": "10.0.0.1", "MODEL_MONITOR_TEST_KAFKA": "x"}
    assert written(tmp_path, SMALLEST, env) == written(tmp_path, SMALLEST)


def test_the_file_is_the_one_named_then_the_variable_s_then_the_folder_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("named", "variable", "model-monitor"):
        Path(f"{name}.yaml").write_text(SMALLEST.replace("log.db", name))
    env = {"MODEL_MONITOR_CONFIG": "variable.yaml"}
    found = [load(Path("named.yaml"), env), load(None, env), load(None, {})]
    assert [embedded(settings).path for settings in found] == [tmp_path / "named", tmp_path / "variable", tmp_path / "model-monitor"]


def test_a_missing_file_says_where_one_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"no model-monitor\.yaml in this folder, and neither -c FILE nor MODEL_MONITOR_CONFIG names another"
    ):
        load(None, {})
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: there is no such file"):
        load(Path("nowhere.yaml"), {})
    with pytest.raises(ConfigError, match="is a folder"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    ("window", "step"),
    [
        (24 * MINUTE, MINUTE),
        (HOUR, 2 * MINUTE),
        (6 * HOUR, 15 * MINUTE),
        (DAY, HOUR),
        (7 * DAY, 6 * HOUR),
        (28 * DAY, DAY),
        (365 * DAY, DAY),
        (61 * MINUTE, MINUTE),
    ],
)
def test_the_step_is_the_largest_that_divides_the_window_and_fits_it_24_times(window: int, step: int) -> None:
    assert step_of(window) == step


def test_a_window_of_broken_minutes_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number of minutes"):
        step_of(HOUR + 1)


def check(folder: Path, text: str, *arguments: str) -> Result:
    (folder / "model-monitor.yaml").write_text(text)
    return CliRunner().invoke(cli, ["config", "check", "-c", str(folder / "model-monitor.yaml"), *arguments])


def test_config_check_shows_what_was_understood_and_what_it_costs(tmp_path: Path) -> None:
    lines = check(tmp_path, DESIGNED, "--rate", "100").stdout.splitlines()
    assert "  windows     1h in steps of 2m, 1d in steps of 1h, 7d in steps of 6h" in lines
    assert "  retention   14d horizon + 1d out_of_order + 1h = 361h, and log.retention is 30d" in lines
    assert lines[-1].startswith("  join memory 100/s x 14d x 64 B = 120,960,000 rows, 7.7 GB; raise join.rows_limit (10,000,000)")


def test_config_check_says_where_a_model_s_features_come_from(tmp_path: Path) -> None:
    assert "  features    none: inputs are not monitored" in check(tmp_path, SMALLEST).stdout.splitlines()
    from_reference = SMALLEST.replace("}]", ", reference: a.reference}]")
    assert "  features    as the reference has them" in check(tmp_path, from_reference).stdout.splitlines()


def test_config_check_refuses_with_status_2_and_says_so_on_stderr(tmp_path: Path) -> None:
    checked = check(tmp_path, SMALLEST + "exportr: {}")
    assert (checked.exit_code, checked.stdout) == (2, "")
    assert 'exportr: unknown key; did you mean "exporter"?' in checked.stderr


def test_config_schema_gives_defaults_in_the_words_of_the_file() -> None:
    schema = json.loads(CliRunner().invoke(cli, ["config", "schema"]).stdout)
    log = schema["$defs"]["EmbeddedLogSettings"]
    assert log["properties"]["retention"]["default"] == "30d"
    assert (log["required"], log["additionalProperties"], schema["required"]) == (["path"], False, ["log", "models"])
    assert {"class", "window"} <= schema["$defs"]["Objective"]["properties"].keys()


def test_help_names_every_command_and_imports_none() -> None:
    shown = CliRunner().invoke(cli, ["--help"])
    assert shown.exit_code == 0
    for name in ("demo", "serve", "watch", "reference", "log", "config", "catalogue", "model", "topics", "group"):
        assert f"\n  {name} " in shown.stdout


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [(DriftMethod, Method), (SpelledCorrections, Corrections), (SpelledAverage, Average)],
)
def test_the_words_of_the_configuration_are_those_of_the_code(spelled: object, meant: type[StrEnum]) -> None:
    """The configuration spells them for its schema, so that it need not import what they are for."""
    assert get_args(spelled) == tuple(member.value for member in meant)

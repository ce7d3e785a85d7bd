"""`model-monitor demo`: what its options say of each other."""

from click.testing import CliRunner

from monitor.app import cli


def test_a_server_elsewhere_has_its_log_already() -> None:
    refused = CliRunner().invoke(cli, ["demo", "--kafka", "localhost:9092", "--target", "http://10.0.0.7:8000"])
    assert refused.exit_code == 2
    assert "--kafka and --target exclude each other" in refused.stderr


def test_help_tells_what_kafka_is_used_for() -> None:
    said = " ".join(CliRunner().invoke(cli, ["demo", "--help"]).stdout.split())
    assert "on topics of its own (model-monitor-demo-*), made anew each time" in said

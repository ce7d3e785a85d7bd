"""Logs: one JSON object a line on a pipe, readable lines on a terminal, and no secret in either."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from monitor.logs import configure

SECRET = "hunter2"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def sign_in(password: str) -> None:
    raise RuntimeError(f"{len(password)} characters, and no luck")


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_pipe_gets_one_json_object_a_line() -> None:
    stream = io.StringIO()
    configure("info", stream)
    structlog.get_logger("monitor.worker").info("committed", partition=3)
    structlog.get_logger("monitor.worker").debug("polled")
    (line,) = lines(stream)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {"event": "committed", "partition": 3, "level": "info", "logger": "monitor.worker"}


def test_what_libraries_log_takes_the_same_way() -> None:
    stream = io.StringIO()
    configure("info", stream)
    logging.getLogger("some.library").warning("%d retries", 3, extra={"token": "abc"})
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["level"], line["token"]) == ("3 retries", "some.library", "warning", "***")


def test_a_traceback_is_in_the_line_without_the_values_of_variables() -> None:
    stream = io.StringIO()
    configure("info", stream)
    try:
        sign_in(SECRET)
    except RuntimeError:
        structlog.get_logger().exception("failed")
    (line,) = lines(stream)
    assert "RuntimeError: 7 characters" in str(line["exception"])
    assert SECRET not in stream.getvalue()


def test_secrets_are_masked() -> None:
    stream = io.StringIO()
    configure("info", stream)
    structlog.get_logger().info("connecting", sasl_plain_password="p", api_key="k", address="https://me:secret@host/path", path="/a@b")
    (line,) = lines(stream)
    assert (line["sasl_plain_password"], line["api_key"], line["address"], line["path"]) == ("***", "***", "https://***@host/path", "/a@b")


def test_a_terminal_gets_readable_lines() -> None:
    stream = Terminal()
    configure("info", stream)
    structlog.get_logger().info("committed", partition=3)
    assert "committed" in stream.getvalue()
    assert not stream.getvalue().startswith("{")

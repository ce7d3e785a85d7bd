"""The server against its own OpenAPI document: schemathesis makes valid and invalid requests of it and checks every answer.

This is the small form; `python -m tests.e2e.fuzzed` runs for as long as is wanted.
"""

import re
from pathlib import Path

import httpx

from tests.e2e.fuzzed import TOKEN, Fuzzed, serving

EXAMPLES = 30
LEAST_CASES = 500
VALUES = {"model": "flights", "version": "1"}


def test_every_answer_is_what_the_document_says(tmp_path: Path) -> None:
    """All checks: no 5xx, no undocumented status, type, header or body; valid requests are taken, invalid ones and those without a
    token are refused."""
    with serving(tmp_path) as server:
        run = server.fuzz("--max-examples", str(EXAMPLES), "--seed", "1")
        assert run.returncode == 0, run.stdout
        [cases] = re.findall(r"(\d+) generated", run.stdout)
        assert int(cases) > LEAST_CASES, run.stdout
        assert server.process.poll() is None
        _every_documented_path_is_there(server)
        labels = httpx.post(f"{server.url}/v1/labels", json={"id": "a", "label": "late"}, headers={"Authorization": f"Bearer {TOKEN}"})
        assert (labels.status_code, labels.json()) == (202, {"accepted": 1})
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def _every_documented_path_is_there(server: Fuzzed) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert {"/v1/labels", "/v1/predictions", "/v1/cloudevents", "/metrics", "/openapi.json"} < paths.keys()
    for path, operations in paths.items():
        for method in operations.keys() & {"get", "post"}:
            answer = httpx.request(method, server.url + path.format(**VALUES))
            assert answer.status_code not in (404, 405), (method, path)

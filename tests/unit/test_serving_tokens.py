"""Bearer tokens: who is let in, for which models, and what becomes of files that change, vanish or say nothing."""

import hmac
import logging
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from monitor.errors import ConfigError
from monitor.serving.http import Header
from monitor.serving.refusals import Unauthorized
from monitor.serving.tokens import EVERYBODY, Grant, TokenFile, Tokens
from tests.unit.door_parts import secret, token_file, tokens


def bearing(token: str, scheme: str = "Bearer") -> list[Header]:
    return [(b"host", b"x"), (b"authorization", f"{scheme} {token}".encode())]


def refused(known: Tokens, headers: list[Header]) -> str:
    with pytest.raises(Unauthorized) as refusal:
        known.check(headers)
    assert refusal.value.headers == ((b"www-authenticate", b"Bearer"),)
    return str(refusal.value)


def is_known(known: Tokens, token: str) -> bool:
    try:
        known.check(bearing(token))
    except Unauthorized:
        return False
    return True


def test_each_token_is_good_for_its_models(tmp_path: Path) -> None:
    known = tokens(tmp_path, airline=("flights", "delays"), everything=())
    assert known.check(bearing(secret("airline"))) == Grant(frozenset({"flights", "delays"}), "serving.doors.tokens[0]")
    airline, everything = known.check(bearing(secret("airline"))), known.check(bearing(secret("everything")))
    assert [airline.allows(model) for model in ("flights", "delays", "trains", None)] == [True, True, False, False]
    assert [everything.allows(model) for model in ("flights", "trains", None)] == [True, True, True]
    assert airline.bearer != everything.bearer


def test_without_tokens_everybody_may_do_everything() -> None:
    nobody = Tokens([])
    assert not nobody
    assert nobody.check([]) == EVERYBODY
    assert EVERYBODY.allows("flights")
    assert EVERYBODY.allows(None)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_schemes_case_and_the_spaces_behind_it_do_not_matter(tmp_path: Path, scheme: str) -> None:
    assert tokens(tmp_path, airline=()).check(bearing(secret("airline"), scheme)).allows(None)


def test_no_token_an_unknown_one_and_other_schemes_are_refused(tmp_path: Path) -> None:
    known = tokens(tmp_path, airline=())
    for headers in ([], bearing("", "Bearer"), bearing(secret("airline"), "Basic"), [(b"authorization", secret("airline").encode())]):
        assert "send the header `Authorization: Bearer TOKEN`" in refused(known, headers)
    for wrong in (secret("airline") + "x", secret("airline")[:-1], secret("airline").upper(), "x" * 60_000):
        assert "this token is unknown" in refused(known, bearing(wrong))
    assert "this token is unknown" in refused(known, [(b"authorization", b"Bearer \xff\x00\xfe")])


def test_every_token_is_compared_and_digests_of_one_length_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the time that an answer takes would tell how far a guess is right, or which token it is like."""
    known = tokens(tmp_path, first=(), second=(), third=())
    compared: list[tuple[int, int]] = []

    compare_digest = hmac.compare_digest

    def recording(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare_digest(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recording)
    known.check(bearing(secret("first")))
    assert compared == [(32, 32)] * 3


def test_one_token_in_several_files_is_good_for_the_models_of_all(tmp_path: Path) -> None:
    files = [token_file(tmp_path / name, "the-same-token-in-both") for name in ("one", "two")]
    both = Tokens([TokenFile(files[0], ("flights",)), TokenFile(files[1], ("trains",))]).check(bearing("the-same-token-in-both"))
    assert both.models == frozenset({"flights", "trains"})
    everything = Tokens([TokenFile(files[0], ("flights",)), TokenFile(files[1])]).check(bearing("the-same-token-in-both"))
    assert everything.allows(None)


def test_a_file_that_is_written_anew_is_read_again(tmp_path: Path) -> None:
    known = tokens(tmp_path, airline=())
    (tmp_path / "airline").write_text("another-token-that-is-longer")
    assert not is_known(known, secret("airline"))
    assert is_known(known, "another-token-that-is-longer")


def test_a_secret_is_rotated_as_kubernetes_does_it(tmp_path: Path) -> None:
    """The file is a link into `..data`, which is a link to a folder and is replaced by a rename; the file itself never changes."""
    for version, token in (("v1", "the-first-secret-token"), ("v2", "another-secret-token-1")):
        (tmp_path / version).mkdir()
        token_file(tmp_path / version / "token", token)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "token").symlink_to("..data/token")
    known = Tokens([TokenFile(tmp_path / "token")])
    assert is_known(known, "the-first-secret-token")
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert not is_known(known, "the-first-secret-token")
    assert is_known(known, "another-secret-token-1")


def test_a_file_that_vanishes_or_is_spoilt_leaves_its_last_token_good_and_is_told_once(tmp_path: Path) -> None:
    known = tokens(tmp_path, airline=())
    file = tmp_path / "airline"
    file.unlink()
    with capture_logs() as logs:
        assert is_known(known, secret("airline"))
        assert is_known(known, secret("airline"))
    assert [(entry["log_level"], entry["file"]) for entry in logs] == [("warning", str(file))]
    assert "cannot be read (No such file or directory)" in logs[0]["reason"]
    token_file(file, "short")
    with capture_logs() as logs:
        assert is_known(known, secret("airline"))
        assert not is_known(known, "short")
    assert [entry["log_level"] for entry in logs] == ["warning"]
    token_file(file, "yet-another-good-token")
    assert is_known(known, "yet-another-good-token")
    assert not is_known(known, secret("airline"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty: expected at least 16 characters on one line; make one with `openssl rand -hex 32`"),
        (b"\n \n", "is empty"),
        (b"fifteen-letters", "holds a token that is too short"),
        (b"the-first-of-two-tokens\nthe-second-of-two-tokens\n", "holds something else than a token: expected one line"),
        (b"not a token but a sentence", "holds something else than a token"),
        (b"\xff\xfe-this-is-not-ascii-at-all", "holds something else than a token"),
        (b"x" * 5_000, "holds something else than a token"),
    ],
)
def test_a_file_without_a_usable_token_stops_the_start_and_says_how_to_make_one(tmp_path: Path, content: bytes, told: str) -> None:
    good, bad = token_file(tmp_path / "good", secret("good")), tmp_path / "bad"
    bad.write_bytes(content)
    with pytest.raises(ConfigError) as stopped:
        Tokens([TokenFile(good), TokenFile(bad)])
    assert str(stopped.value).startswith(f"serving.doors.tokens[1].file: {bad} {told}")


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "nowhere", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"serving.doors.tokens\\[0\\].file: {path} cannot be read \\({reason}\\)"):
            Tokens([TokenFile(path)])


def test_a_file_that_everybody_can_read_is_warned_of(tmp_path: Path) -> None:
    file = token_file(tmp_path / "token", secret("airline"))
    with capture_logs() as logs:
        Tokens([TokenFile(file)])
    assert logs == []
    file.chmod(0o644)
    with capture_logs() as logs:
        Tokens([TokenFile(file)])
    assert [(entry["log_level"], entry["file"]) for entry in logs] == [("warning", str(file))]
    assert "chmod o-r" in logs[0]["remedy"]


def test_tokens_are_never_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the configured ones nor what a client sent: it may be a token with a slip in it, or one of another service."""
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs:
        known = tokens(tmp_path, airline=("flights",))
        told = [refused(known, bearing("a-token-with-a-slip-in-it")), repr(known.check(bearing(secret("airline")))), repr(known)]
        token_file(tmp_path / "airline", "two tokens of which none is good")
        known.check(bearing(secret("airline")))
        with pytest.raises(ConfigError) as stopped:
            Tokens([TokenFile(tmp_path / "airline")])
    told += [str(stopped.value), repr(stopped.value.__context__), caplog.text, repr(logs)]
    for text in told:
        assert secret("airline") not in text
        assert "slip" not in text
        assert "none is good" not in text

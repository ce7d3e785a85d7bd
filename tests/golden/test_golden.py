"""What the exporter writes is what the golden files hold, to the byte."""

import pytest

from tests.golden.texts import FOLDER, REWRITE, TEXTS


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_is_as_it_was(name: str) -> None:
    expected = (FOLDER / name).read_text()
    assert TEXTS[name]() == expected, f"tests/golden/{name} differs; if that is meant, run `{REWRITE}` and read the difference"


def test_no_golden_file_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.suffix in {".txt", ".json", ".md"}} == set(TEXTS)

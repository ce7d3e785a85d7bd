"""Rewrites the golden files: `python -m tests.golden`. Then read the difference before committing it."""

from tests.golden.texts import FOLDER, TEXTS

for name, text in TEXTS.items():
    (FOLDER / name).write_text(text())
    print(FOLDER / name)

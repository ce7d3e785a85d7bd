"""What training says of the model it made, and whether it is there to be used again.

Written last: a folder without `facts.json`, or with that of another recipe or other files, was not finished and is trained again.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from monitor.demo import recipe

FACTS: Final = "facts.json"
REFERENCE_ROWS: Final = "reference.parquet"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the fit says of itself, for the story at the end. Months are `2013-07`, by UTC, as the readings have them."""

    recipe: int
    model_sha256: str
    reference_sha256: str
    validation_roc_auc: float
    validation_precision: float
    validation_recall: float
    temp_coefficient: float
    """Change of the log-odds of a late arrival per degree Fahrenheit."""
    temp_coefficient_february: float
    """The same coefficient when only February's days are fitted."""
    temp_median: float
    recall_with_temp_held: dict[str, float]
    """Recall by month of the same model when it is told the winter's median temperature."""

    @classmethod
    def read(cls, folder: Path, model: Path) -> "Facts | None":
        """What a finished training with today's recipe left; None where there is none, or the files are not those that it wrote."""
        try:
            facts = cls(**json.loads((folder / FACTS).read_bytes()))
            found = facts.recipe, sha256(model), sha256(folder / REFERENCE_ROWS)
        except (OSError, ValueError, TypeError):
            return None
        return facts if found == (recipe.VERSION, facts.model_sha256, facts.reference_sha256) else None

    def write(self, folder: Path) -> None:
        with appearing(folder / FACTS) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2))


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Where to write a file so that it is there whole at the end, or not at all; its folder is made.

    The name is this process's own: a training that outlived its killed demo must not meet the next one's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

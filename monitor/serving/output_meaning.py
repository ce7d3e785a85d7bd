"""What a model's graph says about an output, as plain values. `onnx_meaning` reads it; who knows no graph says nothing."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

Labels = tuple[str | int, ...]
"""Classes as a model names or numbers them."""


class Scale(Enum):
    """What the numbers of an output are."""

    PROBABILITY = auto()
    OTHER = auto()
    """Certainly none: logits, margins, logarithms."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class OutputMeaning:
    """`operator` is what told `scale`; `classes` are its columns', none where the graph does not say.

    `column`: it is one column of a table, the one at this place, and `classes` are those of the whole table. `is_label`: it names the class
    of the greatest score.
    """

    scale: Scale = Scale.UNKNOWN
    operator: str = ""
    classes: Labels = ()
    column: int | None = None
    is_label: bool = False


NOTHING_SAID: Final = OutputMeaning()

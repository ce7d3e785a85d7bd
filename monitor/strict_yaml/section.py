"""What every mapping of the configuration has in common, and how one says that several of its keys do not fit together."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

Key = tuple[str | int, ...]
"""A place in the file: `("models", 0, "name")` is `models[0].name`."""

Complaint = tuple[Key, str]
"""Where, seen from the section that complains, and a sentence that says what was expected and what to do."""


class Section(BaseModel):
    """Its keys are the fields, no other is allowed, nothing is converted, nothing changes later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class Disagreement(ValueError):
    """Raised by a section's own checks with everything that is wrong between its keys."""

    def __init__(self, complaints: Iterable[Complaint]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("; ".join(sentence for _, sentence in self.complaints))

    @classmethod
    def check(cls, complaints: Iterable[Complaint]) -> None:
        """Raises itself if there is any complaint."""
        found = tuple(complaints)
        if found:
            raise cls(found)

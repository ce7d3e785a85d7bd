"""Where the profile of a version lies: the configured path with its `{version}` filled in, and the model's own as a fallback."""

import glob
import hashlib
import re
from pathlib import Path
from typing import Final

PLACEHOLDER: Final = "{version}"
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._-]")
_NAME_BYTES: Final = 120
"""What a version may take of a file name (255 bytes nearly everywhere); a longer one ends in its digest instead."""


def reference_path(template: Path | str, version: str) -> Path:
    """The path of a version's profile; for version "", the model's, that of the template without placeholder.

    `flights-{version}.reference` is `flights-7.reference` for version 7 and `flights.reference` for the model. Whatever the version says,
    it is part of one file name: bytes that are not `[A-Za-z0-9._-]` are percent-encoded, and so is a dot in front.
    """
    text = str(template)
    if version:
        return Path(text.replace(PLACEHOLDER, _safe(version)))
    without = re.sub(r"[-_.]" + re.escape(PLACEHOLDER), "", text)
    return Path(re.sub(re.escape(PLACEHOLDER) + r"[-_/]?", "", without))


def find_reference(template: Path | str, version: str) -> Path | None:
    """The version's own profile if that file exists, else the model's, else None."""
    candidates = (reference_path(template, version), reference_path(template, ""))
    return next((path for path in candidates if path.is_file()), None)


def all_references(template: Path | str) -> list[Path]:
    """Every profile that a template names, the model's and those of its versions, by name."""
    pattern = Path(glob.escape(str(template)).replace(glob.escape(PLACEHOLDER), "*"))
    named = [Path(name) for name in glob.glob(str(pattern))]  # noqa: PTH207  a template has no fixed folder to start from
    return sorted(path for path in {*named, reference_path(template, "")} if path.is_file())


def _safe(version: str) -> str:
    encoded = _UNSAFE.sub(lambda byte: b"%%%02X" % ord(byte[0]), version.encode("utf-8", "surrogatepass")).decode("ascii")
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) <= _NAME_BYTES:
        return encoded
    return encoded[: _NAME_BYTES - 17] + "-" + hashlib.sha256(encoded.encode("ascii")).hexdigest()[:16]

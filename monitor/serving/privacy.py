"""What a model's predictions may say once they leave this process: which of them are logged, which features, and which only as hashes.

The rules are for features and segments alike, wherever they come from: inputs, `parameters`, or events at the door. Ids are kept as they
are, since labels have to find them: an id that is personal data has to be made another one before it is sent.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from monitor.codec.columns import category_text
from monitor.codec.identity import digest
from monitor.codec.json_frames import Event
from monitor.codec.predictions import FIELDS
from monitor.errors import ConfigError
from monitor.events import Bools, FeatureKind, Int64s, Schema
from monitor.join.sample import in_sample

HASH_BYTES: Final = 16
"""Of a hash, in the log as 32 hexadecimal digits: no two of 10^9 values meet with a chance of more than 1.5e-21."""
SALT_BYTES: Final = 16
"""The least that a salt has: one that can be guessed hides nothing, since anybody can hash all postcodes."""

_GROUPS: Final = ("features", "segments")


@dataclass(frozen=True, slots=True)
class Privacy:
    """The rules of one model. `allow` None allows every name; what is dropped is dropped though it is allowed or hashed.

    A hash is BLAKE2b of the text, keyed with the salt: the same in every worker and after every restart.
    """

    sample: float = 1.0
    allow: frozenset[str] | None = None
    drop: frozenset[str] = frozenset()
    hashed: frozenset[str] = frozenset()
    salt: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if self.hashed and len(self.salt) < SALT_BYTES:
            raise ConfigError(f"hashing {', '.join(sorted(self.hashed))} needs a salt of at least {SALT_BYTES} bytes: name a salt_file")

    @property
    def limits_names(self) -> bool:
        """Whether anything is kept back of a prediction that is logged."""
        return self.allow is not None or bool(self.drop) or bool(self.hashed)

    def check(self, schema: Schema) -> None:
        """Raises `ConfigError` where a number is to be hashed: its reader would find a text."""
        numeric = sorted(name for name in self.hashed if schema.features.get(name) is FeatureKind.NUMERIC)
        if numeric:
            raise ConfigError(
                f"model {schema.name}: tap.hash: {', '.join(numeric)} is numeric, and only texts can be hashed: drop it instead"
            )

    def keeps(self, name: str) -> bool:
        """Whether a feature or dimension is logged, hashed or not."""
        return name not in self.drop and (self.allow is None or name in self.allow)

    def samples(self, ids: Sequence[str]) -> Bools:
        """(n,) which rows are logged: by their ids, so that `join.sample` of the same share keeps the same ones."""
        return in_sample(digest(pa.array(ids, pa.string())), self.sample)

    def columns(self, columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
        """Those that are logged, by name."""
        return {
            name: self._hashed_column(column) if name in self.hashed else column for name, column in columns.items() if self.keeps(name)
        }

    def event(self, event: Event) -> Event:
        """A prediction in JSON as it may be logged. Fields that no reader knows are left out: they may say anything."""
        if not self.limits_names:
            return event
        kept = {name: value for name, value in event.items() if name in FIELDS}
        for group in _GROUPS:
            values = kept.get(group)
            if isinstance(values, dict):
                kept[group] = {name: self._hashed_value(name, value) for name, value in values.items() if self.keeps(name)}
        return kept

    def _hashed_column(self, column: pa.Array) -> pa.Array:
        encoded = column.dictionary_encode()
        hashes = [self._hashed(category_text(value)) for value in encoded.dictionary.to_pylist()]
        return pa.array(hashes, pa.string()).take(encoded.indices)

    def _hashed_value(self, name: str, value: Any) -> Any:  # noqa: ANN401  a JSON value
        if name not in self.hashed or value is None:
            return value
        # What is neither text nor number is no category; its reader refuses it, so it need not leave.
        return self._hashed(category_text(value)) if isinstance(value, str | int | float) else None

    def _hashed(self, text: str) -> str:
        key = self.salt if len(self.salt) <= hashlib.blake2b.MAX_KEY_SIZE else hashlib.blake2b(self.salt).digest()
        return hashlib.blake2b(text.encode(), key=key, digest_size=HASH_BYTES).hexdigest()


OPEN: Final = Privacy()
"""Everything is logged as it is."""


def loggable(events: Sequence[Event], privacy: Mapping[str, Privacy]) -> tuple[list[Event], Int64s]:
    """Predictions in JSON as they may be logged, without those that are not sampled, and where they stood. `privacy` is by model."""
    kept = np.ones(len(events), dtype=np.bool_)
    for model, rules in privacy.items():
        if rules.sample < 1.0:
            own = [row for row, event in enumerate(events) if event.get("model") == model]
            kept[own] = rules.samples([str(events[row]["id"]) for row in own])
    rows = np.flatnonzero(kept)
    return [privacy.get(str(events[row].get("model")), OPEN).event(events[row]) for row in rows.tolist()], rows


def salt_of(path: Path) -> bytes:
    """What the file holds, white space at its ends left out. Raises `ConfigError`."""
    try:
        salt = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{path}: the salt_file of tap.hash cannot be read ({error.strerror})") from error
    if len(salt) < SALT_BYTES:
        raise ConfigError(f"{path}: the salt has {len(salt)} bytes; expected at least {SALT_BYTES}, such as `openssl rand -hex 32` gives")
    return salt

"""Where files may be kept: in a folder, or under a prefix in an object store that an URL names."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import PlainValidator, WithJsonSchema

from monitor.strict_yaml.quantities import shown

OPTIONS: Final = {
    "s3": ("endpoint", "region"),
    "gs": ("endpoint",),
    "az": ("endpoint", "account"),
    "abfs": ("endpoint", "account"),
    "abfss": ("endpoint", "account"),
}
"""By scheme: what may follow the `?` of a URL, as `name=value` with `&` between them."""


def place(value: object) -> Path | str:
    """A folder's path, or the URL of an object store as it stands. Raises ValueError, which repeats nothing that may be a secret."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a folder such as data/state or a URL such as s3://bucket/prefix, not {shown(value)}")
    scheme, colon, rest = value.partition(":")
    if not colon or not (rest.startswith("//") or scheme in OPTIONS):
        return Path(value)
    if scheme not in OPTIONS:
        raise ValueError(f"{scheme}:// is no object store that is supported; name a folder, or use one of {', '.join(OPTIONS)}://")
    _check_url(scheme, value)
    return value


def _check_url(scheme: str, url: str) -> None:
    if not url.isprintable() or any(map(str.isspace, url)):
        raise ValueError("a URL has no blanks and no control characters; write one in it as %20")
    parts = urlsplit(url)
    container, at, _ = parts.netloc.rpartition("@")
    is_azure_account = scheme.startswith("abfs") and ":" not in container
    if at and not is_azure_account:
        raise ValueError("a URL holds no credentials: take out what stands before the @; they come from the environment or the platform")
    if not parts.netloc or parts.fragment:
        raise ValueError(f"expected the name of a bucket or container and then a prefix, such as {scheme}://bucket/prefix")
    unknown = sorted({option for option, _ in parse_qsl(parts.query, keep_blank_values=True)} - set(OPTIONS[scheme]))
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)}: no option of {scheme}://, which takes {', '.join(OPTIONS[scheme])}; "
            "credentials and everything else come from the environment or the platform"
        )


Place = Annotated[Path | str, PlainValidator(place), WithJsonSchema({"type": "string", "examples": ["data/state", "s3://bucket/prefix"]})]
"""A Path is a folder, a str the URL of an object store."""

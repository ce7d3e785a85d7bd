"""From a file and an environment to `Settings`, or to a `ConfigError` with every complaint on a line of its own."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from monitor.config.security import ENVIRONMENT_ONLY
from monitor.config.settings import Settings
from monitor.errors import ConfigError
from monitor.strict_yaml.document import parse
from monitor.strict_yaml.explaining import complaints, nearest
from monitor.strict_yaml.section import Key

FILE_VARIABLE: Final = "MODEL_MONITOR_CONFIG"
ENVIRONMENT_PREFIX: Final = "MODEL_MONITOR_"
NESTING: Final = "__"
DEFAULT_FILE: Final = Path("model-monitor.yaml")
SECTION_EXAMPLE: Final = "log: {kind: embedded, path: data/log.db}"
EXAMPLE: Final = "deploy/model-monitor.example.yaml is one to start from"


class _Environment(EnvSettingsSource):
    """Takes a list as JSON, or as its items with commas between them; what is neither is left to the validator to complain about."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401  the library's signature
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            is_list = get_origin(field.annotation) is tuple
            return [item.strip() for item in value.split(",")] if is_list else value


class _Overridable(Settings, BaseSettings):
    """The same fields, for the reader of environment variables, which asks for a class of its own kind."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter=NESTING)


def load(path: Path | None, env: Mapping[str, str]) -> Settings:
    """Settings from the file at `path`, else the one that `MODEL_MONITOR_CONFIG` names, else `./model-monitor.yaml`.

    `MODEL_MONITOR_SECTION__KEY` in `env` overrides any key outside `models`. Raises ConfigError.
    """
    file = _file(path, env)
    try:
        document = parse(_read(file), SECTION_EXAMPLE)
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error
    variables = _variables(env)
    found = [f"{file}: {complaint}" for complaint in _secrets_in(document)]
    try:
        settings = Settings.model_validate(_merged(document, _overrides(variables)))
    except ValidationError as error:
        spelled = {_key(name): name for name in variables}
        raise ConfigError("\n".join([*found, *complaints(error, Settings, str(file), spelled)])) from error
    if found:
        raise ConfigError("\n".join(found))
    return settings.relative_to(file.parent.absolute())


def _secrets_in(document: Mapping[str, object]) -> Iterator[str]:
    """A complaint for each secret that the file itself holds."""
    for key in ENVIRONMENT_ONLY:
        section: object = document
        for part in key[:-1]:
            section = section.get(part) if isinstance(section, Mapping) else None
        if isinstance(section, Mapping) and key[-1] in section:
            variable = ENVIRONMENT_PREFIX + NESTING.join(map(str, key)).upper()
            yield f"{'.'.join(map(str, key))}: a secret does not belong in this file; name a {key[-1]}_file, or set {variable}"


def _file(path: Path | None, env: Mapping[str, str]) -> Path:
    if path is not None:
        return path
    if env.get(FILE_VARIABLE):
        return Path(env[FILE_VARIABLE])
    if not DEFAULT_FILE.exists():
        raise ConfigError(
            f"no configuration: there is no {DEFAULT_FILE} in this folder, and neither -c FILE nor {FILE_VARIABLE} names another; {EXAMPLE}"
        )
    return DEFAULT_FILE


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: there is no such file; check the path that -c or {FILE_VARIABLE} names ({EXAMPLE})") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{file}: is a folder; name the YAML file in it") from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; check its permissions") from error


def _variables(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that are overrides, by their names.

    A name without `__` is one only if it is a whole top-level key: Kubernetes puts `MODEL_MONITOR_PORT` and the like into every
    pod beside a service called model-monitor.
    """
    sections = {name for name, field in Settings.model_fields.items() if _is_section(field.annotation)}
    values = Settings.model_fields.keys() - sections - {"models"}
    variables, unknown = {}, []
    for name in sorted(env):
        key = _key(name)
        if not name.upper().startswith(ENVIRONMENT_PREFIX) or (len(key) == 1 and key[0] not in {*values, "models"}):
            continue
        if key[0] == "models":
            unknown.append(f"{name}: models are configured in the file alone; unset the variable")
        elif len(key) > 1 and key[0] not in sections:
            unknown.append(f'{name}: unknown section "{key[0]}"; {nearest(str(key[0]), sorted(sections))}')
        variables[name] = env[name]
    if unknown:
        raise ConfigError("\n".join(unknown))
    return variables


def _key(name: str) -> Key:
    return tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split(NESTING))


def _is_section(annotation: object) -> bool:
    """Also where it is a section of several kinds."""
    if isinstance(annotation, type):
        return issubclass(annotation, BaseModel)
    return any(map(_is_section, get_args(annotation)))


def _overrides(variables: Mapping[str, str]) -> dict[str, object]:
    source = _Environment(_Overridable)
    source.env_vars = {name.lower(): value for name, value in variables.items()}
    return dict(source())


def _merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Both trees in one; where both have a value, that of `above`."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = _merged(lower, value) if isinstance(value, Mapping) and isinstance(lower, Mapping) else value
    return merged

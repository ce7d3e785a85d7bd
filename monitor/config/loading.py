"""From a file and an environment to `Settings`, or to a `ConfigError` with every complaint on a line of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from monitor.config.document import parse
from monitor.config.explaining import complaints, nearest
from monitor.config.section import Key
from monitor.config.settings import Settings
from monitor.errors import ConfigError

FILE_VARIABLE: Final = "MODEL_MONITOR_CONFIG"
ENVIRONMENT_PREFIX: Final = "MODEL_MONITOR_"
NESTING: Final = "__"
DEFAULT_FILE: Final = Path("model-monitor.yaml")
EXAMPLE: Final = "deploy/model-monitor.example.yaml is one to start from"


class _Overridable(Settings, BaseSettings):
    """The same fields, for the reader of environment variables, which asks for a class of its own kind."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter=NESTING)


def load(path: Path | None, env: Mapping[str, str]) -> Settings:
    """Settings from the file at `path`, else the one that `MODEL_MONITOR_CONFIG` names, else `./model-monitor.yaml`.

    `MODEL_MONITOR_SECTION__KEY` in `env` overrides any key outside `models`. Raises ConfigError.
    """
    file = _file(path, env)
    try:
        document = parse(_read(file))
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from error
    variables = _variables(env)
    try:
        settings = Settings.model_validate(_merged(document, _overrides(variables)))
    except ValidationError as error:
        spelled = {_key(name): name for name in variables}
        raise ConfigError("\n".join(complaints(error, Settings, str(file), spelled))) from error
    return settings.relative_to(file.parent.absolute())


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
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _overrides(variables: Mapping[str, str]) -> dict[str, object]:
    source = EnvSettingsSource(_Overridable)
    source.env_vars = {name.lower(): value for name, value in variables.items()}
    return dict(source())


def _merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Both trees in one; where both have a value, that of `above`."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = _merged(lower, value) if isinstance(value, Mapping) and isinstance(lower, Mapping) else value
    return merged

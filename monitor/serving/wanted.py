"""Which outputs a request asks for, and in which form: as JSON or bytes, the tensor itself or its best classes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from monitor.serving.refusals import BadRequest
from monitor.serving.requests import OutputWanted
from monitor.serving.tensors import TensorSpec, json_type
from monitor.serving.triton_parameters import flag, refuse_shared_memory

Asked = Iterable[tuple[object, object]]
"""Names and parameters as a request has them, unchecked."""

_NOT_SCORES = ("BYTES", "BOOL")


class Outputs:
    """A model's outputs, by the names that requests ask for them."""

    def __init__(self, model: str, outputs: Sequence[TensorSpec]) -> None:
        self._model = model
        self._specs = outputs
        self._index = {spec.name: index for index, spec in enumerate(outputs)}
        self._all_binary = tuple(OutputWanted(index, binary=True) for index in range(len(outputs)))

    def wanted(self, asked: Asked, *, binary: bool) -> Sequence[OutputWanted] | None:
        """Those asked for, in that order; all of them where it is none. `binary` is what holds where an output does not say.

        None stands for all in the usual form. Raises `BadRequest`, at the first unknown or repeated name.
        """
        chosen: dict[int, OutputWanted] = {}
        for name, parameters in asked:
            index = self._index.get(name) if type(name) is str else None
            if index is None:
                raise BadRequest(f'unknown output {quoted(name)}: model "{self._model}" gives {described(self._specs)}')
            if index in chosen:
                raise BadRequest(f'output "{name}" is asked for twice')
            chosen[index] = _in_form(index, self._specs[index], parameters, binary)
        if chosen:
            return tuple(chosen.values())
        return self._all_binary if binary else None


def asked_in_json(outputs: list[Any]) -> Iterator[tuple[object, object]]:
    """What the JSON of a request has under `outputs`. Raises `BadRequest`."""
    for output in outputs:
        if type(output) is not dict:
            raise BadRequest(f'each of "outputs" must be an object, not {json_type(output)}')
        yield output.get("name"), output.get("parameters")


def described(specs: Sequence[TensorSpec]) -> str:
    """Inputs or outputs in an error message, the first twenty of them."""
    shown = ", ".join(f'"{spec.name}" ({spec.datatype} {list(spec.shape)})' for spec in specs[:20])
    return shown if len(specs) <= 20 else f"{shown} and {len(specs) - 20} more"


def quoted(value: object) -> str:
    """A client's value in an error message: short whatever was sent."""
    if not isinstance(value, str):
        return json_type(value)
    return f'"{value[:80]}…"' if len(value) > 80 else f'"{value}"'


def _in_form(index: int, spec: TensorSpec, parameters: object, binary: bool) -> OutputWanted:
    if not parameters:
        return OutputWanted(index, binary)
    where = f'output "{spec.name}"'
    if not isinstance(parameters, Mapping):
        raise BadRequest(f'{where}: "parameters" must be an object, not {json_type(parameters)}')
    refuse_shared_memory(parameters, where)
    return OutputWanted(index, flag(parameters, "binary_data", where, default=binary), _classes(spec, parameters, where))


def _classes(spec: TensorSpec, parameters: Mapping[str, object], where: str) -> int:
    classes = parameters.get("classification")
    if classes is None:
        return 0
    if type(classes) is not int or classes < 1:
        wrong = str(classes) if type(classes) is int else json_type(classes)
        raise BadRequest(f'{where}: "classification" must be the number of classes to name, at least 1, not {wrong}')
    if spec.datatype in _NOT_SCORES:
        raise BadRequest(f'{where}: "classification" needs numbers to compare, and this output is {spec.datatype}')
    return classes

"""A component's constructor as a schema: the signature says what a recipe's ``args`` may be."""

from __future__ import annotations

import functools
import inspect
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError

from ganzoo.errors import PluginError
from ganzoo.registry import Entry, constructor_parameters

# Core passes these to every constructor that declares them; a recipe never does.
INJECTED = {
    "img_resolution": "it is data.img_resolution",
    "img_channels": "it comes from the data (data.img_channels)",
    "c_dim": "it comes from the labels of the data (data.labels)",
    "world_size": "it is the number of processes",
    "in_channels": "it comes from the images to translate (data.inputs)",
    "paired": "it comes from the kind of data.inputs",
    "num": "it is the number of images to measure",
    "weights": "it is the path of a file, where one is given",
    "device": "it is where to compute",
    "allow_download": "only the command line can allow it",
}


@functools.cache
def args_model(entry: Entry) -> type[BaseModel]:
    """A pydantic model of the arguments that a recipe may give. Raises PluginError if the annotations are unusable."""
    fields: dict[str, Any] = {}
    try:
        hints = get_type_hints(entry.cls.__init__, include_extras=True)  # type: ignore[misc]
        for name, parameter in constructor_parameters(entry.cls).items():
            if name not in INJECTED:
                default = ... if parameter.default is inspect.Parameter.empty else parameter.default
                fields[name] = (_lists_for_tuples(hints[name]), default)
        config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=False, protected_namespaces=())
        return create_model(f"{entry.kind} {entry.name}", __config__=config, **fields)
    except (NameError, TypeError, PydanticUserError) as error:
        raise PluginError(
            f"{entry.kind} {entry.name!r} of {entry.owner}: its constructor's annotations cannot be checked: {error}"
        ) from error


def _lists_for_tuples(annotation: Any) -> Any:
    # YAML has no tuples, and pydantic's strict mode takes no list for one.
    inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    options = get_args(inner) if get_origin(inner) in (Union, types.UnionType) else (inner,)
    if any(option is tuple or get_origin(option) is tuple for option in options):
        return Annotated[annotation, Field(strict=False)]
    return annotation

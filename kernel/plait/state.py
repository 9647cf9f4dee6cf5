"""Schemas, channels, deltas, and the one fold by which state changes.

State is a dict of channel values, which is never changed once made: a write makes a new dict
that shares all other values. So a fork costs nothing, a snapshot is a reference, and a branch
sees what it saw. A node gets an instance of the schema around a shallow copy of that dict.
"""

from __future__ import annotations

import collections
import collections.abc
import copy
import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import pydantic
import typing_extensions

from .errors import GraphError, InputError, MutationError, ReducerError, WriteError
from .events import BranchPath, ChannelName, NodeName, Writes
from .reducers import MISSING, Reducer, as_reducer

__all__ = ["Channel", "NodeWrites", "Overwrite", "Schema", "Values"]

T = TypeVar("T")

Values = dict[ChannelName, Any]
"""The values of all channels that have one. Never changed once made."""


class NodeWrites(NamedTuple):
    """One entry of a delta: what one node wrote."""

    node: NodeName
    writes: Writes
    branch: BranchPath = ()
    """The branch that wrote it."""
    children: int = 0
    """How many branches that branch had forked before."""
    taken: tuple[tuple[BranchPath, int], ...] = ()
    """The branches into which sync points have merged it, and how many each had forked before."""


class Overwrite(Generic[T]):
    """A write that replaces what its branch sees, past the channel's reducer.

    A concurrent write of another branch to the same channel is a ``ConflictError``.
    """

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value: T = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Overwrite) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash((Overwrite, self.value))

    def __repr__(self) -> str:
        return f"Overwrite({self.value!r})"


class Channel(NamedTuple):
    """A field of the schema."""

    name: ChannelName
    expected: str
    """Its type, in words for messages."""
    reducer: Reducer[Any] | None
    """``None`` for an exclusive channel."""
    make_default: Callable[[], Any] | None
    """Makes the value with which the channel starts; ``None`` if it has none."""
    required: bool
    """An input must give it where the thread has no value yet."""
    validate: Callable[[Any], Any] | None
    """Checks and converts a write; ``None`` where the schema does not validate."""
    validate_value: Callable[[Any], Any] | None
    """The same for a whole value (an ``Overwrite``)."""

    @property
    def live(self) -> bool:
        """Whether its writes are visible to every branch at once."""
        return self.reducer is not None and self.reducer.live


class Schema:
    """The channels of a graph, and everything that is done with their values.

    Takes a pydantic model, a dataclass or a ``TypedDict``.
    """

    def __init__(self, type_: type, graph: str) -> None:
        self.type = type_
        self.name: str = getattr(type_, "__name__", repr(type_))
        fields, make_instance = _read(type_, graph)
        self.channels: dict[ChannelName, Channel] = {field.name: field for field in fields}
        self.live: frozenset[ChannelName] = frozenset(field.name for field in fields if field.live)
        self.exclusive: frozenset[ChannelName] = frozenset(
            field.name for field in fields if field.reducer is None
        )
        self.lattice: frozenset[ChannelName] = frozenset(
            field.name
            for field in fields
            if field.reducer is not None and field.reducer.law_class == "lattice"
        )
        self.instance: Callable[[Values], Any] = make_instance
        """Make what a node sees; the dict is copied, the values are not."""
        self._reducers = {field.name: field.reducer for field in fields}
        unchecked = [field for field in fields if field.validate is None]
        self._takes_items = frozenset(
            field.name for field in unchecked if field.reducer is not None and field.reducer.items
        )
        """Channels that take a list as it is, and anything else as its only item."""
        self._as_given = frozenset(field.name for field in unchecked) - self._takes_items
        """Channels that take any value as it is."""

    # -- the door -----------------------------------------------------------------------------

    def initial_values(self) -> Values:
        """The values of a new thread, before its first input."""
        return {
            channel.name: channel.make_default()
            for channel in self.channels.values()
            if channel.make_default is not None
        }

    def check_writes(self, node: NodeName, output: Any) -> Writes:
        """Turn what a node returned into writes. Raises ``WriteError``."""
        if type(output) is not dict:
            if output is None:
                return ()
            if not isinstance(output, Mapping):
                raise WriteError(
                    node, None, "a mapping of channels to values, None or a Command", output
                )
        as_given = self._as_given
        for channel, value in output.items():
            if channel in as_given:
                if type(value) is Overwrite:
                    break
            elif type(value) is not list or channel not in self._takes_items:
                break
        else:  # nothing has to be looked into
            return tuple(output.items())
        return tuple(
            [(channel, self._check(node, channel, value)) for channel, value in output.items()]
        )

    def _check(self, node: NodeName, name: ChannelName, value: Any) -> Any:
        channel = self.channels.get(name)
        if channel is None:
            known = ", ".join(map(repr, self.channels))
            raise WriteError(node, str(name), f"one of the channels of {self.name}: {known}", value)
        if isinstance(value, Overwrite):
            if channel.live:
                raise WriteError(
                    node, name, "a plain write: a live channel cannot be overwritten", value
                )
            checked = self._validated(node, channel, channel.validate_value, value.value)
            return Overwrite(checked) if channel.reducer is not None else checked
        if channel.reducer is not None and channel.reducer.items and not isinstance(value, list):
            value = [value]
        return self._validated(node, channel, channel.validate, value)

    @staticmethod
    def _validated(
        node: NodeName, channel: Channel, validate: Callable[[Any], Any] | None, value: Any
    ) -> Any:
        if validate is None:
            return value
        try:
            return validate(value)
        except pydantic.ValidationError as error:
            details = "; ".join(_describe(fault) for fault in error.errors(include_url=False))
            raise WriteError(
                node, channel.name, f"{channel.expected} ({details})", value
            ) from error

    def check_input(self, values: Values, given: Any) -> Writes:
        """Turn a run's input into writes over the thread's values. Raises ``InputError``."""
        if given is None:
            given = {}
        elif isinstance(given, pydantic.BaseModel) and isinstance(given, self.type):
            given = {name: getattr(given, name) for name in given.model_fields_set}
        elif dataclasses.is_dataclass(given) and isinstance(given, self.type):
            given = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
        if not isinstance(given, Mapping):
            raise InputError(
                self.name, [f"expected a mapping or a {self.name}, got {type(given).__name__}"]
            )
        faults: list[str] = []
        writes: list[tuple[ChannelName, Any]] = []
        for name, value in given.items():
            try:
                writes.append((name, self._check("the input", name, value)))
            except WriteError as error:
                faults.append(f"{name!r}: got {error.value!r:.80}, expected {error.expected}")
        faults += [
            f"{channel.name!r} is required and has no default: give it"
            for channel in self.channels.values()
            if channel.required and channel.name not in values and channel.name not in given
        ]
        if faults:
            raise InputError(self.name, faults)
        return tuple(writes)

    # -- the fold -----------------------------------------------------------------------------

    def fold(self, values: Values, delta: Sequence[NodeWrites]) -> Values:
        """The values after a delta. Linear in the delta, however long the values are.

        Raises ``ReducerError`` where a reducer does.
        """
        result = values.copy()
        pending: dict[ChannelName, list[Any]] = {}
        reducers = self._reducers
        for entry in delta:
            for channel, value in entry.writes:
                if type(value) is Overwrite:
                    pending.pop(channel, None)
                    result[channel] = value.value
                elif reducers[channel] is None:
                    result[channel] = value
                elif channel in pending:
                    pending[channel].append(value)
                else:
                    pending[channel] = [value]
        for channel, batch in pending.items():
            reducer = reducers[channel]
            assert reducer is not None
            try:
                result[channel] = reducer.fold(result.get(channel, MISSING), batch)
            except Exception as error:
                raise self._blame(values, delta, channel, error) from error
        return result

    def fold_one(self, values: Values, entry: NodeWrites) -> Values:
        """The same for what one node wrote: nothing is gathered first."""
        result = values.copy()
        for channel, value in entry.writes:
            reducer = self._reducers[channel]
            if type(value) is Overwrite:
                result[channel] = value.value
            elif reducer is None:
                result[channel] = value
            else:
                try:
                    result[channel] = reducer.fold(result.get(channel, MISSING), (value,))
                except Exception as error:
                    raise self._blame(values, [entry], channel, error) from error
        return result

    def _blame(
        self, values: Values, delta: Sequence[NodeWrites], channel: ChannelName, cause: Exception
    ) -> ReducerError:
        """Find the write at which the reducer raised, by folding one at a time."""
        reducer = self._reducers[channel]
        assert reducer is not None
        value = values.get(channel, MISSING)
        node, write = "the input", MISSING
        for entry in delta:
            node = entry.node
            for name, write in entry.writes:
                if name != channel:
                    continue
                try:
                    value = (
                        write.value
                        if isinstance(write, Overwrite)
                        else reducer.fold(value, [write])
                    )
                except Exception as error:
                    return ReducerError(channel, node, write, error)
        return ReducerError(channel, node, write, cause)

    # -- debug --------------------------------------------------------------------------------

    def check_unchanged(self, node: NodeName, before: Values, after: Values) -> None:
        """Raise ``MutationError`` if a value is no longer what its deep copy says."""
        for name, value in before.items():
            if name in after and not _equal(value, after[name]):
                raise MutationError(node, name)


def _equal(first: Any, second: Any) -> bool:
    try:
        return bool(first == second)
    except Exception:  # values that cannot be compared (arrays, say) are not checked
        return True


def deep_copy(values: Values) -> Values:
    """Copy what can be copied; for ``debug=True`` only."""
    result: Values = {}
    for name, value in values.items():
        try:
            result[name] = copy.deepcopy(value)
        except Exception:  # locks, sockets, ...: not copied, so not checked
            continue
    return result


def _describe(fault: Mapping[str, Any]) -> str:
    place = ".".join(map(str, fault["loc"]))
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])


# -- reading schemas --------------------------------------------------------------------------


def _read(type_: type, graph: str) -> tuple[list[Channel], Callable[[Values], Any]]:
    if inspect.isclass(type_) and issubclass(type_, pydantic.BaseModel):
        return _pydantic_channels(type_), _pydantic_factory(type_)
    if dataclasses.is_dataclass(type_) and isinstance(type_, type):
        return _dataclass_channels(type_, graph), _dataclass_factory(type_)
    if typing_extensions.is_typeddict(type_):
        return _typeddict_channels(type_, graph), dict
    raise GraphError(
        graph,
        [
            (
                f"the schema {type_!r} is not a pydantic model, a dataclass or a TypedDict: "
                "declare the state as one of them"
            )
        ],
    )


def _hints(type_: type, graph: str) -> dict[str, Any]:
    try:
        return typing_extensions.get_type_hints(type_, include_extras=True)
    except NameError as error:
        raise GraphError(
            graph,
            [
                (
                    f"the annotations of {type_.__name__} cannot be resolved ({error}): define "
                    "the schema, and what its annotations name, at the top level of a module"
                )
            ],
        ) from error


_WRAPPERS = frozenset(
    {typing.Required, typing.NotRequired, typing_extensions.ReadOnly, typing.ClassVar}
)


def _split(annotation: Any) -> tuple[Any, list[Any]]:
    """An annotation as its plain type and its metadata, wrappers removed."""
    metadata: list[Any] = []
    while True:
        origin = typing_extensions.get_origin(annotation)
        if origin is typing.Annotated:
            metadata = [*annotation.__metadata__, *metadata]
            annotation = annotation.__origin__
        elif origin in _WRAPPERS:
            annotation = annotation.__args__[0]
        else:
            return annotation, metadata


def _find_reducer(metadata: Sequence[Any], empty: Callable[[], Any] | None) -> Reducer[Any] | None:
    for item in reversed(metadata):
        if isinstance(item, Reducer):
            return item
        if callable(item) and not isinstance(item, type) and _takes_two(item):
            return as_reducer(item, empty)
    return None


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in positional if p.default is p.empty]
    keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    return len(needed) <= 2 <= len(positional) and not keyword_only


_EMPTY: dict[Any, Callable[[], Any]] = {
    **{
        kind: kind
        for kind in (
            *(list, dict, set, frozenset, tuple, int, float, complex, str, bytes, bool),
            *(collections.deque, collections.Counter, collections.OrderedDict),
        )
    },
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}


def _empty_of(annotation: Any) -> Callable[[], Any] | None:
    """What makes the empty value of a type, or ``None`` if it has none."""
    return _EMPTY.get(typing_extensions.get_origin(annotation) or annotation)


def _type_name(annotation: Any) -> str:
    if inspect.isclass(annotation) and typing_extensions.get_origin(annotation) is None:
        return str(annotation.__name__)
    return str(annotation).replace("typing.", "")


def _pydantic_channels(model: type[pydantic.BaseModel]) -> list[Channel]:
    channels = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        reducer = _find_reducer(field.metadata, _empty_of(annotation))
        constraints = [item for item in field.metadata if not _is_reducer(item)]
        validate_value = _validator(model, annotation, constraints)
        validate = validate_value
        if reducer is not None:
            written = _write_type(reducer)
            if written is not None:
                validate = _validator(model, written, [])
        channels.append(
            Channel(
                name=name,
                expected=_type_name(annotation),
                reducer=reducer,
                make_default=None if field.is_required() else _default_maker(field),
                required=field.is_required(),
                validate=validate,
                validate_value=validate_value,
            )
        )
    return channels


def _is_reducer(item: Any) -> bool:
    return isinstance(item, Reducer) or (
        callable(item) and not isinstance(item, type) and _takes_two(item)
    )


def _default_maker(field: Any) -> Callable[[], Any]:
    return lambda: field.get_default(call_default_factory=True, validated_data={})


def _validator(
    model: type[pydantic.BaseModel], annotation: Any, metadata: Sequence[Any]
) -> Callable[[Any], Any] | None:
    if annotation is Any and not metadata:
        return None
    config = pydantic.ConfigDict(
        arbitrary_types_allowed=True, strict=model.model_config.get("strict", False)
    )
    annotated: Any = typing.Annotated[annotation, *metadata] if metadata else annotation
    try:
        adapter = pydantic.TypeAdapter(annotated, config=config)
    except pydantic.PydanticUserError:  # a type with a configuration of its own takes no other
        adapter = pydantic.TypeAdapter(annotated)
    return adapter.validator.validate_python


def _write_type(reducer: Reducer[Any]) -> Any:
    """The annotated type of a plain reducer's second parameter, or ``None``."""
    try:
        parameters = list(inspect.signature(reducer.fn, eval_str=True).parameters.values())
    except (TypeError, ValueError, NameError):
        return None
    annotation = parameters[1].annotation
    return None if annotation is inspect.Parameter.empty or _is_open(annotation) else annotation


def _is_open(annotation: Any) -> bool:
    """Whether a type says nothing of its own: ``Any``, or generic in a type variable."""
    return (
        annotation is Any
        or isinstance(annotation, TypeVar)
        or bool(getattr(annotation, "__parameters__", ()))
        or any(_is_open(argument) for argument in typing_extensions.get_args(annotation))
    )


def _pydantic_factory(model: type[pydantic.BaseModel]) -> Callable[[Values], Any]:
    if model.__pydantic_post_init__ or model.__private_attributes__:
        return lambda values: model.model_construct(**values)
    new, put = model.__new__, object.__setattr__

    def make(values: Values) -> Any:
        instance = new(model)
        put(instance, "__dict__", values.copy())
        put(instance, "__pydantic_fields_set__", set(values))
        put(instance, "__pydantic_extra__", None)
        put(instance, "__pydantic_private__", None)
        return instance

    return make


def _dataclass_channels(type_: Any, graph: str) -> list[Channel]:
    hints = _hints(type_, graph)
    channels = []
    for field in dataclasses.fields(type_):
        annotation, metadata = _split(hints[field.name])
        make_default: Callable[[], Any] | None = None
        if field.default_factory is not dataclasses.MISSING:
            make_default = field.default_factory
        elif field.default is not dataclasses.MISSING:
            make_default = _constant(field.default)
        channels.append(
            Channel(
                name=field.name,
                expected=_type_name(annotation),
                reducer=_find_reducer(metadata, _empty_of(annotation)),
                make_default=make_default,
                required=make_default is None,
                validate=None,
                validate_value=None,
            )
        )
    return channels


def _constant(value: T) -> Callable[[], T]:
    return lambda: value


def _dataclass_factory(type_: Any) -> Callable[[Values], Any]:
    new, put = type_.__new__, object.__setattr__

    def make(values: Values) -> Any:
        instance = new(type_)
        for name, value in values.items():
            put(instance, name, value)  # also where the class is frozen, or has slots
        return instance

    return make


def _typeddict_channels(type_: Any, graph: str) -> list[Channel]:
    channels = []
    for name, hint in _hints(type_, graph).items():
        annotation, metadata = _split(hint)
        reducer = _find_reducer(metadata, _empty_of(annotation))
        channels.append(
            Channel(
                name=name,
                expected=_type_name(annotation),
                reducer=reducer,
                make_default=reducer.identity if reducer is not None else None,
                required=False,
                validate=None,
                validate_value=None,
            )
        )
    return channels

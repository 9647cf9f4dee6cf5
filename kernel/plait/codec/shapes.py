"""The types that may be stored beside Python's own, each under a name, with how it is taken apart.

A record names its type, and the registry says which class that is: nothing is imported or looked
up for a name that was read. An instance is rebuilt from its fields, without ``__init__``,
``__post_init__`` or validators, so that what comes back is what was there.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import pydantic
import typing_extensions

from plait import errors, events
from plait.errors import PlaitError
from plait.reducers import Reducer

from . import faults
from .faults import DecodingError, RecordedError, Refused, RegistrationError, name_of

if TYPE_CHECKING:
    from .decoder import Decoder
    from .encoder import Encoder

__all__ = ["ErrorShape", "Shape", "TypeRegistry", "is_record", "records_in", "shape_of"]


class Shape:
    """How instances of one type are taken apart and rebuilt.

    Attributes:
        type: the type; instances of its subclasses are not meant.
        name: what it is called in records.
        key: the tag that stands before what its instances are made of.
    """

    def __init__(self, type_: type, name: str) -> None:
        self.type = type_
        self.name = name
        self.key: str = f"\0:{name}"

    def lower(self, encoder: Encoder, value: Any) -> Any:
        """The plain tree of what an instance is made of. Raises ``Refused``."""
        raise NotImplementedError

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        """The instance that a plain tree stands for. May raise anything."""
        raise NotImplementedError


class CustomShape(Shape):
    """Two functions of the user: from an instance to something that can be stored, and back."""

    def __init__(
        self, type_: type, name: str, to: Callable[[Any], Any], of: Callable[[Any], Any]
    ) -> None:
        super().__init__(type_, name)
        self._to = to
        self._of = of

    def lower(self, encoder: Encoder, value: Any) -> Any:
        try:
            content = self._to(value)
        except Exception as error:  # the user's function may raise anything
            raise Refused(
                value, f"its registered to= raises {type(error).__name__}: {error}"
            ) from error
        return encoder.lower(content)

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        value = self._of(decoder.lift(tree))
        if type(value) is not self.type:
            raise DecodingError(f"the registered of= of {self.name!r} gave another type")
        return value


class EnumShape(Shape):
    """A member by its name; the flags of a ``Flag`` by their value."""

    def __init__(self, type_: type[enum.Enum], name: str) -> None:
        super().__init__(type_, name)
        self._members = type_.__members__
        self._is_flag = issubclass(type_, enum.Flag)

    def lower(self, encoder: Encoder, value: Any) -> Any:
        if self._is_flag:
            return encoder.lower(int(value.value))
        name = value.name
        if self._members.get(name) is not value:
            raise Refused(value, "it is no member of its enum")
        return name

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        if not self._is_flag:
            return self._members[tree]
        number = decoder.lift(tree)
        if type(number) is not int:
            raise DecodingError(f"flags of {self.name!r} are an integer")
        return self.type(number)


class NamedTupleShape(Shape):
    """Its items, in order. A field added later takes its default."""

    def __init__(self, type_: Any, name: str) -> None:
        super().__init__(type_, name)
        self._fields: tuple[str, ...] = type_._fields
        self._defaults: dict[str, Any] = type_._field_defaults

    def lower(self, encoder: Encoder, value: Any) -> Any:
        if len(value) != len(self._fields) or getattr(value, "__dict__", None):
            raise Refused(value, "it has more than its fields, or fewer")
        return encoder.items(value, len(value), lambda index: f".{self._fields[index]}")

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        items = decoder.items(tree)
        if len(items) > len(self._fields):
            raise DecodingError(f"{self.name!r} has {len(items)} items, which are too many")
        items += [self._defaults[name] for name in self._fields[len(items) :]]
        return tuple.__new__(self.type, items)


class RecordShape(Shape):
    """A dataclass: its fields by name. A field added later takes its default."""

    def __init__(self, type_: type, name: str) -> None:
        super().__init__(type_, name)
        self._fields = {field.name: field for field in _dataclass_fields(type_)}
        self._names = frozenset(self._fields)
        self._derived = _derived(type_)
        self._slots = any("__slots__" in vars(base) for base in type_.__mro__[:-1])
        if self._slots:
            beyond = _slots_of(type_) - self._names
            if beyond:
                raise RegistrationError(type_, f"its slot {min(beyond)!r} is no field")
        try:
            object.__new__(type_)
        except TypeError as error:
            raise RegistrationError(type_, f"it cannot be made from its fields ({error})") from None

    def lower(self, encoder: Encoder, value: Any) -> Any:
        content = _attributes(value, self._fields) if self._slots else value.__dict__
        if content.keys() != self._names:
            content = _only_fields(value, content, self._names, self._derived)
        return encoder.mapping(content, format_attribute)

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        content = decoder.mapping(tree)
        if content.keys() != self._names:
            _complete(self.name, content, self._names, self._default)
        value: Any = object.__new__(self.type)
        if self._slots:
            for name in self._fields:
                object.__setattr__(value, name, content[name])
        else:
            value.__dict__.update(content)
        return value

    def _default(self, name: str) -> Any:
        field = self._fields[name]
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        if field.default is not dataclasses.MISSING:
            return field.default
        raise KeyError(name)


class ModelShape(Shape):
    """A pydantic model: its fields by name, and which were set, extra and private, where any are.

    A field added later takes its default.
    """

    def __init__(self, type_: type[pydantic.BaseModel], name: str) -> None:
        super().__init__(type_, name)
        self._fields = dict(type_.model_fields)
        self._names = frozenset(self._fields)
        self._derived = _derived(type_)
        # A root model has these as attributes of the class, and no place for them in instances.
        self._root = issubclass(type_, pydantic.RootModel)
        self._extra = type_.model_config.get("extra") == "allow" and not self._root
        self._private = frozenset(() if self._root else type_.__private_attributes__)

    def lower(self, encoder: Encoder, value: Any) -> Any:
        content = value.__dict__
        if content.keys() != self._names:
            content = _only_fields(value, content, self._names, self._derived)
        fields = encoder.mapping(content, format_attribute)
        extra, private = value.__pydantic_extra__, value.__pydantic_private__
        fields_set = value.__pydantic_fields_set__
        if not extra and not private and fields_set == self._names:
            return fields
        return [
            fields,
            None if fields_set == self._names else encoder.lower(sorted(fields_set)),
            None if not extra else encoder.lower(dict(extra)),
            None if not private else encoder.mapping(private, format_attribute),
        ]

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        fields, names, extra, private = tree if type(tree) is list else (tree, None, None, None)
        content = decoder.mapping(fields)
        was_set = set(content) if names is None else set(decoder.items(names))
        if content.keys() != self._names:
            _complete(self.name, content, self._names, self._default)
        extras = {} if extra is None else decoder.lift(extra)
        privates = {} if private is None else decoder.mapping(private)
        if type(extras) is not dict or (extras and not self._extra):
            raise DecodingError(f"{self.name!r} has extra attributes, which its class forbids")
        if not was_set <= self._names | extras.keys():
            raise DecodingError(f"{self.name!r} has fields set that it does not have")
        if not privates.keys() <= self._private:
            raise DecodingError(f"{self.name!r} has private attributes that it does not have")
        value: Any = object.__new__(self.type)
        put = object.__setattr__
        put(value, "__dict__", content)
        put(value, "__pydantic_fields_set__", was_set)
        if not self._root:
            put(value, "__pydantic_extra__", extras if self._extra else None)
            put(value, "__pydantic_private__", privates if self._private else None)
        return value

    def _default(self, name: str) -> Any:
        field = self._fields[name]
        if field.is_required():
            raise KeyError(name)
        return field.get_default(call_default_factory=True, validated_data={})


class ErrorShape(Shape):
    """An error of Plait's own: its message, its facts, and what is known of any exception."""

    def facts(self, error: BaseException) -> dict[str, Any]:
        """The attributes that the error carries."""
        return {name: fact for name, fact in vars(error).items() if _is_fact(name)}

    def lift(self, decoder: Decoder, tree: Any) -> Any:
        message, facts, *chain = tree
        error: BaseException = BaseException.__new__(self.type, decoder.text(message))
        content = decoder.mapping(facts)
        if not all(map(_is_fact, content)):
            raise DecodingError(f"{self.name!r} has facts that no error has")
        vars(error).update(content)
        return decoder.chained(error, chain)


def _is_fact(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")


def format_attribute(name: str) -> str:
    """The step to an attribute: ``.name``."""
    return f".{name}"


# -- what records have in common --------------------------------------------------------------


def _dataclass_fields(type_: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(type_)


def _slots_of(type_: type) -> set[str]:
    slots: set[str] = set()
    for base in type_.__mro__:
        names = vars(base).get("__slots__", ())
        slots.update((names,) if isinstance(names, str) else names)
    return slots - {"__dict__", "__weakref__"}


def _derived(type_: type) -> frozenset[str]:
    """Attributes that instances may have beside their fields, since they are made anew."""
    return frozenset(
        {"__orig_class__"}.union(
            name
            for base in type_.__mro__
            for name, attribute in vars(base).items()
            if isinstance(attribute, functools.cached_property)
        )
    )


def _attributes(value: Any, fields: Iterable[str]) -> dict[str, Any]:
    """The fields of an instance with slots, and whatever else it holds."""
    content = dict(getattr(value, "__dict__", ()))
    for name in fields:
        if hasattr(value, name):
            content[name] = object.__getattribute__(value, name)
    return content


def _only_fields(
    value: Any, content: Mapping[str, Any], names: frozenset[str], derived: frozenset[str]
) -> dict[str, Any]:
    missing = names - content.keys()
    if missing:
        raise Refused(value, f"its field {min(missing)!r} has no value")
    beyond = content.keys() - names - derived
    if beyond:
        raise Refused(
            value,
            f"its attribute {min(beyond)!r} is no field: make it one, or register the type with "
            "to= and of=",
        )
    return {name: item for name, item in content.items() if name in names}


def _complete(
    type_name: str, content: dict[str, Any], names: frozenset[str], default: Callable[[str], Any]
) -> None:
    """Give the fields that were added since the record was written their defaults."""
    beyond = content.keys() - names
    if beyond:
        raise DecodingError(f"{type_name!r} has no field {min(beyond)!r} any more")
    for name in names - content.keys():
        try:
            content[name] = default(name)
        except KeyError:
            raise DecodingError(
                f"{type_name!r} has a field {name!r} now that has no default, and that the record "
                "does not have: give it a default"
            ) from None


# -- the registry -----------------------------------------------------------------------------

_BUILT_IN: Final = frozenset({list, dict, set, frozenset, tuple, str, bytes, int, float, bool})


class TypeRegistry:
    """Which types may be stored beside Python's own, and under which names.

    Attributes:
        shapes: by type.
        names: the same by what stands in records, former names included.
        unsupported: types that were found in annotations and cannot be taken apart, with why.
    """

    def __init__(self) -> None:
        self.shapes: dict[type, Shape] = {}
        self.names: dict[str, Shape] = {}
        self.unsupported: dict[type, str] = {}
        for module in (errors, faults):
            for item in vars(module).values():
                if (
                    inspect.isclass(item)
                    and issubclass(item, PlaitError)
                    and item is not RecordedError
                ):
                    self._add(ErrorShape(item, f"plait.{item.__name__}"), ())
        for record in (events.Participant, events.Target):
            self._add(NamedTupleShape(record, f"plait.{record.__name__}"), ())
        self._add(RecordShape(events.Outcome, "plait.Outcome"), ())
        self.register(events.Outcomes, "plait.Outcomes", to=list, of=events.Outcomes)
        self.register(
            type(events.NO_ARGUMENT),
            "plait.NoArgument",
            to=_nothing,
            of=lambda _: events.NO_ARGUMENT,
        )

    def register(
        self,
        type_: type,
        name: str | None = None,
        *,
        to: Callable[[Any], Any] | None = None,
        of: Callable[[Any], Any] | None = None,
        formerly: Iterable[str] = (),
    ) -> None:
        """Let instances of a type be stored.

        Args:
            type_: an enum, a named tuple, a dataclass, a pydantic model; with ``to`` and ``of``,
                any type.
            name: what it is called in records; by default its name within its module, so that it
                may move to another one.
            to: makes something that can be stored of an instance.
            of: makes the instance of that again.
            formerly: names under which older records know it.

        Raises:
            RegistrationError: the name is taken, or the type cannot be taken apart.
        """
        name = type_.__qualname__ if name is None else name
        if type_ in _BUILT_IN:
            raise RegistrationError(type_, "it is stored as it is")
        if (to is None) != (of is None):
            raise RegistrationError(type_, "give both to= and of=, or neither")
        if to is not None and of is not None:
            self._add(CustomShape(type_, name, to, of), formerly)
        else:
            self._add(shape_of(type_, name), formerly)

    def _add(self, shape: Shape, formerly: Iterable[str]) -> None:
        for name in (shape.name, *formerly):
            other = self.names.get(name)
            if other is not None and other.type is not shape.type:
                raise RegistrationError(
                    shape.type,
                    f"the name {name!r} is taken by {name_of(other.type)}: "
                    "register it first, with a name of its own",
                )
        self.shapes[shape.type] = shape
        for name in (shape.name, *formerly):
            self.names[name] = shape

    def register_annotations(self, *annotations: Any) -> None:
        """Register every enum, named tuple, dataclass and model that annotations lead to.

        Takes types, other annotations, and functions (for those of their parameters and result).
        Types that are registered already stay as they are. Raises ``RegistrationError`` where two
        types have one name.
        """
        for type_ in records_in(*annotations):
            self._register_found(type_)

    def meet(self, value: Any) -> Shape | None:
        """Asked for the shape of a value whose type is not registered; none, unless a subclass
        that learns types as it meets them says otherwise."""
        return None

    def recall(self, name: str) -> Shape | None:
        """Asked for the shape that stands behind a name in a record which is not registered; none,
        unless a subclass has looked for it among what it is given elsewhere."""
        return None

    def _register_found(self, type_: type) -> None:
        if type_ in self.shapes:
            return
        try:
            shape = shape_of(type_, type_.__qualname__)
        except RegistrationError as error:
            self.unsupported[type_] = str(error)
        else:
            self._add(shape, ())


def _nothing(_: object) -> None:
    return None


def records_in(*annotations: Any) -> Iterator[type]:
    """Every enum, named tuple, dataclass and model that annotations lead to, each once."""
    waiting = list(annotations)
    # By identity, since not all can be hashed; kept, so that no other takes the identity.
    seen: dict[int, Any] = {}
    while waiting:
        annotation = waiting.pop()
        if id(annotation) in seen:
            continue
        seen[id(annotation)] = annotation
        if inspect.isclass(annotation) and is_record(annotation):
            yield annotation
        waiting += _leads_to(annotation)


def is_record(type_: type) -> bool:
    """Whether instances of a type are taken apart by their fields, members or items."""
    if issubclass(type_, (enum.Enum, pydantic.BaseModel)):
        return type_ not in {
            *(enum.Enum, enum.IntEnum, enum.StrEnum, enum.Flag, enum.IntFlag),
            *(pydantic.BaseModel, pydantic.RootModel),
        }
    return dataclasses.is_dataclass(type_) or _is_namedtuple(type_)


def _is_namedtuple(type_: type) -> bool:
    return issubclass(type_, tuple) and hasattr(type_, "_field_defaults")


def shape_of(type_: type, name: str) -> Shape:
    """How instances of an enum, named tuple, dataclass or model are taken apart and rebuilt.

    Raises:
        RegistrationError: the type is none of these, or cannot be rebuilt from its fields.
    """
    if issubclass(type_, BaseException):
        raise RegistrationError(type_, "an exception needs to= and of=")
    if issubclass(type_, enum.Enum):
        return EnumShape(type_, name)
    if issubclass(type_, pydantic.BaseModel):
        return ModelShape(type_, name)
    if _is_namedtuple(type_):
        return NamedTupleShape(type_, name)
    if dataclasses.is_dataclass(type_):
        return RecordShape(type_, name)
    raise RegistrationError(
        type_, "it is no enum, named tuple, dataclass or pydantic model: give to= and of="
    )


def _leads_to(annotation: Any) -> Iterable[Any]:
    """The annotations within an annotation."""
    if isinstance(annotation, enum.Enum):  # within a Literal
        yield type(annotation)
    elif isinstance(annotation, (list, tuple)):  # the parameters of a Callable
        yield from annotation
    elif isinstance(annotation, Reducer):
        yield annotation.fn
    elif isinstance(annotation, typing.TypeVar):
        yield from (annotation.__bound__, *annotation.__constraints__)
    elif isinstance(annotation, typing_extensions.TypeAliasType):
        yield annotation.__value__
    elif isinstance(annotation, typing.NewType):
        yield annotation.__supertype__
    elif typing_extensions.get_origin(annotation) is not None:
        yield typing_extensions.get_origin(annotation)
        yield from typing_extensions.get_args(annotation)
    elif inspect.isclass(annotation) and issubclass(annotation, pydantic.BaseModel):
        for field in annotation.model_fields.values():
            yield field.annotation
        yield from _hints(annotation)
    elif _has_hints(annotation):
        yield from _hints(annotation)


def _has_hints(annotation: Any) -> bool:
    if inspect.isclass(annotation):
        return is_record(annotation) or typing_extensions.is_typeddict(annotation)
    return callable(annotation)


def _hints(holder: Any) -> Iterable[Any]:
    try:
        return typing_extensions.get_type_hints(holder, include_extras=True).values()
    except (NameError, TypeError, AttributeError):
        return ()  # what is missed here is refused when it is written, with the way out

"""What is printed loads to what was loaded, whatever the values."""

from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from xec_deploy.errors import UsageError
from xec_train.config import (
    InpainterConfig,
    MaeConfig,
    Override,
    RegressorConfig,
    build_config,
    dump_config,
    load_config,
)
from xec_train.config.places import key_paths, section_of

KINDS = [RegressorConfig, MaeConfig, InpainterConfig]

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20
) | st.sampled_from(["1e5", "12", "true", "null", "2026-11-24", "data/*.root", "a: b", "~", "on"])


def _section(kind):
    """Mappings that a section accepts, some keys left out."""
    fields = {name: _values(f.annotation, f.metadata) for name, f in kind.model_fields.items()}
    needed = {n: v for n, v in fields.items() if kind.model_fields[n].is_required()}
    optional = {n: v for n, v in fields.items() if n not in needed}
    return st.fixed_dictionaries(needed, optional=optional)


def _values(annotation, metadata):
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [
            m for a in arguments[1:] for m in (a.metadata if isinstance(a, FieldInfo) else [a])
        ]
        return _values(arguments[0], inner)
    if section_of(annotation):
        return _section(annotation)
    if origin in (Union, UnionType):
        return st.one_of([_values(part, metadata) for part in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(_values(arguments[0], []), min_size=1, max_size=3)
    if origin is tuple:
        return st.tuples(*(_values(part, []) for part in arguments)).map(list)
    if origin is dict:
        return st.dictionaries(*(_values(part, []) for part in arguments), max_size=3)
    return {
        NoneType: st.none(),
        bool: st.booleans(),
        str: TEXT,
        int: _integers(metadata),
        float: _floats(metadata),
    }[annotation]


def _integers(metadata):
    low = next((m.ge for m in metadata if isinstance(m, Ge)), 1)
    step = next((m.multiple_of for m in metadata if isinstance(m, MultipleOf)), 1)
    high = next((m.le for m in metadata if isinstance(m, Le)), low + 1000)
    return st.integers(-(-low // step), high // step).map(lambda value: value * step)


def _floats(metadata):
    limits = {type(m): m for m in metadata}
    low = limits[Gt].gt if Gt in limits else limits[Ge].ge if Ge in limits else None
    high = limits[Lt].lt if Lt in limits else limits[Le].le if Le in limits else None
    return st.floats(
        low,
        high,
        exclude_min=Gt in limits,
        exclude_max=Lt in limits,
        allow_nan=False,
        allow_infinity=False,
    )


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_printed_configuration_loads_to_the_same(tmp_path_factory, kind, data):
    try:
        config = build_config(kind, data.draw(_section(kind)), [], "drawn")
    except UsageError:
        # Two keys that do not go together, such as cosine and energy.
        assume(False)
    path = tmp_path_factory.getbasetemp() / "printed.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(kind, path) == config
    assert dump_config(load_config(kind, path)) == dump_config(config)


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_can_be_set(kind):
    minimal = {"data": {"train_path": "a", "val_path": "b"}}
    if kind is RegressorConfig:
        minimal |= {"tasks": {"angle": {}}, "reweighting": {"angle": {}}}
    config = build_config(kind, minimal, [], "minimal")
    content = config.model_dump(mode="json")
    stated = []
    for path in key_paths(kind):
        value = content
        for part in path.split("."):
            value = value[part]
        if not isinstance(value, dict):
            stated.append(Override(path, value, path))
    assert len(stated) > 60
    assert build_config(kind, {}, stated, "stated") == config

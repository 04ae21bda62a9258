"""Text that the protobuf library reads back as what was meant."""

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from xec_deploy.triton.textformat import Symbol, to_text


def test_messages_lists_and_enumerations():
    text = to_text(
        {
            "name": "m",
            "input": [{"name": "a", "data_type": Symbol("TYPE_BOOL"), "dims": [1, 2]}],
            "platform": None,
            "output": [],
            "dynamic_batching": {"preserve_ordering": True},
        }
    )
    assert text == (
        'name: "m"\ninput {\n  name: "a"\n  data_type: TYPE_BOOL\n  dims: [1, 2]\n}\n'
        "dynamic_batching {\n  preserve_ordering: true\n}\n"
    )
    parsed = text_format.Parse(text, ModelConfig())
    assert list(parsed.input[0].dims) == [1, 2]
    assert parsed.dynamic_batching.preserve_ordering


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_string_survives(value):
    assert text_format.Parse(to_text({"name": value}), ModelConfig()).name == value


def test_unknown_fields_are_noticed_by_the_schema():
    with pytest.raises(text_format.ParseError, match="max_batch"):
        text_format.Parse(to_text({"max_batch": 3}), ModelConfig())

"""The tables of ``docs/configuration.md``, from the sections themselves.

``python -m xec_train.config.tables docs/configuration.md`` brings the page up to date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from xec_train.config.describe import describe_field
from xec_train.config.distill import DistillConfig
from xec_train.config.inpainter import InpainterConfig
from xec_train.config.mae import MaeConfig
from xec_train.config.places import mapping_types, section_of
from xec_train.config.regressor import RegressorConfig
from xec_train.config.research import MOVED, MOVED_TIME, UNUSED
from xec_train.config.yaml_file import recipes

__all__ = ["TABLES", "update_page"]

KINDS: Final[dict[str, type[BaseModel]]] = {
    "regressor": RegressorConfig,
    "mae": MaeConfig,
    "inpainter": InpainterConfig,
}
MARKED: Final = re.compile(r"(<!-- (?P<name>\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


@dataclass(frozen=True)
class _Row:
    key: str
    default: str
    valid: str
    meaning: str


def keys_table() -> str:
    """Lay out a table for each section."""
    sections: dict[str, dict[_Row, list[str]]] = {}
    for kind, name, field in _fields():
        for row in _rows(name, field):
            section = row.key.split(".")[0]
            sections.setdefault(section, {}).setdefault(row, []).append(kind)
    parts = []
    for section, rows in sections.items():
        lines = ["| key | default | valid | of | meaning |", "|---|---|---|---|---|"]
        # Variants of a key stand together, where the first of them is.
        order = list(dict.fromkeys(row.key for row in rows))
        for row in sorted(rows, key=lambda row: order.index(row.key)):
            of = "all" if len(rows[row]) == len(KINDS) else ", ".join(rows[row])
            key = row.key.removeprefix(f"{section}.")
            lines.append(f"| `{key}` | {row.default} | {row.valid} | {of} | {row.meaning} |")
        parts.append("\n".join([f"### {section}", "", *lines]))
    return "\n\n".join(parts)


def research_table() -> str:
    """Lay out what becomes of keys of the research code."""
    lines = ["| key | becomes |", "|---|---|"]
    lines += [f"| `{old}` | `{new}` |" for old, new in MOVED.items()]
    lines += [f"| `{old}` (MAE, inpainter) | `{new}` |" for old, new in MOVED_TIME.items()]
    lines.append("| `export.onnx: NAME.onnx` | `export.bundle: NAME.xec` |")
    lines += [f"| `{key}` | nothing: {reason} |" for key, reason in UNUSED.items()]
    return "\n".join(lines)


def recipes_table() -> str:
    """Lay out the recipes with the first sentence of each."""
    lines = ["| recipe | what it is |", "|---|---|"]
    for name, path in recipes().items():
        comment: list[str] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("# ") or "xec-train" in line:
                break
            comment.append(line.removeprefix("# "))
        lines.append(f"| [`{name}`](../xec_train/recipes/{path.name}) | {' '.join(comment)} |")
    return "\n".join(lines)


TABLES: Final = {"keys": keys_table, "research": research_table, "recipes": recipes_table}
"""Tables by the names that mark their places in the page, ``<!-- keys -->``."""


def update_page(text: str) -> str:
    """Replace the tables of a page by current ones."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}{TABLES[match['name']]()}\n{match[3]}"

    return MARKED.sub(table, text)


def _fields() -> Iterator[tuple[str, str, FieldInfo]]:
    for kind, config in KINDS.items():
        for name, field in config.model_fields.items():
            yield kind, name, field
    # A student is a regressor; what it has beside is named once.
    for name, field in DistillConfig.model_fields.items():
        if name not in RegressorConfig.model_fields:
            yield "distill", name, field


def _rows(key: str, field: FieldInfo) -> Iterator[_Row]:
    section, mapping = section_of(field.annotation), mapping_types(field.annotation)
    if mapping is not None and section_of(mapping[1]) is not None:
        key, section = f"{key}.<task>", section_of(mapping[1])
    if section is not None:
        for name, inner in section.model_fields.items():
            yield from _rows(f"{key}.{name}", inner)
        return
    meaning = " ".join((field.description or "").split())
    yield _Row(key, _default(field), describe_field(field), meaning.replace("|", "\\|"))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(update_page(page.read_text(encoding="utf-8")), encoding="utf-8")

"""The list in ``docs/checks.md``, from the docstrings of the checks.

``python -m xec_deploy.checks.page docs/checks.md`` brings the page up to date.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Final

from xec_deploy.checks import CHECKS, Check

__all__ = ["checks_list", "update_page"]

LINE_WIDTH: Final = 118
_MARKED: Final = re.compile(r"(<!-- checks -->\n).*?(<!-- end -->\n)", re.DOTALL)
_MODULES: Final = {
    "structure": "The file",
    "interface": "Inputs and outputs",
    "datatypes": "Element types",
    "operators": "Operators",
    "constants": "Constants",
    "quantisation": "Lower precision",
    "running": "Running",
    "tensorrt": "TensorRT",
    "identity": "Identity",
}


def checks_list() -> str:
    """Lay out every check under the heading of its module."""
    parts = []
    for module, heading in _MODULES.items():
        parts.append(f"### {heading}\n")
        parts.extend(_entry(c) for c in CHECKS.values() if c.find.__module__.endswith(module))
    return "\n".join(parts)


def update_page(text: str) -> str:
    """Return the page with the list between its marks replaced."""
    return _MARKED.sub(lambda match: f"{match[1]}{checks_list()}{match[2]}", text)


def _entry(entry: Check) -> str:
    first, _, rest = entry.description.partition("\n")
    paragraphs = [
        textwrap.fill(" ".join(part.split()), LINE_WIDTH) for part in rest.strip().split("\n\n")
    ]
    return f"**{entry.id}** {first}\n" + "".join(f"{part}\n" for part in paragraphs)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(update_page(page.read_text(encoding="utf-8")), encoding="utf-8")

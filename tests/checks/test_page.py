"""The page of all checks is current."""

from pathlib import Path

from xec_deploy.checks import CHECKS
from xec_deploy.checks.page import checks_list, update_page

PAGE = Path(__file__).parents[2] / "docs" / "checks.md"


def test_the_page_is_current():
    text = PAGE.read_text(encoding="utf-8")
    assert update_page(text) == text, "run: python -m xec_deploy.checks.page docs/checks.md"


def test_the_page_has_every_check_and_what_it_is_for():
    listed = checks_list()
    for check_id, entry in CHECKS.items():
        assert listed.count(f"**{check_id}**") == 1
        words = entry.description.split("\n\n")[1].split()[0]
        assert words == ("Protects" if entry.severity == "error" else "Warns")


def test_what_stood_there_is_replaced():
    updated = update_page("before\n<!-- checks -->\nan old line\n<!-- end -->\nafter\n")
    assert "an old line" not in updated
    assert update_page(updated) == updated

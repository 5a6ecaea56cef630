"""How those who see little or nothing find a page.

What axe-core finds, with every rule that concerns WCAG 2.2 AA switched on; and what a screen reader
is told: Chromium's accessibility tree, as roles and names.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from tests.e2e.page.browsing import Visit

OPTIONS = {
    "resultTypes": ["violations", "incomplete", "passes"],
    # Off by default in axe-core 4: WCAG 2.2, 2.5.8.
    "rules": {"target-size": {"enabled": True}},
}
#: Axe takes a single sign for a picture, and cannot tell of its contrast; its neighbours are told.
ONE_SIGN = "too short to determine"
#: Where axe cannot tell, a person must; of these rules it may not remain open.
MUST_BE_TOLD = frozenset({"color-contrast", "target-size"})

#: Of no word: containers that readers pass over, and the letters that names are made of.
SILENT = frozenset({
    "none", "generic", "InlineTextBox", "StaticText", "RootWebArea", "LineBreak", "paragraph",
    "LayoutTableCell", "LayoutTableRow", "LayoutTable", "strong", "emphasis", "ListMarker",
    "Iframe", "Section", "SectionHeader", "LabelText", "Legend", "Figcaption", "DisclosureTriangle",
})  # fmt: skip
#: What can be acted on, and what is told instead of a picture: without a name nobody knows what.
NAMED = frozenset({
    "button", "link", "textbox", "searchbox", "checkbox", "radio", "slider", "combobox", "tab",
    "spinbutton", "image", "img", "dialog", "navigation", "region", "radiogroup", "tablist",
    "progressbar", "meter", "listbox", "option", "Date", "InputTime",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing that is told.

    Attributes:
        level: of a heading; 0: of anything else.
    """

    role: str
    name: str
    level: int = 0

    def __str__(self) -> str:
        return f"{self.role}{self.level or ''} “{self.name}”"


def findings(page: Page) -> list[str]:
    """Return what is wrong, one line each, with the place; empty where nothing is.

    Raises:
        AssertionError: a rule that has to be looked at did not run.
    """
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(AXE_SCRIPT)  # by the debugger: the policy of the page stays as it is
    result: dict[str, Any] = page.evaluate("(options) => axe.run(document, options)", OPTIONS)
    ran = {rule["id"] for kind in ("violations", "incomplete", "passes") for rule in result[kind]}
    assert "target-size" in ran, "axe did not look at the sizes of targets"
    wrong = [*result["violations"]]
    wrong += [rule for rule in result["incomplete"] if rule["id"] in MUST_BE_TOLD]
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:160]} — {node['failureSummary'][:300]}"
        for rule in wrong
        for node in rule["nodes"]
        if ONE_SIGN not in node["failureSummary"]
    ]


def heard(seen: Visit) -> list[Heard]:
    """Return what a screen reader finds, in its order."""
    session = seen.context.new_cdp_session(seen.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    by_id = {node["nodeId"]: node for node in nodes}
    return list(_walk(nodes[0], by_id))


def _walk(node: dict[str, Any], by_id: dict[str, dict[str, Any]]) -> Iterator[Heard]:
    role = node.get("role", {}).get("value", "none")
    if not node.get("ignored") and role not in SILENT:
        name = " ".join(str(node.get("name", {}).get("value", "")).split())
        level = next((one["value"]["value"] for one in node.get("properties", ())
                      if one["name"] == "level" and role == "heading"), 0)  # fmt: skip
        yield Heard(role, name, level)
    for child in node.get("childIds", ()):
        if child in by_id:
            yield from _walk(by_id[child], by_id)

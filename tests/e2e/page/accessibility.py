"""What axe-core finds on a page, with every rule that concerns WCAG 2.2 AA switched on."""

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

OPTIONS = {
    "resultTypes": ["violations", "incomplete", "passes"],
    # Off by default in axe-core 4: WCAG 2.2, 2.5.8.
    "rules": {"target-size": {"enabled": True}},
}
#: Axe takes a single sign for a picture, and cannot tell of its contrast; its neighbours are told.
ONE_SIGN = "too short to determine"
#: Where axe cannot tell, a person must; of these rules it may not remain open.
MUST_BE_TOLD = frozenset({"color-contrast", "target-size"})


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

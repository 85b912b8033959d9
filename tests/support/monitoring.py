"""Where the files of monitoring are, and what the dashboard asks for."""

import json

from support.places import ROOT

FOLDER = ROOT / "cluster" / "deploy" / "monitoring"
RULES = FOLDER / "rules.yml"


def queries_of_the_dashboard() -> list[str]:
    """Every expression of every panel, and of the variables."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) > 10 and all(panel["targets"] for panel in panels)
    variables = [v["definition"] for v in dashboard["templating"]["list"] if "definition" in v]
    assert len(variables) == 1
    return [target["expr"] for panel in panels for target in panel["targets"]] + variables

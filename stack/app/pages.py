"""The page: the dashboard, drawn."""

from __future__ import annotations

from flask import Blueprint, current_app, render_template

from stack.app.cards import dashboard_cards, year_in_words
from stack.app.charts import PLOT_HEIGHT
from stack.app.parameters import mode_parameter
from stack.app.queries import ask_dashboard
from stack.app.runs import Mode
from stack.app.waterfall import waterfall

pages = Blueprint("pages", __name__)


@pages.get("/")
def dashboard() -> str:
    """Run the dashboard's queries in the mode that ``?mode=`` names, and draw them."""
    done = ask_dashboard(mode_parameter())
    cards = dashboard_cards(done.results)
    return render_template(
        "dashboard.html",
        cards=cards,
        year=year_in_words(done.results["cancellations"]),
        waterfall=waterfall(done, cards),
        modes=list(Mode),
        plot_height=PLOT_HEIGHT,
        latency_ms=current_app.extensions["stack.settings"].latency_ms,
    )

"""The socket of a run's pages."""

from django.template.loader import render_to_string

from console.run_page import header, timeline
from runs.consumers import RunTail
from runs.live import News


class RunPageTail(RunTail):
    """With ``format=html``, ``page`` names the page (timeline, journal, …) whose fragments are sent."""

    def render(self, news: News, page: str) -> str:
        assert news.row is not None  # whoever reads a run's news has it
        run = news.row
        context = {**header.context(run), "page": page, "entries": news.entries}
        if page == "timeline":
            context |= timeline.parted(timeline.rows(run, news.entries))
        return render_to_string("runs/live/_run.html", context)

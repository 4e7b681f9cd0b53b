"""From the scores of a comparison to the files of its report: text, page, picture and the scores themselves."""

import logging
from collections.abc import Sequence
from pathlib import Path

from pkdot.comparison.report.analysis import Analysis, analyse
from pkdot.comparison.report.document import document
from pkdot.comparison.report.figure import draw
from pkdot.comparison.report.markdown import markdown
from pkdot.comparison.report.page import html
from pkdot.comparison.report.scores import Score, write_scores

log = logging.getLogger(__name__)

TITLE = "Distillation methods compared"


def write_report(
    scores: Sequence[Score], out: Path, *, command: str, notes: Sequence[str] = (), title: str = TITLE
) -> Path:
    """Write ``report.md``, ``report.html`` and ``scores.csv``, and with matplotlib ``report.png``, ``.pdf``, ``.svg``.

    Args:
        scores: of all finished runs.
        out: the folder to write to; it is made if it does not exist.
        command: the command that made the report; it is printed as it is.
        notes: sentences for the end of the report.
        title: the first heading.

    Returns:
        The path of ``report.md``.

    Raises:
        ValueError: there is no score, a run was scored twice, or one data set and regime has two metrics. Nothing is
            written then.
    """
    analysis = analyse(scores)
    report = document(analysis, title=title, command=command, notes=notes)
    out.mkdir(parents=True, exist_ok=True)
    figure = _drawn(analysis, out / "report.png")
    (out / "report.html").write_text(html(report, figure=figure), encoding="utf-8")
    write_scores(scores, out / "scores.csv")
    path = out / "report.md"
    path.write_text(markdown(report, figure=figure.name if figure else None), encoding="utf-8")
    return path


def _drawn(analysis: Analysis, path: Path) -> Path | None:
    try:
        return draw(analysis, path)
    except ModuleNotFoundError as missing:
        log.info("%s", missing)
        return None

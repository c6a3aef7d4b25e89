"""The report on a bundle: figures from scored claims, one HTML page, one JSON file with the same numbers."""

from training.report.figures import Figures, Gain, Settings, Subject
from training.report.judge import group_gain, judge
from training.report.render import as_json, render_html, write_whole

__all__ = ["Figures", "Gain", "Settings", "Subject", "as_json", "group_gain", "judge", "render_html", "write_whole"]

"""Reports: plots, a page and figures from a file of results."""

from xec_deploy.report.make import Report, make_report
from xec_deploy.report.results import Results, read_results

__all__ = ["Report", "Results", "make_report", "read_results"]

"""The name under which :mod:`crate_mini.results` was known first."""

from crate_mini.results import provenance, read_result, result_text

__all__ = ["provenance", "read_result", "result_text"]

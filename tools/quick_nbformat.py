"""nbformat, imported without two seconds of work that nobody asks for.

jsonschema, by which nbformat checks notebooks, builds 38 parsers as it is imported, to be able to check addresses with
letters of all alphabets. No schema of a notebook asks for such an address, and without the package that describes them
jsonschema does without. Import nbformat from here, before anything else imports it.
"""

import sys

LEFT_OUT = "rfc3987_syntax"
sys.modules.setdefault(LEFT_OUT, None)

import nbformat  # noqa: E402

__all__ = ["nbformat"]

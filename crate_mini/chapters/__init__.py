"""What each chapter shows: a module for each, with the figures and the facts that its notebook calls.

A figure takes what was computed and returns a matplotlib figure; a fact returns the numbers of a sentence, by name, so
that a text with ``{named}`` fields can be filled in and the numbers can be tested. What two chapters draw alike stands
in `crate_mini.figures`.
"""

"""A Sphinx extension for the reference, whose pages are made from docstrings in Google's form.

Sphinx brings what it takes, and a few things are ours. ``.. public-names::`` makes the table of what is at the top of
the package, and refuses to leave any name out. A docstring is taken at its word: what stands before a colon is a
name under *Args* only, and one line may speak of several (``keep, move: ...``). A constant that a package takes from
one of its modules keeps the docstring it has there. And a name in a docstring is found wherever in the package its
object stands: the reader of ``rates`` may be sent to ``ISTA`` without being told the module.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

PACKAGE = "crate_mini"
FIRST_SENTENCE = re.compile(r".+?\.(?=\s|$)", re.DOTALL)
# In the order of the source; shapes stand in the docstrings, so signatures need no types.
SETTINGS = {
    "autodoc_member_order": "bysource",
    "autodoc_typehints": "none",
    "autodoc_inherit_docstrings": False,
    "autodoc_default_options": {"no-value": True},
}
LONGEST_VALUE = 60  # characters of a constant's value that its line has room for
FORM = Config(
    napoleon_use_param=False,
    napoleon_custom_sections=[("Attributes", "params_style"), ("Raises", "params_style")],
)


class Docstring(GoogleDocstring):
    """Google's form, in which text that has a colon in it is text."""

    def _parse_returns_section(self, section: str) -> list[str]:
        return [*self._format_block(":Returns: ", self._dedent(self._consume_to_next_section())), ""]

    def _parse_attribute_docstring(self) -> list[str]:
        return self._dedent(self._consume_to_end())


def read_docstring(app: Sphinx, what: str, name: str, obj: Any, options: object, lines: list[str]) -> None:
    """From Google's form to Sphinx's, in place; of a constant that is short, its value."""
    if what == "module":  # the first of its docstrings that is read
        tell_constants(name, getattr(obj, "__all__", ()))
    if what == "data" and isinstance(obj, int | float | str | tuple) and len(repr(obj)) <= LONGEST_VALUE:
        lines += ["", f"Its value is ``{obj!r}``."]
    lines[:] = Docstring(lines, FORM, app, what, name, obj, options).lines()


def tell_constants(package: str, public: Iterable[str]) -> None:
    """Let a package know the docstrings of the constants that it takes from its modules."""
    known = ModuleAnalyzer.for_module(package)  # kept by Sphinx, which goes by it
    for module in sorted(name for name in sys.modules if name.startswith(f"{package}.")):
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.analyze()
        known.attr_docs.update({k: v for k, v in analyzer.attr_docs.items() if not k[0] and k[1] in public})


class PublicNames(SphinxDirective):
    """A table of the names at the top of the package, in the order given: name, and first sentence of its docstring."""

    has_content = True
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        """Docutils calls this."""
        package = import_module(PACKAGE)
        names = " ".join(self.content).split()
        if set(names) | {"__version__"} != set(package.__all__):
            wrong = sorted(set(names) ^ (set(package.__all__) - {"__version__"}))
            raise self.error(f"the names at the top of {PACKAGE} are others: {', '.join(wrong)}")
        lines = [".. list-table::", "   :widths: auto", ""]
        for name in names:
            module, _, attribute = package._HOMES[name].partition(":")
            home = f"{module}.{attribute or name}"
            text = inspect.getdoc(getattr(import_module(module), attribute or name))
            lines += [f"   * - :py:obj:`{name} <{home}>`", f"     - {FIRST_SENTENCE.match(text)[0]}"]
        lines += ["   * - ``__version__``", "     - The version, a string."]
        holder = nodes.Element()
        self.state.nested_parse(StringList([line.replace("\n", " ") for line in lines], PACKAGE), 0, holder)
        return holder.children


def find_object(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """A link to what a docstring names; text where that has no place here; None, which warns, for what is nowhere."""
    if node.get("refdomain") != "py":
        return None
    domain, target, kind = env.domains["py"], node["reftarget"], node["reftype"]
    entries = {
        name: entry
        for name, entry in domain.objects.items()
        if entry.objtype in domain.objtypes_for_role(kind) and not entry.aliased
    }
    for wanted in (target, target.rpartition(".")[2]):
        found = [name for name in entries if name.endswith(f".{wanted}")]
        if len(found) == 1:
            entry = entries[found[0]]
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, found[0])
    parent = target
    while kind == "mod" and parent != PACKAGE and (parent := parent.rpartition(".")[0]):
        if parent in entries:  # a module of a package that is told as one
            entry = entries[parent]
            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, target)
    # an attribute is told by its class, and what is nobody's business but its module's has no page
    here = str(node.get("py:module"))
    beside = (module for name, module in sys.modules.items() if f"{name}.".startswith(f"{here}."))
    known = kind == "attr" or exists(target) or any(hasattr(module, target) for module in beside)
    return content if known else None


def exists(name: str) -> bool:
    """Whether there is such a thing by its full name, in any package that is installed."""
    module, _, rest = name.partition(".")
    try:
        found = import_module(module)
        for part in rest.split(".") if rest else ():
            module = f"{module}.{part}"
            found = getattr(found, part) if hasattr(found, part) else import_module(module)
    except ImportError:
        return False
    return True


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this when it loads the extension."""
    app.setup_extension("sphinx.ext.autodoc")
    for name, value in SETTINGS.items():
        setattr(app.config, name, value)
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("missing-reference", find_object)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

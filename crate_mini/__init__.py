"""crate_mini: CRATE, the white-box vision transformer, small enough to read.

What most users need is here, at the top, and imported only when it is used: ``import crate_mini`` itself loads neither
PyTorch nor any other package. The rest is in the modules, by subject.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors, which do not run __getattr__
    from crate_mini.attention_maps import cls_attention_maps as cls_attention_maps
    from crate_mini.inspector import HeadInspector as HeadInspector
    from crate_mini.maskcut import maskcut as maskcut
    from crate_mini.model import CRATE as CRATE
    from crate_mini.rates import coding_rate as coding_rate
    from crate_mini.rates import compression_rate as compression_rate
    from crate_mini.rates import sparse_rate_reduction as sparse_rate_reduction
    from crate_mini.recorder import record as record
    from crate_mini.registry import create_model as create_model
    from crate_mini.registry import list_models as list_models
    from crate_mini.registry import register_model as register_model
    from crate_mini.segmentation import evaluate as evaluate_segmentation
    from crate_mini.weights import list_pretrained as list_pretrained
    from crate_mini.weights import load_pretrained as load_pretrained

    __version__: str

# public name -> where it lives; a test holds this table, the imports above and __all__ equal
_HOMES = {
    "CRATE": "crate_mini.model:CRATE",
    "HeadInspector": "crate_mini.inspector:HeadInspector",
    "cls_attention_maps": "crate_mini.attention_maps:cls_attention_maps",
    "coding_rate": "crate_mini.rates:coding_rate",
    "compression_rate": "crate_mini.rates:compression_rate",
    "create_model": "crate_mini.registry:create_model",
    "evaluate_segmentation": "crate_mini.segmentation:evaluate",
    "list_models": "crate_mini.registry:list_models",
    "list_pretrained": "crate_mini.weights:list_pretrained",
    "load_pretrained": "crate_mini.weights:load_pretrained",
    "maskcut": "crate_mini.maskcut",  # the module, which can be called: see there
    "record": "crate_mini.recorder:record",
    "register_model": "crate_mini.registry:register_model",
    "sparse_rate_reduction": "crate_mini.rates:sparse_rate_reduction",
}

__all__ = [
    "CRATE",
    "HeadInspector",
    "__version__",
    "cls_attention_maps",
    "coding_rate",
    "compression_rate",
    "create_model",
    "evaluate_segmentation",
    "list_models",
    "list_pretrained",
    "load_pretrained",
    "maskcut",
    "record",
    "register_model",
    "sparse_rate_reduction",
]

if not TYPE_CHECKING:  # a checker would take it to mean that any name is right

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            value = _version()
        elif name in _HOMES:
            module, _, attribute = _HOMES[name].partition(":")
            value = import_module(module)
            value = getattr(value, attribute) if attribute else value
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value  # the next time it is found at once
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """The version that pyproject.toml states: the one beside this folder in a checkout, else as it was installed."""
    from pathlib import Path

    beside = Path(__file__).resolve().parents[1] / "pyproject.toml"
    if beside.is_file():
        import tomllib

        project = tomllib.loads(beside.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "crate-mini":
            return project["version"]
    from importlib.metadata import version

    return version("crate-mini")

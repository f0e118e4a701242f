"""Sharing models by ``huggingface_hub``, in the three methods that users of the Hub know.

A model's folder holds ``model.safetensors`` and its card ``model.json`` as :func:`~crate_mini.weights.save_model`
writes them, ``config.json`` for those who look at settings without loading anything, and a ``README.md``. Such a folder
is loaded without ``huggingface_hub``, too: :func:`~crate_mini.weights.load_weights`.

``huggingface_hub`` is an extra (``pip install 'crate-mini[hub]'``), so its mixin is no base of the model class. It is
laid over a model when one of the methods is called.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

MISSING = "sharing models needs the package huggingface_hub: pip install 'crate-mini[hub]'"
Model = TypeVar("Model")

WEIGHTS, CARD = "model.safetensors", "model.json"


class OnHub:
    """What a model class inherits to have ``from_pretrained``, ``save_pretrained`` and ``push_to_hub``."""

    @classmethod
    def from_pretrained(
        cls: type[Model],
        source: str | os.PathLike[str],
        *,
        device: torch.device | str = "cpu",
        **options: Any,
    ) -> Model:
        """A model from a folder or from a repository on the Hub, in evaluation mode.

        Args:
            source: a folder that :meth:`save_pretrained` wrote, or the name of a repository, ``"owner/name"``.
            device: where to put it.
            options: of huggingface_hub's ``ModelHubMixin.from_pretrained``: ``revision``, ``cache_dir``,
                ``local_files_only``, ``token``, ``force_download``.

        Raises:
            ImportError: huggingface_hub is not installed.
            FileNotFoundError: a folder without weights.
            CheckpointError: weights that are damaged, or do not match their card.
        """
        model = _with_mixin().from_pretrained(source, device=device, **options)
        vars(model).pop("_hub_mixin_config", None)  # a note of the mixin's; the model has its config
        return model

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        card: Mapping[str, Any] | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> str | None:
        """Write the model to a folder: weights with their card, configuration, and a README if there is none.

        Args:
            folder: made if it is not there.
            card: how the weights came about, as for :func:`~crate_mini.weights.save_model`.
            dtype: store in this type, for example ``torch.float16`` to halve the file.
            options: of huggingface_hub's ``ModelHubMixin.save_pretrained``: ``push_to_hub``, ``repo_id`` and others.

        Returns:
            The address of the commit with ``push_to_hub=True``, else None.

        Raises:
            ImportError: huggingface_hub is not installed.
        """
        return _laid_over(self, card, dtype).save_pretrained(folder, **options)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: Mapping[str, Any] | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> str:
        """Upload what :meth:`save_pretrained` writes, in one commit.

        Args:
            repo_id: ``"owner/name"``; made if it is not there.
            card: as for :meth:`save_pretrained`.
            dtype: as for :meth:`save_pretrained`.
            options: of huggingface_hub's ``ModelHubMixin.push_to_hub``: ``commit_message``, ``private``, ``token``,
                ``branch``, ``create_pr`` and others.

        Returns:
            The address of the commit.

        Raises:
            ImportError: huggingface_hub is not installed.
        """
        return _laid_over(self, card, dtype).push_to_hub(repo_id, **options)


def _laid_over(model: Any, card: Mapping[str, Any] | None, dtype: torch.dtype | None) -> Any:
    """The model with the mixin over it: the same parameters, not a copy of them."""
    cls = _with_mixin()
    over = cls.__new__(cls)
    vars(over).update(
        vars(model), _card=dict(card or {}), _dtype=dtype, _hub_mixin_config=model.config.to_dict()
    )
    return over


@functools.cache
def _with_mixin() -> Any:
    """The model class with huggingface_hub's mixin before it, made when it is first asked for."""
    try:
        from huggingface_hub import ModelCard, ModelHubMixin
    except ImportError as error:
        raise ImportError(MISSING) from error
    from crate_mini.model import CRATE
    from crate_mini.weights import load_model, save_model

    class CRATEOnHub(
        ModelHubMixin, CRATE, library_name="crate-mini", pipeline_tag="image-classification",
        tags=["crate", "coding-rate", "vision-transformer", "white-box"],
    ):  # fmt: skip
        def _save_pretrained(self, save_directory: Path) -> None:
            save_model(self, save_directory / WEIGHTS, self._card, classes=self.classes, dtype=self._dtype)

        @classmethod
        def _from_pretrained(
            cls, *, model_id: str, device: torch.device | str, revision: str | None, cache_dir: str | Path | None,
            force_download: bool, local_files_only: bool, token: str | bool | None, config: Any = None,
        ) -> Any:  # fmt: skip
            folder = Path(model_id)
            if not folder.is_dir():
                folder = _downloaded(
                    model_id, revision=revision, cache_dir=cache_dir, force_download=force_download,
                    local_files_only=local_files_only, token=token,
                )  # fmt: skip
            return load_model(
                folder / WEIGHTS, device=device
            )  # config.json is for readers: weights carry theirs

        def generate_model_card(self, *args: Any, **kwargs: Any) -> Any:
            data = self._hub_mixin_info.model_card_data
            return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_readme(self)}")

    return CRATEOnHub


def _downloaded(repo_id: str, **options: Any) -> Path:
    """The folder of the cache that holds a repository's weights, and their card if it has one."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    weights = Path(hf_hub_download(repo_id, WEIGHTS, **options))
    with suppress(EntryNotFoundError):
        hf_hub_download(repo_id, CARD, **options)
    return weights.parent


def _readme(model: Any) -> str:
    """What the repository's page says of the model."""
    from crate_mini.model import count_parameters

    c = model.config
    rows = {
        "parameters": f"{count_parameters(model):,}",
        "operators": f"{c.attention}, {c.feed}",
        "token dimension, heads, layers": f"{c.dim}, {c.heads}, {c.depth}",
        "patch": f"{c.patch_size} x {c.patch_size} pixels",
        "images": f"{c.image_size} x {c.image_size} pixels; other multiples of the patch work, too",
        "classes": f"{c.num_classes}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""# A model of crate-mini

| | |
|---|---|
{table}

```python
from crate_mini import CRATE

model = CRATE.from_pretrained("owner/name")  # this repository, or a folder with its files
logits = model(images)  # (batch, 3, height, width), uint8 or float in [0, 1]
```

How the weights came about, and their checksum, is in `{CARD}`.
"""

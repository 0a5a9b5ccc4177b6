"""The images that go along with a widget's first prompt."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from slmlab.run.images import keep, with_images
from slmlab.run.options import Prompt
from slmlab.show.images import thumbnails


class Pictures(widgets.HTML):  # type: ignore[misc]  # ipywidgets has no types
    """Images beside a prompt, shown small; nothing where there are none.

    Raises:
        PromptError: one of them is no image, or cannot be read.
    """

    def __init__(self, images: Any) -> None:
        super().__init__(layout=widgets.Layout(width="auto"))
        several = images if isinstance(images, (list, tuple)) else [images]
        self.digests = [keep(one) for one in several if one is not None]
        self.value = thumbnails(self.digests)

    def beside(self, prompt: Prompt) -> Prompt:
        """The prompt with the images."""
        found: Prompt = with_images(prompt, self.digests)
        return found

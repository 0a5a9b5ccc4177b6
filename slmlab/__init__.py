"""slmlab: the notebook lab where people meet small language models.

>>> import slmlab
>>> slmlab.start()                                        # doctest: +SKIP
>>> models = slmlab.ready()                               # doctest: +SKIP
>>> slmlab.ask(models[0], "Why is the sky blue?")         # doctest: +SKIP
>>> slmlab.compare(models, ["Why is the sky blue?"])      # doctest: +SKIP
"""

import lazy_loader

__version__ = "0.1.0"

# What the package hands out stands in ``__init__.pyi``; each name is imported on first use, so that
# ``import slmlab`` stays quick. No module that lies directly in this folder has a verb's name:
# importing it would put the module in the verb's place.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

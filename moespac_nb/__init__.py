"""Mixture-of-experts decoding under a memory budget, with speculation as a sensor.

Importing this package loads neither torch nor transformers: each public name is imported from its module
when it is first asked for. `__init__.pyi` lists them.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""What readers look at: views of a decode for notebooks. Imports moespac_nb, never the other way round."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

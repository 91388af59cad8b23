"""Exercises that check themselves: what a notebook asks, and the smallest case that shows an answer wrong.

    from moespac_exercises import check, predict, reveal
    check("04.2", my_function)

Each notebook's exercises stand in the module of its name, in `lessons`. An exercise never tells its solution:
it says for which case an answer breaks which property.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

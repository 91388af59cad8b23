from .display import check as check
from .display import predict as predict
from .display import reveal as reveal
from .exercise import Exercise as Exercise
from .registry import NOTEBOOKS as NOTEBOOKS
from .registry import exercise as exercise
from .registry import exercises_of as exercises_of

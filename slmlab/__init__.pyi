"""The names that ``import slmlab`` hands out, read by ``lazy_loader`` and by type checkers."""

from . import errors as errors
from . import hardware as hardware
from . import models as models
from . import paths as paths
from .checkup import doctor as doctor
from .course import distillation as distillation
from .course import finetuning as finetuning
from .course import weights as weights
from .course.exercises import check as check
from .engines import server as server
from .engines.server import start as start
from .engines.server import status as status
from .engines.server import stop as stop
from .evaluation import repeats as repeats
from .evaluation import scorers as scorers
from .evaluation import statistics as statistics
from .evaluation import tasks as tasks
from .evaluation import votes as votes
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.runs import compare_runs as compare_runs
from .evaluation.scorers import score as score
from .evaluation.sequential import decide as decide
from .hardware import machine as machine
from .models import catalog as catalog
from .models.choose import ready as ready
from .models.download import pull as pull
from .models.fit import will_it_fit as will_it_fit
from .models.inventory import add as add
from .models.inventory import remove as remove
from .run import prompts as prompts
from .run import results as results
from .run.compare import compare as compare
from .run.generate import generate as generate
from .run.logprobs import tokens as tokens
from .run.prompts import chain as chain
from .show import plots as plots
from .show.answers import show_answers as show_answers
from .show.display import ask as ask
from .show.report import report as report
from .show.tokens import show_tokens as show_tokens
from .widgets.arena import arena as arena
from .widgets.catalog_explorer import catalog_explorer as catalog_explorer
from .widgets.playground import playground as playground
from .widgets.side_by_side import side_by_side as side_by_side

__version__: str

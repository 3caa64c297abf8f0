"""Figures: data in, plotly `Figure` out. Nothing here reads, writes or shows anything. A module a chapter.

One look for the whole project: white, with colours from `ferlib.labels.COLOURS`, where an expression has the same one
in every figure. Titles, axes and units say enough for a figure to be read without the text around it.
"""

from ferlib.names import display_name
from ferlib.plots.ablation import PROTOCOL_COLOURS, ablation_bars, watched_epochs
from ferlib.plots.annotators import annotator_matrices
from ferlib.plots.architecture import Step, flow, salient_block
from ferlib.plots.conformal import (
    answered_curves,
    coverage_by_class,
    coverage_off_the_path,
    coverage_spread,
    promised_and_held,
)
from ferlib.plots.data import (
    baselines,
    class_matrices,
    class_shares,
    effective_numbers,
    entropies,
    face_grid,
    similarities,
    votes,
)
from ferlib.plots.evaluation import (
    ORDER_COLOURS,
    batch_audit,
    class_scores,
    confusion_matrices,
    protocols,
    reliability_diagrams,
    selection,
)
from ferlib.plots.explain import (
    HOVER_FACES,
    class_regions,
    face_predictions,
    faithfulness,
    map_name,
    picture_table,
    planes,
    region_table,
)
from ferlib.plots.forest import VERDICT_COLOURS
from ferlib.plots.imbalance import imbalance_methods, tau_sweep
from ferlib.plots.labelling import trainings
from ferlib.plots.models import (
    ATTENTION_COLOURS,
    FROZEN,
    RESCALE_COLOURS,
    STAGE_COLOURS,
    accuracy_by_batch,
    budgets,
    influence,
    receptive_fields,
    shrinkage,
    stage_costs,
)
from ferlib.plots.purity import purity_curve
from ferlib.plots.rivals import method_claims, method_gains, noise_lines
from ferlib.plots.style import CUT, KEPT, OTHER_COLOUR, WIDTH
from ferlib.plots.training import RUN_COLOURS, costs, curves, learning_curve, learning_rates, step_sizes, two_views
from ferlib.plots.video import faces_by_size, label_bands, smoothing_tradeoff, timeline

__all__ = [
    "class_shares",
    "effective_numbers",
    "baselines",
    "class_matrices",
    "similarities",
    "face_grid",
    "votes",
    "entropies",
    "imbalance_methods",
    "tau_sweep",
    "Step",
    "flow",
    "salient_block",
    "accuracy_by_batch",
    "budgets",
    "face_predictions",
    "influence",
    "receptive_fields",
    "shrinkage",
    "stage_costs",
    "costs",
    "curves",
    "learning_curve",
    "learning_rates",
    "step_sizes",
    "two_views",
    "trainings",
    "batch_audit",
    "class_scores",
    "confusion_matrices",
    "protocols",
    "purity_curve",
    "annotator_matrices",
    "map_name",
    "method_claims",
    "method_gains",
    "noise_lines",
    "answered_curves",
    "coverage_by_class",
    "coverage_off_the_path",
    "coverage_spread",
    "promised_and_held",
    "reliability_diagrams",
    "selection",
    "ablation_bars",
    "watched_epochs",
    "class_regions",
    "faithfulness",
    "picture_table",
    "planes",
    "display_name",
    "region_table",
    "faces_by_size",
    "label_bands",
    "smoothing_tradeoff",
    "timeline",
    "ATTENTION_COLOURS",
    "CUT",
    "FROZEN",
    "HOVER_FACES",
    "KEPT",
    "ORDER_COLOURS",
    "OTHER_COLOUR",
    "PROTOCOL_COLOURS",
    "RESCALE_COLOURS",
    "RUN_COLOURS",
    "STAGE_COLOURS",
    "VERDICT_COLOURS",
    "WIDTH",
]

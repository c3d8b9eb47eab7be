"""From a run folder to a predictor."""

from pathlib import Path

from zoomexp.datasets.scene_seeing import AnySeeing, seeing_of_data, seeing_of_facts
from zoomexp.datasets.seeing import Seeing
from zoomexp.datasets.square_seeing import SquareSeeing
from zoomexp.errors import InputError
from zoomexp.prediction.detector import Detector
from zoomexp.prediction.predictor import Predictor
from zoomexp.prediction.segmenter import SegmentingPredictor
from zoomexp.results.classifying import says_boxes
from zoomexp.results.stored import finished_facts
from zoomexp.run.stored_run import data_of, restored


def load(
    run: str | Path, device: str = "auto", data_dir: str | Path | None = None
) -> Predictor | Detector | SegmentingPredictor:
    """Load a finished run's network, as it was tested, to name what is in images, or where.

    Args:
        run: The run folder.
        device: "auto": a GPU where there is one; or torch's name of a device.
        data_dir: Where its data set lies. Only runs that were made before records named their classes need it; left
            out: where the run found it.

    Returns:
        A `Detector` if the run was one of task=detection, a `SegmentingPredictor` of task=segmentation, else a
        `Predictor`.

    Raises:
        InputError: No finished run lies there, or its network neither classifies images nor says boxes or pixels.
    """
    facts = finished_facts(run, "run")
    seeing: AnySeeing
    if facts.get("classes") and facts.get("seeing"):
        classes, seeing = facts["classes"], seeing_of_facts(facts["seeing"])
    else:
        data = data_of(run, data_dir)
        classes, seeing = data.classes, seeing_of_data(data)
    network = restored(run)
    if isinstance(seeing, SquareSeeing):
        return SegmentingPredictor(network, classes, seeing, device)
    if says_boxes(facts):
        return Detector(network, classes, seeing, device)
    if not isinstance(seeing, Seeing):
        raise InputError(f"run={run}: its network neither names classes nor says boxes")
    return Predictor(network, classes, seeing, device)

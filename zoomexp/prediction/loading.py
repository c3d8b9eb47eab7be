"""From a run folder to a predictor."""

from pathlib import Path

from zoomexp.datasets.seeing import Seeing
from zoomexp.prediction.predictor import Predictor
from zoomexp.results.classifying import check_classifies
from zoomexp.results.stored import finished_facts
from zoomexp.run.stored_run import data_of, restored


def load(run: str | Path, device: str = "auto", data_dir: str | Path | None = None) -> Predictor:
    """Load a finished run's network, as it was tested, to classify images with it.

    Args:
        run: The run folder.
        device: "auto": a GPU where there is one; or torch's name of a device.
        data_dir: Where its data set lies. Only runs that were made before records named their classes need it; left
            out: where the run found it.

    Raises:
        InputError: No finished run lies there, or its network does not classify images.
    """
    facts = finished_facts(run, "run")
    check_classifies(facts, run)
    if facts.get("classes") and facts.get("seeing"):
        classes, seeing = facts["classes"], Seeing.of_facts(facts["seeing"])
    else:
        data = data_of(run, data_dir)
        classes, seeing = data.classes, Seeing.of_data(data)
    return Predictor(restored(run), classes, seeing, device)

"""Is the released model's confidence to be believed? `python benchmarks/calibration.py` -> results/calibration.json.

One temperature is fitted on FERPlus's validation faces and judged on its test faces. The one it was released with is
taken out first.
"""

import json
from pathlib import Path

from ferlib.data.registry import load_dataset
from ferlib.evaluation.calibration import (
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    temperature_scaled,
)
from ferlib.evaluation.evaluate import predict_dataset
from ferlib.models.registry import load_model
from ferlib.utils.commit import commit

ROOT = Path(__file__).parents[1]
MODEL, DATA = "convcut_ferplus", "ferplus"


def main() -> None:
    model, data = load_model(MODEL), load_dataset(DATA)
    labels, probabilities = {}, {}
    for split in ("validation", "test"):
        part = data.split(split)
        labels[split] = part.labels().numpy()
        released = predict_dataset(model, part, classes=data.classes)
        probabilities[split] = temperature_scaled(released, 1 / model.config.temperature)
    temperature = fit_temperature(labels["validation"], probabilities["validation"])
    rows = []
    for name, value in (("as trained", 1.0), ("with temperature", temperature)):
        test = temperature_scaled(probabilities["test"], value)
        rows.append(
            {
                "name": name,
                "temperature": value,
                "ece": calibration_error(labels["test"], test),
                "negative_log_likelihood": negative_log_likelihood(labels["test"], test),
                "accuracy": float((test.argmax(axis=1) == labels["test"]).mean()),
                "mean_confidence": float(test.max(axis=1).mean()),
                "curve": json.loads(reliability(labels["test"], test).to_json(orient="records", double_precision=10)),
            }
        )
        print({key: value for key, value in rows[-1].items() if key != "curve"})
    result = {
        "command": "python benchmarks/calibration.py",
        "model": MODEL,
        "data": DATA,
        "fitted_on": {"split": "validation", "faces": len(labels["validation"])},
        "judged_on": {"split": "test", "faces": len(labels["test"])},
        "rows": rows,
        "commit": commit(),
    }
    (ROOT / "results" / "calibration.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

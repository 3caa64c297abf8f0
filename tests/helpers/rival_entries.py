"""Entries of `ferlib reproduce methods` as the command writes them, with figures of our choosing. No test."""

GAINS = {"SCN": 0.02, "LTNet": -0.03, "DDAMFN": 0.0, "mixup": 0.001}  # over plain training


def estimate(value: float, half: float = 0.01) -> dict:
    return {"value": value, "low": value - half, "high": value + half}


def verdict(gain: float) -> str:
    return "cannot be told" if abs(gain) <= 0.01 else "helps" if gain > 0 else "harms"


def row(name: str, plain: float, seeds: int = 3, changes: dict | None = None) -> dict:
    """A row of the table; DDAMFN is set alike with and without flipped labels, LTNet is not unless told."""
    value = plain + GAINS.get(name, 0.0)
    metrics = {metric: estimate(value) for metric in ("accuracy", "balanced_accuracy", "macro_f1")}
    found = {
        "name": name,
        "about": f"about {name}",
        "paper": name if name in ("SCN", "LTNet", "DDAMFN") else "",
        "changes": changes or {},
        "metrics": metrics | {"ece": {"value": 0.05}},
        "seeds": {str(seed): {"accuracy": value} for seed in range(seeds)},
        "chosen_on_test": value + 0.004,
        "minutes": {"cpu": 2.5},
        "ms_per_face": 1.25,
    }
    if name != "plain":
        gain = estimate(GAINS[name]) | {"verdict": verdict(GAINS[name])}
        found["minus_plain"] = dict.fromkeys(metrics, gain)
        found["mcnemar"] = [0.01, 0.2, 0.04][:seeds]
    return found


def entry(
    table: str = "methods-frozen",
    data: str = "ferplus",
    backbone: str = "mobilenetv1_100",
    plain: float = 0.8,
    rows: tuple[str, ...] = ("plain", "mixup", "SCN", "LTNet", "DDAMFN"),
    changes: dict[str, dict] | None = None,
    epochs: int = 8,
) -> dict:
    """An entry with these rows; `changes` of a row by its name."""
    return {
        "table": table,
        "data": data,
        "backbone": {"name": backbone, "keep_stages": 3},
        "seeds": [0, 1, 2],
        "epochs": epochs,
        "recipe": {"epochs": epochs},
        "rows": [row(name, plain, changes=(changes or {}).get(name)) for name in rows],
    }


def with_noise(backbone: str = "mobilenetv1_100") -> list[dict]:
    """A table without flipped labels and those of a tenth and two tenths; LTNet is set otherwise in these."""
    clean = entry(backbone=backbone)
    noisy = [
        entry(
            "methods-frozen-noise",
            f"ferplus_{percent}_percent_flipped",
            backbone,
            0.8 - percent / 200,
            ("plain", "SCN", "LTNet"),
            {"LTNet": {"other_annotators": False}},
        )
        for percent in (20, 10)
    ]
    return [*noisy, clean]

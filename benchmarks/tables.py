"""Rebuild the tables of README.md and docs/ from results/: `python benchmarks/tables.py` (`make tables`).

A table stands between `<!-- table NAME -->` and `<!-- end -->`; everything between is replaced.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import study_tables as studies
from detection_tables import detection_tables
from robustness_tables import robustness_tables
from study_tables import read

from ferlib.evaluation.report_format import in_percent, read_report
from ferlib.experiments.published import read_published
from ferlib.runtime.released import models_of_their_own, released_models

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
NAMES = ("accuracy", "balanced_accuracy", "macro_f1")


def row(label: str, faces: int, metrics: dict, names: Sequence[str] = NAMES) -> str:
    return " | ".join([f"| {label}", f"{faces:,}", *(in_percent(metrics[name]) for name in names)]) + " |"


HEAD = "| model | faces | accuracy, % | balanced accuracy, % | macro-F1, % |\n|---|---|---|---|---|"


def of_reports(models: dict[str, str], table: str, model: str, data: str) -> str:
    """A table of reports, name of the results file -> label, and what a paper's table claims for its model."""
    claim = read_published(table).query("model == @model and data == @data and metric == 'accuracy'").iloc[0]
    lines = [HEAD.replace(" |\n", " | calibration error, % |\n") + "---|"]
    for name, label in models.items():
        report = read_report(ROOT / "results" / f"{name}.json")
        lines.append(row(label, report["faces"], report["metrics"], (*NAMES, "ece")))
    lines.append(f"| *claimed by {claim['paper']}: {claim['protocol']}* | | *{claim['value']:.1f}* | | | |")
    return "\n".join(lines)


def released(before: bool = True) -> str:
    """The released models beside what a frozen backbone gives, FERPlus test; `before`: with the rows of old inputs."""
    models = {
        "convcut_ferplus": "**`convcut_ferplus`**, the default: EfficientNet-Lite0 fine-tuned",
        "convcut_ferplus_clean": "the same, duplicates removed",
        "convcut_ferplus_mirror": (
            "**`convcut_ferplus_mirror`**: the first one, trained further at 128 px, with the mirror image, τ = 0.2"
        ),
        "convcut_ferplus_mirror_clean": "the same, duplicates removed",
        "ferlib-l": (
            "**`ferlib-l`**: MobileNetV1 pretrained on faces, fine-tuned at 160 px, with the mirror image, τ = 0.2"
        ),
        "ferlib-l_clean": "the same, duplicates removed",
        "ferlib-m": "**`ferlib-m`**: `ferlib-l` in eight bits, τ = 0.3",
        "ferlib-m_clean": "the same, duplicates removed",
        "ferlib-s": "**`ferlib-s`**: `convcut_ferplus_mirror` in eight bits, τ = 0.2",
        "ferlib-s_clean": "the same, duplicates removed",
        "convcut_ferplus_frozen": "the first one's head on a frozen EfficientNet-Lite0",
        "former/convcut_ferplus_frozen": "the same, fed with another mean and std than its backbone's (0.1.0)",
        "linear_probe_ferplus": "one linear layer on the same frozen backbone",
        "former/linear_probe_ferplus": "the same, fed with another mean and std than its backbone's (0.1.0)",
    }
    other_forms = released_models().keys() - set(models_of_their_own())
    left_out = () if before else ("former/", *(f"{name}_clean" for name in other_forms))
    kept = {name: label for name, label in models.items() if not name.startswith(left_out)}
    return of_reports(kept, "convcut_table1", "Conv-cut", "ferplus")


def beside_fer() -> str:
    """The released model beside the `fer` package on the same rows."""
    ours, fer = (read("peers")["entries"][name]["sets"] for name in ("convcut_ferplus", "fer"))
    lines = [HEAD]
    for data, title in (("ferplus", "FERPlus without contempt"), ("fer2013", "FER2013's own labels")):
        lines.append(row(f"**ours**, {title}", ours[data]["faces"], ours[data]["metrics"]))
        if data == "fer2013":
            again = read("convcut_fer2013_head")
            lines.append(row(f"**ours, head retrained on them**, {title}", again["faces"], again["metrics"]))
        lines.append(row(f"`fer` 25.10.3, {title}", fer[data]["faces"], fer[data]["metrics"]))
    return "\n".join(lines)


def peers(data: str) -> str:
    """Other people's models and ours on a test split, the best first, from results/peers.json."""
    found = {name: (entry["sets"][data], entry["sets"][f"{data}, duplicates removed"]) for name, entry in all_peers()}
    lines = [HEAD.replace(" |\n", " | accuracy without duplicates, % |\n") + "---|"]
    for name in sorted(found, key=lambda name: -found[name][0]["metrics"]["accuracy"]["value"]):
        whole, clean = found[name]
        lines.append(
            f"{row(peer_label(name), whole['faces'], whole['metrics'])} {in_percent(clean['metrics']['accuracy'])} |"
        )
    return "\n".join(lines)


def all_peers() -> Iterable[tuple[str, dict]]:
    return read("peers")["entries"].items()


def peer_label(name: str) -> str:
    ours = (ROOT / "ferlib" / "weights" / name).is_dir()
    return f"**`{name}`** (ours)" if ours else f"`{name}`"


def peers_about() -> str:
    """Cost, licence and batch audit of the models, and how well they know FER2013's splits by its labels."""
    splits = {"Training": "fer2013, train", "PublicTest": "fer2013, validation", "PrivateTest": "fer2013"}
    lines = [
        f"| model | version | licence | weights, MB | ms a face | answers in a batch | {' | '.join(splits)} |",
        "|---" * 9 + "|",
    ]
    for name, entry in all_peers():
        cells = [peer_label(name), entry["version"], entry["licence"], f"{entry['weights, MB']:.2f}"]
        cells += [f"{entry['ms a face']:.1f}", batch_cell(entry["audit"])]
        cells += [in_percent(entry["sets"][split]["metrics"]["accuracy"]) for split in splits.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def batch_cell(audit: dict | None) -> str:
    if audit is None:
        return "takes one face at a time"
    return f"{audit['moved']:.0%} moved" if audit["moved"] else "as alone"


def training() -> str:
    """What training costs, from results/training_speed.json."""
    speed = read("training_speed")
    base, small = speed["cache"]["convnext_base, from step times"], speed["cache"]["small backbone, whole runs"]
    augmentation, overhead, memory = speed["augmentation"], speed["overhead"], speed["memory"]
    building = ", ".join(f"{value:,}" for value in memory["building a cache, MB"].values())
    faces = ", ".join(name.removesuffix(" faces") for name in memory["building a cache, MB"])
    rates = augmentation["images a second"]
    rows = [
        (
            "50 epochs of Conv-cut with the feature cache beside a backbone pass in every step, ConvNeXt-Base, 224 px",
            f"{base['ratio of 50 epochs']} × as fast; {base['ratio of 50 epochs when the cache is there']:,} × when "
            f"the cache is there (medians of {base['runs']} steps)",
        ),
        (
            "the same, EfficientNet-Lite0, one whole run of each, 112 faces",
            f"{small['ratio']} × ({small['cached, s']:.0f} s and {small['published, s']:.0f} s)",
        ),
        (
            "largest relative rounding of the cached maps",
            f"{base['largest relative rounding of a map']:.1e} (half precision's own: {base['of half precision']:.1e})",
        ),
        (
            f"augmentation on the {augmentation['device']}, images a second",
            f"{rates['some steps at once']:,}; step by step {rates['step by step']:,}; "
            f"image by image in a DataLoader with {augmentation['DataLoader workers']} workers {rates['DataLoader']:,}",
        ),
        (
            "`fit` beside a bare PyTorch loop",
            f"{overhead['overhead']:+.1%} time (median of {overhead['runs']}, which lie between "
            f"{min(overhead['all ratios']) - 1:+.0%} and {max(overhead['all ratios']) - 1:+.0%})",
        ),
        ("largest memory, IVSA with FER2013", f"{memory['training IVSA with FER2013 in memory, MB']:,} MB"),
        (f"largest memory, building a cache of {faces} faces", f"{building} MB"),
        ("on a GPU", gpu_cell(speed["gpu"])),
    ]
    return "\n".join(["| what | measured |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)])


def gpu_cell(gpu: dict) -> str:
    runs = {row["compile"]: row for row in gpu["ivsa training"] if row["batch"] == 64}
    names = {"no": "step by step", "reduce-overhead": "with compiled steps (`torch.compile`, recorded as CUDA graphs)"}
    cells = [
        f"{runs[mode]['100 epochs, s']:,.0f} s {how} ({runs[mode]['images a second']:,} images a second)"
        for mode, how in names.items()
        if mode in runs
    ]
    beside = "; the second beside eight to ten other trainings" if "from" in runs.get("reduce-overhead", {}) else ""
    return f"IVSA's 100 epochs of FER2013, batches of 64: {', '.join(cells)}; {gpu['machine']}{beside}"


def ivsa() -> str:
    """IVSA on FER2013's test split, the released one and that of the paper's size."""
    models = {
        "ivsa_fer2013": "**IVSA at half width (released)**, 30 epochs",
        "ivsa_fer2013_ten_crop": "the same, mean over ten crops of a face, as in the paper",
        "ivsa_fer2013_clean": "the same as the first, duplicates removed",
        "ivsa_full_width": "**IVSA at full width**, the paper's 100 epochs",
        "ivsa_full_width_ten_crop": "the same, mean over ten crops, as in the paper",
        "ivsa_full_width_ten_crop_clean": "the same, duplicates removed",
        "ivsa_full_width_clean": "full width, one crop, duplicates removed",
    }
    return of_reports(models, "ivsa_table3", "sab", "fer2013")


RELEASED = models_of_their_own()


def set_figures(model: str) -> dict:
    """Figures of a released model's prediction sets on its own test split, truth -> coverage -> figures."""
    return json.loads((ROOT / "ferlib" / "weights" / model / "conformal.json").read_text())["test"]["figures"]


def coverage(entries: dict[str, dict], wanted: Sequence[str] = ("0.8", "0.9", "0.95")) -> str:
    """A table of what prediction sets of some models hold and say, from `set_figures`."""
    columns = {
        "label in the set, %": "coverage",
        "a vote in it, %": "votes_covered",
        "single answers, %": "single",
        "of these right, %": "single_accuracy",
        "one or two classes, %": "named",
    }
    lines = [f"| model | calibrated on | promised | {' | '.join(columns)} | mean size |", "|---" * 9 + "|"]
    for model, figures in entries.items():
        for truth, levels in figures.items():
            for level in (one for one in levels if one in wanted):
                found = levels[level]
                cells = [in_percent(found[key]) if found.get(key) else "" for key in columns.values()]
                cells = [f"`{model}`", truth, f"{float(level):.0%}", *cells, f"{found['mean_size']['value']:.2f}"]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def coverage_classes() -> str:
    """Coverage by class of 90 % sets for the label on FERPlus's test faces, beside the recall of the first class."""
    columns: dict[str, dict[str, str]] = {"faces": {}}
    for model in ("convcut_ferplus", "convcut_ferplus_mirror", "ferlib-l"):
        recalls, found = read(model)["per_class"], set_figures(model)["label"]["0.9"]["per_class"]
        columns["faces"] = {key: f"{row['faces']:,}" for key, row in found.items()}
        columns[f"`{model}`: first class right, %"] = {
            key: f"{100 * row['recall']:.1f}" for key, row in recalls.items()
        }
        columns[f"`{model}`: in the set, %"] = {
            key: in_percent({"value": row["coverage"]} | row) for key, row in found.items()
        }
    return studies.written("class", columns, list(columns["faces"]))


def ceiling() -> str:
    """One annotator against the other nine by class, and the released models' recall, on FERPlus."""
    splits = read("annotator_ceiling")["splits"]
    columns: dict[str, dict[str, str]] = {}
    kept = splits["test"]["kept"]
    for found, faces in (
        (splits["validation"], "PublicTest"),
        (splits["test"], "PrivateTest"),
        (kept, f"the models' {kept['faces']:,} faces"),
    ):
        rows = {"all faces": found["agreement"], "mean over the classes": found["balanced_agreement"]}
        columns[f"one annotator, {faces}"] = {key: in_percent(row) for key, row in (rows | found["per_class"]).items()}
    columns["annotators' answers, these faces"] = {"all faces": f"{kept['answers']:,}"}
    columns["annotators' answers, these faces"] |= {k: f"{row['answers']:,}" for k, row in kept["per_class"].items()}
    for model in ("convcut_ferplus", "convcut_ferplus_mirror", "ferlib-l"):
        report = read(model)
        cells = {key: f"{100 * row['recall']:.1f}" for key, row in report["per_class"].items()}
        for row, metric in (("all faces", "accuracy"), ("mean over the classes", "balanced_accuracy")):
            cells[row] = f"{100 * report['metrics'][metric]['value']:.1f}"
        columns[f"`{model}`, the same faces"] = cells
    return studies.written("right, %", columns, list(columns["one annotator, PublicTest"]))


def app_load() -> str:
    """The app under load, from results/app_load.json."""
    report = read("app_load")
    turns, memory, files = report["turns"], report["memory"], report["files"]
    many = list(turns["clients"])[-1]
    lines = [
        "| clients | requests | errors | p50, s | p95, s | requests a second | cores in use |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, figures in turns["clients"].items():
        names = ("requests", "errors", "p50, s", "p95, s", "requests a second", "cores the server used")
        lines.append(" | ".join([f"| {number}", *(f"{figures[name]:,}" for name in names)]) + " |")
    rows = [
        (f"answers to one client and to {many} that differ", turns["photos in which answers differ"]),
        (
            f"memory before and after {memory['requests']:,} further requests ({memory['errors']} errors)",
            f"{memory['before']['resident, MB']:,.0f} and {memory['after']['resident, MB']:,.0f} MB: "
            f"{memory['growth, MB']:+.1f} MB",
        ),
        ("temporary files after the last request", f"{files['after the last request']:,} ({files['of these, MB']} MB)"),
        (f"of these left {files['watched, s'] / 60:.0f} minutes later", files["left by the server"]),
        ("files left after Ctrl-C", files["left after the end"]),
    ]
    return "\n".join(
        [*lines, "", "| what | measured |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]
    )


def app_latency() -> str:
    """One face, step by step, beside the `fer` package, from results/app_latency.json."""
    report = read("app_latency")
    kinds = report["kinds"]
    version = report["fer"]["fer"]
    lines = [f"| milliseconds (medians) | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]

    def add(label: str, cells: Iterable[str]) -> None:
        lines.append(" | ".join([f"| {label}", *cells]) + " |")

    found = kinds.values()
    for step in next(iter(found))["ms of ours"]:
        if step != "explanation":
            add(step, (f"{kind['ms of ours'][step]:.1f}" for kind in found))
    add("**ours, together**", (f"**{kind['ms']['ours']:.1f}**" for kind in found))
    for name, ratios in (("fer, Haar", "Haar"), ("fer, MTCNN", "MTCNN")):
        add(
            f"`fer` {version}, {ratios} (ours takes)",
            (f"{kind['ms'][name]:.1f} ({kind['ours to fer'][name]:.2f} ×)" for kind in found),
        )
    for name in ("ours", "fer, Haar", "fer, MTCNN"):
        add(f"photos with a face, {name}", (f"{kind['with a face'][name]} of {kind['photos']}" for kind in found))
    return "\n".join(lines)


def runtime() -> str:
    """Cost of a photo and of the page before and after the light half, from results/runtime.json."""
    found = read("runtime")
    measures = {
        "`ferlib predict photo.jpg`": ("a photo", "seconds", "{:.2f} s"),
        "its largest memory": ("a photo", "MB", "{:,.0f} MB"),
        "the same with Grad-CAM": ("a photo with Grad-CAM", "seconds", "{:.2f} s"),
        "largest memory with Grad-CAM": ("a photo with Grad-CAM", "MB", "{:,.0f} MB"),
        "the page opens after": ("the page", "opens_seconds", "{:.1f} s"),
        "its models are loaded after": ("the page", "loaded_seconds", "{:.1f} s"),
        "its memory then": ("the page", "MB", "{:,.0f} MB"),
    }
    lines = ["| medians of 5, in turns | 0.1.0 | now |", "|---|---|---|"]
    for what, (part, key, form) in measures.items():
        lines.append(
            f"| {what} | {' | '.join(form.format(found[t][part][key]['median']) for t in ('before', 'after'))} |"
        )
    sizes = " | ".join(f"{found[tree]['environment_MB']:,} MB" for tree in ("before", "after"))
    return "\n".join([*lines, f"| environment of `make demo` | {sizes} |"])


def video_crossing() -> str:
    """Labels of films in which people cross, by the way of smoothing, from results/video.json."""
    found = read("video")["crossing"]
    lines = ["| smoothed | label changes a minute | fewer by | accuracy, % |", "|---|---|---|---|"]
    for name, values in found["answers"].items():
        changes, fewer, right = values["label_changes_a_minute"], values["fewer_changes"], values["accuracy"]
        lines.append(f"| {name} | {changes:.1f} | {fewer:.0%} | {100 * right:.1f} |")
    lines.append(f"| *as acted* | *{found['acted_changes_a_minute']:.1f}* | | |")
    return "\n".join(lines)


def video_speed() -> str:
    """Frames a second of films with one and with four faces, beside the `fer` package, from results/video.json."""
    found = read("video")["speed"]
    lines = [
        "| film | searched by | frames a second | the first row is faster by | faces found a frame |",
        "|---|---|---|---|---|",
    ]
    for name in (name for name in found if name.startswith("faces: ")):
        for way, own in found[name].items():
            ratio = f"{own['ratio']:.1f} ×" if "ratio" in own else ""
            lines.append(f"| {name} | {way} | {own['frames_a_second']:.1f} | {ratio} | {own['faces_a_frame']:.2f} |")
    return "\n".join(lines)


def bulk_rates() -> str:
    """Photos a second by a loop and by bulk prediction, beside the `fer` package, from results/bulk.json."""
    lines = ["| | photos a second | beside the loop | processor time a photo, ms |", "|---|---|---|---|"]
    for name, way in read("bulk")["rates"]["ways"].items():
        rate, beside, worked = way["photos_a_second"], way["beside_the_loop"], way["processor_ms_a_photo"]
        lines.append(f"| {name} | {rate:.1f} | {beside:.2f} × | {worked:.1f} |")
    return "\n".join(lines)


def bulk_kills() -> str:
    """Tables made by runs that were killed, beside the one of an undisturbed process, from results/bulk.json."""
    counts = ("rows", "photos_without_a_row", "photos_twice", "photos_with_other_rows")
    lines = [f"| | killed | {' | '.join(name.replace('_', ' ') for name in counts)} | same files |", "|---" * 7 + "|"]
    for name, way in read("bulk")["kills"]["ways"].items():
        same = {True: "yes", False: "no"}.get(way.get("same_files"), "")
        cells = " | ".join(f"{way[count]:,}" for count in counts)
        lines.append(f"| {name} | {way.get('killed', 0)} | {cells} | {same} |")
    return "\n".join(lines)


def bulk_long() -> str:
    """The long run of bulk prediction, in pieces that were killed, from results/bulk.json."""
    found = read("bulk")["long"]
    killed = found["killed"]
    measured = {
        "photos, of which different": f"{found['photos']:,}, {found['different']:,}",
        "hours": f"{found['seconds'] / 3600:.2f}",
        "photos a second": f"{found['photos_a_second']:.0f}",
        "memory of all processes, at most, MB": f"{found['largest_MB']:,.0f}",
        "kills of the parent, of a worker": f"{killed['parent']}, {killed['worker']}",
        "rows": f"{found['rows']:,}",
        "photos without a row, photos twice": f"{found['photos_without_a_row']}, {found['photos_twice']}",
        "photos with other rows than by one process": f"{found['photos_with_other_rows']}",
    }
    return studies.written("what", {"measured": measured}, list(measured))


def landmarks() -> str:
    """The face mesh beside dlib's landmarks: how far apart they are, how often each fails."""
    found = read("landmarks")
    mesh, dlib = found["sets"]["mesh"], found["sets"]["dlib"]
    lines = [
        "| % of the distance between the eyes | median | 90 % are below | median, mouth wide open |",
        "|---|---|---|---|",
    ]
    for point, own in found["apart"].items():
        values = (own["median"], own["p90"], found["apart_mouth_open"][point]["median"])
        lines.append(f"| {point} | " + " | ".join(f"{100 * value:.1f}" for value in values) + " |")
    lines += ["", "| | face mesh | dlib |", "|---|---|---|"]
    lines.append(f"| failed, of {found['faces']} faces | {mesh['failed']} | {dlib['failed']} |")
    again = (f"{100 * own['mirrored']['all']['median']:.1f} %" for own in (mesh, dlib))
    lines.append(f"| from itself in the mirrored photo, median | {' | '.join(again)} |")
    lines.append(f"| processor time a face, ms | {mesh['cpu_milliseconds']:.1f} | {dlib['cpu_milliseconds']:.1f} |")
    return "\n".join(lines)


TABLES = {
    "released": released,
    "coverage": lambda: coverage({model: set_figures(model) for model in RELEASED}),
    "coverage_photos": lambda: coverage(
        {one["model"]: one["sets"] for one in read("conformal_photos")["entries"]}, ("0.9",)
    ),
    "coverage_classes": coverage_classes,
    "ceiling": ceiling,
    "released_short": lambda: released(before=False),
    "tried": studies.tried,
    "ivsa": ivsa,
    "protocols": lambda: studies.protocols("convcut", "ferplus"),
    "protocols_references": lambda: studies.protocols("convcut", "ferplus", references=True),
    "protocols_most_votes": lambda: studies.protocols("convcut", "ferplus_most_votes"),
    "protocols_pattlite_most_votes": lambda: studies.protocols("pattlite", "ferplus_most_votes"),
    "protocols_pattlite": lambda: studies.protocols("pattlite", "ferplus"),
    "convcut_table1": lambda: studies.paper_table("convcut-table1", "ferplus", "mobilenetv1_100"),
    "convcut_table2": lambda: studies.paper_table("convcut-table2", "ferplus", "mobilenetv1_100"),
    "convcut_table3": lambda: studies.paper_table("convcut-table3", "ferplus", "mobilenetv1_100"),
    "convcut_steps": lambda: studies.paper_steps("ferplus", "mobilenetv1_100"),
    "protocols_facial_expressions": lambda: studies.protocols("convcut", "facial_expressions"),
    "protocols_pattlite_facial_expressions": lambda: studies.protocols("pattlite", "facial_expressions"),
    "purity": lambda: studies.purity("ferplus"),
    "annotators": studies.annotators,
    "annotator_classes": studies.annotator_classes,
    **studies.methods_tables(),
    "fer": beside_fer,
    "peers_ferplus": lambda: peers("ferplus"),
    "peers_fer2013": lambda: peers("fer2013"),
    "peers_about": peers_about,
    "training": training,
    "runtime": runtime,
    "app_latency": app_latency,
    "app_load": app_load,
    "video_crossing": video_crossing,
    "video_speed": video_speed,
    "bulk_rates": bulk_rates,
    "bulk_kills": bulk_kills,
    "bulk_long": bulk_long,
    "landmarks": landmarks,
    **robustness_tables(),
    **detection_tables(),
}


def rebuilt(text: str) -> str:
    """A page with every table made anew."""

    def replace(match: re.Match) -> str:
        return f"<!-- table {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rebuilt(page.read_text()))

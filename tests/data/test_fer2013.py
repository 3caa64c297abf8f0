"""The loaders of FER2013 and FERPlus on small made-up files, and on the real ones where they are."""

import gzip
import os
import re
import time
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch

from ferlib import labels
from ferlib.data.dataset import DataError
from ferlib.data.fer2013 import load_fer2013, load_ferplus
from ferlib.data.registry import load_dataset
from ferlib.utils.cache import cache_dir

USAGES = ("Training", "PublicTest", "PrivateTest")
HEADER = "emotion,pixels,Usage"
VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
COUNT = 40


def made_rows(seed: int = 0, count: int = COUNT) -> list[tuple[int, np.ndarray, str]]:
    """Label, pixels (48·48,) and usage of made-up faces."""
    rng = np.random.default_rng(seed)
    return [
        (int(rng.integers(7)), rng.integers(0, 256, 48 * 48), USAGES[min(int(i * 4 / count), 3) % 3])
        for i in range(count)
    ]


def csv_text(rows: list[tuple[int, np.ndarray, str]]) -> str:
    lines = [f"{label},{' '.join(map(str, pixels))},{usage}" for label, pixels, usage in rows]
    return "\n".join([HEADER, *lines, ""])


def write(folder: Path, text: str, zipped: bool = False) -> Path:
    path = folder / ("fer2013.csv.gz" if zipped else "fer2013.csv")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    return path


def made_votes(rows: list, seed: int = 1) -> list[list[int]]:
    """Ten votes a face over the eight classes, unknown and not-a-face, some nearly unanimous, some not."""
    rng = np.random.default_rng(seed)
    return [rng.multinomial(10, rng.dirichlet(np.full(10, rng.choice([0.05, 0.3, 2])))).tolist() for _ in rows]


def write_votes(folder: Path, rows: list, votes: list) -> Path:
    path = folder / "fer2013new.csv"
    pairs = enumerate(zip(rows, votes, strict=True))
    lines = [f"{row[2]},fer{i:07d}.png,{','.join(map(str, vote))}" for i, (row, vote) in pairs]
    path.write_text("\n".join([VOTES_HEADER, *lines, ""]))
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_csv_is_read_as_a_naive_parser_reads_it(tmp_path, zipped):
    text = csv_text(made_rows())
    write(tmp_path, text, zipped)
    dataset = load_fer2013(tmp_path)
    splits = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    assert (dataset.name, dataset.classes) == ("fer2013", labels.FER2013)
    assert tuple(dataset.pixels.shape) == (COUNT, 1, 48, 48) and dataset.pixels.dtype == torch.uint8
    for row, line in enumerate(text.splitlines()[1:]):
        label, pixels, usage = line.split(",")
        face, found = dataset[row]
        assert found == int(label)
        assert face.flatten().tolist() == [int(value) for value in pixels.split()]
        assert dataset.frame.loc[row, ["split", "row", "group"]].tolist() == [splits[usage], row, -1]


def test_columns_are_found_by_name(tmp_path):
    rows = made_rows(count=3)
    lines = [f"{usage},{' '.join(map(str, pixels))},{label}" for label, pixels, usage in rows]
    write(tmp_path, "\n".join(["Usage,pixels,emotion", *lines]))
    assert load_fer2013(tmp_path).labels().tolist() == [row[0] for row in rows]


def test_plain_csv_goes_before_the_zipped_one(tmp_path):
    write(tmp_path, csv_text(made_rows(0, 4)), zipped=True)
    write(tmp_path, csv_text(made_rows(1, 5)))
    assert len(load_fer2013(tmp_path)) == 5


def naive_majority(votes: list[int]) -> str | None:
    """The class of a face by the rule of `load_ferplus`, None when it is not kept."""
    counts = zip([*labels.FERPLUS, "unknown", "NF"], votes, strict=True)
    left = {name: count for name, count in counts if count > 1}
    for name, count in left.items():
        if count * 2 > sum(left.values()):
            return name if name in labels.FERPLUS else None
    return None


def test_ferplus_keeps_what_the_majority_rule_keeps(tmp_path):
    rows = made_rows(count=300)
    votes = made_votes(rows)
    votes[:6] = [
        [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],  # exactly half
        [3, 1, 1, 1, 1, 1, 1, 1, 0, 0],  # three of ten, but all that is left without single votes
        [1] * 10,  # nothing left
        [3, 0, 0, 0, 0, 0, 0, 0, 7, 0],  # unknown
        [2, 0, 0, 0, 0, 0, 0, 0, 0, 8],  # not a face
        [4, 0, 0, 0, 0, 0, 0, 0, 3, 1],  # unknown counts, but four of seven are enough
    ]
    write(tmp_path, csv_text(rows))
    write_votes(tmp_path, rows, votes)
    dataset = load_ferplus(tmp_path)
    expected = {row: name for row, vote in enumerate(votes) if (name := naive_majority(vote))}
    assert 50 < len(expected) < 290 and {0, 2, 3, 4}.isdisjoint(expected) and {1, 5} <= set(expected)
    found = {
        row: labels.FERPLUS[label] for row, label in zip(dataset.frame["row"], dataset.frame["label"], strict=True)
    }
    assert found == expected
    for place, row in enumerate(dataset.frame["row"]):
        assert dataset.pixels[place].flatten().tolist() == rows[row][1].tolist()


def test_ferplus_carries_the_labels_of_fer2013(tmp_path):
    rows = made_rows(count=60)
    write(tmp_path, csv_text(rows))
    write_votes(tmp_path, rows, made_votes(rows))
    for dataset in (load_ferplus(tmp_path), load_ferplus(tmp_path).split("train")):  # also of a part
        classes, codes = dataset.other_annotators()["fer2013"]
        assert classes == labels.FER2013 and codes.dtype == torch.int64
        assert codes.tolist() == [rows[row][0] for row in dataset.frame["row"]] and len(set(codes.tolist())) > 3
    assert load_fer2013(tmp_path).other_annotators() == {}


def test_ferplus_by_most_votes(tmp_path):
    """Single votes count, half of them is not needed, the first of equals has it; unknown and NF are left out."""
    rows = made_rows(count=300)
    votes = made_votes(rows)
    votes[:5] = [
        [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],
        [1] * 10,
        [0, 3, 2, 2, 0, 0, 0, 0, 2, 1],
        [3, 0, 0, 0, 0, 0, 0, 0, 4, 3],  # unknown
        [4, 0, 0, 0, 0, 0, 0, 0, 1, 5],  # not a face
    ]
    write(tmp_path, csv_text(rows))
    write_votes(tmp_path, rows, votes)
    dataset = load_dataset("ferplus_most_votes", tmp_path)
    expected = {row: vote.index(max(vote)) for row, vote in enumerate(votes) if vote.index(max(vote)) < 8}
    found = dict(zip(dataset.frame["row"], dataset.frame["label"], strict=True))
    assert dataset.name == "ferplus_most_votes" and found == expected
    assert (found[0], found[1], found[2]) == (0, 0, 1) and not {3, 4} & set(found)
    soft = dataset.soft_labels()
    assert soft[1].tolist() == pytest.approx([1 / 8] * 8) and not soft.isnan().any()
    assert len(load_ferplus(tmp_path)) < len(dataset)
    with pytest.raises(ValueError, match="rule must be one of majority, most_votes"):
        load_ferplus(tmp_path, rule="plurality")


def test_soft_labels_are_shares_of_the_votes(tmp_path):
    rows = made_rows()
    votes = made_votes(rows)
    write(tmp_path, csv_text(rows))
    write_votes(tmp_path, rows, votes)
    dataset = load_ferplus(tmp_path)
    soft = dataset.soft_labels()
    assert torch.allclose(soft.sum(dim=1), torch.ones(len(dataset)))
    assert (soft.argmax(dim=1) == dataset.labels()).all()
    for shares, row in zip(soft, dataset.frame["row"], strict=True):
        kept = [vote if vote > 1 else 0 for vote in votes[row][:8]]
        assert shares.tolist() == pytest.approx([vote / sum(kept) for vote in kept])
    with pytest.raises(DataError, match="no votes"):
        load_fer2013(tmp_path).soft_labels()


def test_second_read_comes_from_the_cache_and_is_equal(tmp_path, monkeypatch):
    write(tmp_path, csv_text(made_rows()))
    first = load_fer2013(tmp_path)
    monkeypatch.setattr("ferlib.data.fer2013._parse", lambda *_: pytest.fail("parsed again"))
    second = load_fer2013(tmp_path)
    assert torch.equal(first.pixels, second.pixels)
    assert first.frame.equals(second.frame)


def test_changed_csv_is_read_anew(tmp_path):
    path = write(tmp_path, csv_text(made_rows(0)))
    before = load_fer2013(tmp_path)
    write(tmp_path, csv_text(made_rows(5)))
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))
    after = load_fer2013(tmp_path)
    assert not torch.equal(before.pixels, after.pixels)
    assert after.labels().tolist() == [row[0] for row in made_rows(5)]


def broken_csvs() -> dict[str, str]:
    """Csv files that are wrong in their last row or their header, by what is wrong."""
    rows = made_rows(count=5)
    label, pixels, usage = rows.pop()
    good, numbers = csv_text(rows), " ".join(map(str, pixels))
    return {
        "empty": "",
        "header only": HEADER + "\n",
        "another table": "name,value\na,1\n",
        "no usage": good.replace(",Usage", ",Use"),
        "pixel missing": good + f"{label},{' '.join(map(str, pixels[1:]))},{usage}\n",
        "pixel too many": good + f"{label},{numbers} 7,{usage}\n",
        "one pixel": good + f"{label},7,{usage}\n",
        "no pixels": good + f"{label},,{usage}\n",
        "pixel above 255": good + f"{label},256 {' '.join(map(str, pixels[1:]))},{usage}\n",
        "pixel below 0": good + f"{label},-1 {' '.join(map(str, pixels[1:]))},{usage}\n",
        "pixel not a number": good + f"{label},x {' '.join(map(str, pixels[1:]))},{usage}\n",
        "label 7": good + f"7,{numbers},{usage}\n",
        "label -1": good + f"-1,{numbers},{usage}\n",
        "label 300": good + f"300,{numbers},{usage}\n",
        "label in words": good + f"happy,{numbers},{usage}\n",
        "no label": good + f",{numbers},{usage}\n",
        "unknown usage": good + f"{label},{numbers},Testing\n",
        "cut in the middle": good + f"{label},{numbers[:1000]}",
        "column too many": good + f"{label},{numbers},{usage},9\n",
    }


@pytest.mark.parametrize("kind", broken_csvs())
def test_broken_csv_is_a_clear_error(tmp_path, kind):
    path, before = write(tmp_path, broken_csvs()[kind]), set(cache_dir().glob("fer2013-*"))
    for load in (load_fer2013, load_ferplus):
        with pytest.raises(DataError) as caught:
            load(tmp_path)
        assert "FER2013" in str(caught.value) and str(path) in str(caught.value)
    assert set(cache_dir().glob("fer2013-*")) == before


@pytest.mark.parametrize("kind", ["truncated", "corrupted", "not gzip", "empty", "broken checksum"])
def test_broken_gzip_is_a_clear_error(tmp_path, kind):
    path = write(tmp_path, csv_text(made_rows()), zipped=True)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "truncated": whole[:middle],
            "corrupted": whole[:middle] + b"\xff" * 400 + whole[middle + 400 :],
            "not gzip": csv_text(made_rows()).encode(),
            "empty": b"",
            "broken checksum": whole[:-8] + b"\x00\x00\x00\x00" + whole[-4:],
        }[kind]
    )
    with pytest.raises(DataError, match=r"is not the fer2013\.csv of the challenge") as caught:
        load_fer2013(tmp_path)
    assert str(path) in str(caught.value)


def test_message_names_the_row_and_the_value(tmp_path):
    write(tmp_path, broken_csvs()["pixel missing"])
    with pytest.raises(DataError, match="row 4 has 2303 pixels, expected 2304"):
        load_fer2013(tmp_path)
    write(tmp_path, broken_csvs()["label 7"])
    with pytest.raises(DataError, match="row 4 has the emotion 7, expected 0 to 6"):
        load_fer2013(tmp_path)
    write(tmp_path, broken_csvs()["no usage"])
    with pytest.raises(DataError, match=r"lacks the columns \['Usage'\]"):
        load_fer2013(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no fer2013\.csv, fer2013\.csv\.gz, icml_face_data\.csv or .* in"):
        load_fer2013(tmp_path)
    write(tmp_path, csv_text(made_rows()))
    with pytest.raises(DataError, match=r"no fer2013new\.csv in"):
        load_ferplus(tmp_path)
    with pytest.raises(DataError, match="To get it"):
        load_dataset("ferplus", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",contempt", ",disdain", r"lacks the columns \['contempt'\]"),
        ("Usage,", "Split,", r"lacks the columns \['Usage'\]"),
        ("Training,fer0000000.png", "PrivateTest,fer0000000.png", "are not those of FER2013"),
        ("Training,fer0000000.png", "Else,fer0000000.png", "are not those of FER2013"),
        ("fer0000003.png,", "fer0000003.png,x", "not whole numbers"),
        ("fer0000003.png,", "fer0000003.png,-", "not whole numbers"),
        ("fer0000003.png,", "fer0000003.png,.", "not whole numbers"),
    ],
)
def test_broken_votes_are_a_clear_error(tmp_path, old, new, message):
    rows = made_rows()
    write(tmp_path, csv_text(rows))
    votes = made_votes(rows)
    votes[3] = [6, 4, 0, 0, 0, 0, 0, 0, 0, 0]
    path = write_votes(tmp_path, rows, votes)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message) as caught:
        load_ferplus(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["short", "cut", "empty", "binary"])
def test_votes_that_do_not_fit_are_a_clear_error(tmp_path, kind):
    rows = made_rows()
    write(tmp_path, csv_text(rows))
    path = write_votes(tmp_path, rows, made_votes(rows))
    text = path.read_text()
    path.write_bytes(
        {
            "short": "\n".join(text.splitlines()[:-1]).encode(),
            "cut": text.rstrip("\n").rsplit(",", 3)[0].encode(),
            "empty": b"",
            "binary": bytes(range(256)) * 40,
        }[kind]
    )
    with pytest.raises(DataError, match="FERPlus") as caught:
        load_ferplus(tmp_path)
    assert str(path) in str(caught.value)


# --- as Kaggle ships it ---


def write_icml(folder: Path, rows: list, name: str = "icml_face_data.csv") -> None:
    """The columns of icml_face_data.csv: another order, and a blank before two of the names."""
    lines = [f"{label},{usage},{' '.join(map(str, pixels))}" for label, pixels, usage in rows]
    (folder / name).write_text("\n".join(["emotion, Usage, pixels", *lines, ""]))


@pytest.mark.parametrize("name", ["icml_face_data.csv", "FER2013.csv", "Fer2013.CSV"])
def test_other_names_of_the_csv(tmp_path, name):
    rows = made_rows(count=300)
    (tmp_path / "FER2013").mkdir()
    write_icml(tmp_path / "FER2013", rows, name)
    write_votes(tmp_path / "FER2013", rows, made_votes(rows)).rename(tmp_path / "FER2013" / "FER2013new.csv")
    (tmp_path / "plain").mkdir()
    write(tmp_path / "plain", csv_text(rows))
    write_votes(tmp_path / "plain", rows, made_votes(rows))
    for load, data in ((load_fer2013, "fer2013"), (load_ferplus, "ferplus")):
        found, expected = load_dataset(data, tmp_path), load(tmp_path / "plain")
        assert found.frame.equals(expected.frame) and torch.equal(found.pixels, expected.pixels)
        (note,) = found.notes
        assert re.fullmatch(r"\d+ / \d+ / \d+ faces in .*, where FER2013 has 28,709 / 3,589 / 3,589", note)


def test_damaged_rows_are_named_together_and_can_be_left_out(tmp_path):
    rows = made_rows(count=300)
    votes = made_votes(rows)
    for row in range(0, 40):
        votes[row] = [10, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    text = csv_text(rows).splitlines()
    for row in range(3, 33, 2):
        text[1 + row] = text[1 + row].replace(" ", " x", 1) if row == 3 else text[1 + row].replace(" ", "", 1)
    write(tmp_path, "\n".join(text))
    write_votes(tmp_path, rows, votes)
    for load in (load_fer2013, load_ferplus):
        with pytest.raises(DataError, match=r"row 3 has 0 pixels.*; row 21 has .*and 5 rows more; --skip-broken"):
            load(tmp_path)
        data = load(tmp_path, skip_broken=True)
        left = set(data.frame["row"])
        assert not left & set(range(3, 33, 2)) and {2, 4, 32, 34} <= left
        assert (
            data.notes[0] == "15 rows of fer2013.csv are damaged and left out: 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, ..."
        )
        for place, row in enumerate(data.frame["row"]):  # nothing has moved
            assert data.pixels[place].flatten().tolist() == rows[row][1].tolist()
        with pytest.raises(DataError, match="row 3 has 0 pixels"):  # what was left out is not remembered as right
            load(tmp_path)


@pytest.mark.data
def test_facts_of_fer2013(data_root):
    counts = load_dataset("fer2013", data_root).counts()
    assert counts.sum().tolist() == [28_709, 3_589, 3_589]
    assert counts["train"].tolist() == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert counts["validation"].tolist() == [467, 56, 496, 895, 653, 415, 607]
    assert counts["test"].tolist() == [491, 55, 528, 879, 594, 416, 626]


@pytest.mark.data
def test_facts_of_ferplus(data_root):
    dataset = load_dataset("ferplus", data_root)
    counts = dataset.counts()
    assert counts.sum().tolist() == [25_060, 3_199, 3_153]
    assert tuple(counts.index) == (
        "neutral",
        "happiness",
        "surprise",
        "sadness",
        "anger",
        "disgust",
        "fear",
        "contempt",
    )
    assert counts["train"].tolist() == [8740, 7287, 3149, 3014, 2100, 119, 532, 119]
    assert counts["validation"].tolist() == [1182, 865, 415, 351, 287, 24, 62, 13]
    assert counts["test"].tolist() == [1090, 893, 396, 384, 273, 18, 83, 16]
    assert dataset.soft_labels().sum(dim=1).allclose(torch.ones(len(dataset)))
    _, codes = dataset.other_annotators()["fer2013"]
    assert torch.equal(codes, load_dataset("fer2013", data_root).labels()[torch.tensor(dataset.frame["row"])])
    same = np.array(labels.FER2013)[codes] == np.array(labels.FERPLUS)[dataset.labels()]
    assert same.mean() == pytest.approx(0.6755, abs=5e-5)


@pytest.mark.data
def test_facts_of_ferplus_by_most_votes(data_root):
    """Conv-cut prints contempt 0.58, disgust 0.67, fear 2.29 %; of the training faces, cut after two digits."""
    counts = load_dataset("ferplus_most_votes", data_root).counts()
    assert counts.sum().tolist() == [28_389, 3_553, 3_546]
    assert counts["test"].tolist() == [1262, 928, 444, 444, 325, 23, 93, 27]
    shares = 100 * counts["train"] / counts["train"].sum()
    assert [int(100 * shares[name]) for name in ("contempt", "disgust", "fear")] == [58, 67, 229]
    majority = load_dataset("ferplus", data_root).counts()["train"]
    assert int(10_000 * majority["contempt"] / majority.sum()) == 47


@pytest.mark.data
def test_cached_load_takes_half_a_second_at_most(data_root):
    if os.getloadavg()[0] > os.cpu_count():
        pytest.skip("the machine is busy with other work: a time would say nothing")
    load_dataset("fer2013", data_root)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        load_dataset("fer2013", data_root)
        seconds.append(time.perf_counter() - start)
    assert median(seconds) <= 0.5


@pytest.mark.parametrize("label", [-1, 256, 10**30])
def test_a_label_that_is_none_is_named_with_its_row(tmp_path, label):
    pixels = " ".join(["7"] * 48 * 48)
    write(tmp_path, "\n".join([HEADER, f"0,{pixels},Training", f"{label},{pixels},Training"]))
    with pytest.raises(DataError, match="row 1 has the emotion" if label < 10**6 else "is not the fer2013.csv"):
        load_dataset("fer2013", tmp_path)

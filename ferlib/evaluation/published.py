"""What the papers' tables say, as data: `results/published/*.csv`, every figure with its source and protocol."""

from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parents[2] / "results"
TABLES = {
    "convcut_table1": "Conv-cut, Table 1: accuracy beside other methods",
    "convcut_table2": "Conv-cut, Table 2: attention and Detail Extraction",
    "convcut_table3": "Conv-cut, Table 3: layers in Detail Extraction",
    "ivsa_table1": "IVSA, Table I: accuracy on FER2013",
    "ivsa_table2": "IVSA, Table II: accuracy on CK+",
    "ivsa_table3": "IVSA, Table III: attention blocks",
}


def read_published(table: str, results: Path = RESULTS) -> pd.DataFrame:
    """One of `TABLES`, a row a figure.

    Args:
        table: its name.
        results: the project's results folder.

    Returns:
        `paper`, `table` (its number there), `model`, `year`, `data`, `metric`, `value` (percent), `protocol` (how the
        figure came about, as far as known), `cites` (the reference the paper names), `note`.
    """
    if table not in TABLES:
        raise ValueError(f"unknown table {table!r}, expected one of {', '.join(TABLES)}")
    return pd.read_csv(results / "published" / f"{table}.csv", dtype={"table": str}, keep_default_na=False)

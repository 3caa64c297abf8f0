"""The papers' tables, run again under the published and under an honest protocol."""

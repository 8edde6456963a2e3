"""Other libraries over the Hub, unmodified and in processes of their own."""

from __future__ import annotations

import pytest

from tests.hub.conftest import Fresh

PUSH = """
import sys
import datasets
rows = {"text": [f"row {n}" for n in range(500)], "n": list(range(500))}
datasets.Dataset.from_dict(rows).push_to_hub(sys.argv[1], revision="main")
from huggingface_hub import HfApi
HfApi().create_tag(sys.argv[1], tag="v1", repo_type="dataset")
"""
LOAD = """
import os, sys
import datasets, pandas
from huggingface_hub import HfFileSystem
plain = datasets.load_dataset(sys.argv[1], revision="v1", split="train")
assert plain["n"][:] == list(range(500))
streamed = datasets.load_dataset(sys.argv[1], revision="v1", split="train", streaming=True)
assert [row["n"] for row in streamed] == list(range(500))
path = next(p for p in HfFileSystem().find(f"datasets/{sys.argv[1]}@v1") if p.endswith(".parquet"))
assert pandas.read_parquet("hf://" + path)["text"][499] == "row 499"
sys.stdout.flush()
os._exit(0)  # threads of these libraries may race the end of the interpreter; what they read is right by now
"""


@pytest.mark.parametrize("disable_xet", ["0", "1"])
def test_datasets_and_pandas_read_what_datasets_pushed(fresh: Fresh, name: str, disable_xet: str) -> None:
    fresh(PUSH, name, HF_HUB_DISABLE_XET=disable_xet)
    fresh(LOAD, name, HF_HUB_DISABLE_XET=disable_xet)

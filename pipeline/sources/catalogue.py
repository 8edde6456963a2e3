"""The datasets that HALA is made from, each with the commit, terms and columns that its pages on the Hub show.

Comments say what was read where; `blob`, `tree` and `commit` are pages of the dataset on the Hub.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.sources.source import Conversation, Exchange, Pair, Source

TULU_ENGLISH = (
    "ai2-adapt-dev/coconot_converted",
    "ai2-adapt-dev/evol_codealpaca_heval_decontaminated",
    "ai2-adapt-dev/flan_v2_converted",
    "ai2-adapt-dev/no_robots_converted",
    "ai2-adapt-dev/numinamath_tir_math_decontaminated",
    "ai2-adapt-dev/personahub_code_v2_34999",
    "ai2-adapt-dev/personahub_ifdata_manual_seed_v3_29980",
    "ai2-adapt-dev/personahub_math_v5_regen_149960",
    "ai2-adapt-dev/tulu_hard_coded_repeated_10",
    "ai2-adapt-dev/tulu_v3.9_open_math_2_gsm8k_50k",
    "ai2-adapt-dev/tulu_v3.9_personahub_math_interm_algebra_20k",
    "ai2-adapt-dev/tulu_v3.9_sciriff_10k",
    "ai2-adapt-dev/tulu_v3.9_synthetic_finalresp_wildguardmixtrain_decontaminated_50k",
    "ai2-adapt-dev/tulu_v3.9_table_gpt_5k",
    "ai2-adapt-dev/tulu_v3.9_wildjailbreak_decontaminated_50k",
    "allenai/tulu-3-sft-personas-math-grade",
)
"""Values of the column `source` whose sets are in English. Three of the 19 are left out because their sets hold many
languages: Aya (`tulu_v3.9_aya_100k`), WildChat (`tulu_v3.9_wildchat_100k`) and OpenAssistant (`oasst1_converted`)."""

OPEN_ORCA = Source(
    name="open-orca",
    repository="Open-Orca/OpenOrca",
    # tree/3e85783…: both files, 1.01 and 3.09 GB, MIT; the README there names the four columns
    revision="3e85783ecb0db83df8b30dbbd94107857b5ac830",
    license="mit",
    files=("1M-GPT4-Augmented.parquet", "3_5M-GPT3_5-Augmented.parquet"),
    shape=Exchange(system="system_prompt", instruction="question", output="response"),
)
HERMES_3 = Source(
    name="hermes-3",
    repository="NousResearch/Hermes-3-Dataset",
    # blob/ca77a26…/README.md: Apache-2.0. Commit, file name and size (1,695,003,419 bytes) as the manifest
    # datasets/manifests/refhq-new-v1/sources.json of github edu-llm/edullm-p1 pins them; access is gated.
    # `conversations` of from and value, read by many loaders of the dataset on github
    revision="b1fddbdcae4e6714889365d1e6ce266a45289cc9",
    license="apache-2.0",
    files=("hermes-3-dataset.jsonl",),
    shape=Conversation(column="conversations"),
)
SCP_116K = Source(
    name="scp-116k",
    repository="EricLu/SCP-116K",
    # commits/main/.gitattributes: the file, and CC-BY-NC-SA-4.0 (MIT at first). The columns changed once: o1 and QwQ
    # answers went, `matched_solution` became `extract_solution`; features of mmmanuel/116pk2_modified, which keeps
    # the columns of the later file. No page that was read shows the whole hash of a later commit.
    revision=None,
    license="cc-by-nc-sa-4.0",
    files=("SCP_116K_in_open_source_format.jsonl",),
    shape=Exchange(instruction="problem", output="extract_solution"),
)
REALIGN_ALPACA = Source(
    name="realign-alpaca",
    repository="GAIR/ReAlign-Alpaca",
    # commit/8d00ec3…: the README, without a licence; tree/main: the one file, 34.8 MB. One JSON array of `id` and
    # `items`, as the README of github GAIR-NLP/ReAlign shows it and its rewrite_data_selection.py writes it
    revision="8d00ec38ff7546a66248168b5fcdf545cc9038d4",
    license="unknown",
    files=("realign_alpaca.json",),
    shape=Conversation(column="items"),
)
LAMINI = Source(
    name="lamini",
    repository="MBZUAI/LaMini-instruction",
    # tree/28b1d2e…: data and README, which names `instruction`, `response` and `instruction_source`; only the README
    # changed after it (tree/main). tree/3693bdb…/data lists the three files
    revision="28b1d2e21b001801192a5d3b9ec6317cb332681a",
    license="cc-by-nc-4.0",
    files=("data/train-*.parquet",),
    shape=Exchange(instruction="instruction", output="response"),
)
TULU_3 = Source(
    name="tulu-3",
    repository="allenai/tulu-3-sft-mixture",
    # commits/b14afda…/data; `dataset_info` of blob/main/README.md: `id`, `messages` of content and role, `source`.
    # ODC-BY for the collection; sets have terms of their own, No Robots is CC-BY-NC-4.0
    revision="b14afda60f1bbebe55d5d2fa1e4df5042f97f8be",
    license="odc-by",
    files=("data/train-*.parquet",),
    shape=Conversation(column="messages", role="role", text="content"),
    only={"source": TULU_ENGLISH},
)
SYNTHETIC_INSTRUCT = Source(
    name="synthetic-instruct",
    repository="Dahoas/synthetic-instruct-gptj-pairwise",
    # blame/main/dataset_infos.json, last written by cc92d8d…: `prompt`, `chosen`, `rejected`, 33,143 rows, no licence
    revision="cc92d8dbdfff0362b1e887d8fba3601f8fff8cef",
    license="unknown",
    files=("data/train-*.parquet",),
    shape=Exchange(instruction="prompt", output="chosen"),
)
OPUS_100 = Source(
    name="opus-100",
    repository="Helsinki-NLP/opus-100",
    # tree/cf8b71e…/ar-en: train is one file of 99.3 MB, licence `unknown`. The commit is the one that
    # many projects pin, mteb among them (OpusSlovakEnglishBitextMining); `translation` is a struct of ar and en
    revision="805090dc28bf78897da9641cdf08b61287580df9",
    license="unknown",
    files=("ar-en/train-*.parquet",),
    shape=Pair(english="translation.en", arabic="translation.ar"),
)

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        OPEN_ORCA,
        HERMES_3,
        SCP_116K,
        REALIGN_ALPACA,
        LAMINI,
        TULU_3,
        SYNTHETIC_INSTRUCT,
        OPUS_100,
    )
}

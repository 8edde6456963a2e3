"""How likely a model finds answers, computed without lm-eval: one text at a time, nothing padded, nothing batched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def loglikelihoods(model: Path, prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[list[float]]:
    """Return the log-likelihood of each choice after each prompt, a user's turn each; in float32.

    As lm-eval defines it, white space at the end of a prompt, here that of the chat template, belongs to the choice.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    network.train(False)

    def tokens(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def likelihood(prompt: str, choice: str) -> float:
        before, whole = tokens(prompt.rstrip()), tokens(prompt + choice)
        assert whole[: len(before)] == before, "a choice begins with a token of its own"
        with torch.inference_mode():
            logits = network(torch.tensor([whole])).logits[0].double()
        after = torch.log_softmax(logits, dim=-1)
        return sum(float(after[at - 1, whole[at]]) for at in range(len(before), len(whole)))

    found = []
    for prompt, some in zip(prompts, choices, strict=True):
        chat = [{"role": "user", "content": prompt}]
        text = str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
        found.append([likelihood(text, choice) for choice in some])
    return found

"""Tiny models with random weights and a real WordPiece tokenizer, and data for them.

Everything is made on the spot: no download, no file of the repository but this one.
"""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_TEXT = (
    "the a of in at what when where who how many pump sensor valve broker battery gateway starts "
    "stops red green light degrees metres port cable fan door roof tank level alarm key"
)
WORDS = _TEXT.split()


def vocabulary() -> list[str]:
    """Special tokens, some words, and all ASCII characters as beginnings and continuations."""
    letters = string.ascii_lowercase + string.digits
    everything = [*SPECIAL, *WORDS, *letters, *(f"##{c}" for c in letters), *string.punctuation]
    return list(dict.fromkeys(everything))  # "a" is a word and a letter


def make_tokenizer() -> Tokenizer:
    """An uncased BERT tokenizer over `vocabulary`."""
    ids = {token: index for index, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return tokenizer


def save_checkpoint(folder: Path, *, kind: str = "bert", head: bool = True) -> Path:
    """A checkpoint as transformers saves it; without `head`, a bare encoder."""
    import torch
    import transformers

    torch.manual_seed(7)
    common: dict[str, Any] = {"vocab_size": len(vocabulary()), "max_position_embeddings": 512}
    if kind == "bert":
        config: Any = transformers.BertConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            initializer_range=0.5,  # far from 0, so that the answers of random weights differ
            **common,
        )
        made = transformers.BertForQuestionAnswering if head else transformers.BertModel
    else:
        config = transformers.DistilBertConfig(
            dim=32, n_layers=2, n_heads=2, hidden_dim=64, initializer_range=0.5, **common
        )
        made = transformers.DistilBertForQuestionAnswering if head else transformers.DistilBertModel
    made(config).save_pretrained(folder)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    fast.save_pretrained(folder)
    return folder


def questions(count: int, *, words: int = 40) -> list[tuple[str, str, int, str]]:
    """(question, context, start, answer) over the vocabulary; the answer is in the context."""
    rng = random.Random(3)
    rows = []
    for _ in range(count):
        text = rng.choices(WORDS, k=words)
        first = rng.randrange(words - 2)
        start = len(" ".join(text[:first])) + (first > 0)
        answer = " ".join(text[first : first + 2])
        rows.append((f"what {rng.choice(WORDS)} ?", " ".join(text), start, answer))
    return rows


def save_squad(path: Path, count: int) -> Path:
    """The same as a file in SQuAD v1.1 format."""
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": f"q{index}",
                    "question": question,
                    "answers": [{"text": answer, "answer_start": start}],
                }
            ],
        }
        for index, (question, context, start, answer) in enumerate(questions(count))
    ]
    document = {"version": "1.1", "data": [{"title": "Devices", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path

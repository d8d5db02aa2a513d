"""Does a tokenizer belong to its model, as far as can be told without asking it questions?

A wrong tokenizer is wrong in torch and in the exported graph alike, so that no comparison of the
two finds it; answers only get worse. What contradicts itself is refused here. A vocabulary in
another order contradicts nothing where no `vocab.txt` stands beside it: only check questions find
it, which is why `package` asks them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
from tokenizers import Encoding, Tokenizer

from edgeqa.errors import ModelLoadError

_TOKENIZER, _VOCABULARY = "tokenizer.json", "vocab.txt"
# Rows that a model may have more than its tokenizer has tokens: vocabularies are filled up to
# multiples of 8 to 128 for the sake of matrix products; another model's differ by more.
_PADDING_ROWS = 128
_PADDING_SHARE = 0.01
# Words, capitals, accents, digits and punctuation, as technical texts have them.
_PROBE = (
    'The Pump P-17 (type B) starts at 65 degrees; see page 4, "Safety". Don\'t touch the Naïve '
    "café's valve before 10:30! Is the gateway's LED red or green?"
)
_LATIN = 0.5  # share of tokens in ASCII letters from which a vocabulary is Latin script
_CASED = 0.01  # share with a capital from which it is cased: bert-base-uncased's has none
_MAX_UNKNOWN = 0.05  # share of a probe's tokens; a fitting vocabulary knows all of them


def demand_fitting_tokenizer(checkpoint: str, tokenizer: Any, config: Any) -> None:
    """Refuse a tokenizer that cannot be the one that the model was trained with.

    Args:
        checkpoint: folder or hub id, for the files and for the message.
        tokenizer: fast tokenizer of transformers.
        config: the model's configuration.

    Raises:
        ModelLoadError: `tokenizer_mismatch`, naming the contradiction.
    """
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    problem = (
        _size(len(tokenizer), config.vocab_size)
        or _special_tokens(plain, tokenizer, config)
        or _file(checkpoint, plain)
        or _listed(checkpoint, plain)
        or _casing(plain)
        or _unknown(plain, tokenizer.unk_token_id)
    )
    if problem:
        raise ModelLoadError(
            f"{checkpoint}: the tokenizer is not this model's: {problem}", code="tokenizer_mismatch"
        )


def _size(tokens: int, rows: int) -> str:
    if tokens > rows:
        return f"it has {tokens} tokens, but the model knows {rows}"
    if rows - tokens > max(_PADDING_ROWS, _PADDING_SHARE * rows):
        return f"it has {tokens} tokens, but the model {rows}"
    return ""


def _special_tokens(plain: Tokenizer, tokenizer: Any, config: Any) -> str:
    pair = plain.encode("a", "b")
    kinds = [
        one for i, one in enumerate(pair.sequence_ids) if i == 0 or one != pair.sequence_ids[i - 1]
    ]
    if kinds != [None, 0, None, 1, None]:
        return "it does not build [CLS] question [SEP] context [SEP]"
    marks = [pair.ids[i] for i, sequence in enumerate(pair.sequence_ids) if sequence is None]
    wanted = [tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.sep_token_id]
    if marks != wanted:
        return f"it sets the tokens {marks} around question and context, not {wanted}"
    if config.model_type == "bert" and not _told_apart(pair):
        return "it does not tell question and context apart by token types 0 and 1"
    if tokenizer.pad_token_id != config.pad_token_id:
        return (
            f"it fills up with token {tokenizer.pad_token_id}, the model with {config.pad_token_id}"
        )
    return ""


def _told_apart(pair: Encoding) -> bool:
    own = [(s, t) for s, t in zip(pair.sequence_ids, pair.type_ids, strict=True) if s is not None]
    return all(sequence == kind for sequence, kind in own)


def _file(checkpoint: str, plain: Tokenizer) -> str:
    """transformers rebuilds parts of tokenizer.json from tokenizer_config.json and defaults."""
    path = _local(checkpoint, _TOKENIZER)
    if path is None:
        return ""
    written = Tokenizer.from_file(str(path))
    written.no_truncation()
    written.no_padding()
    if written.encode(_PROBE).ids != plain.encode(_PROBE).ids:
        return (
            f"{_TOKENIZER} and tokenizer_config.json (do_lower_case, strip_accents) give different "
            "tokens"
        )
    return ""


def _listed(checkpoint: str, plain: Tokenizer) -> str:
    path = _local(checkpoint, _VOCABULARY)
    if path is None:
        return ""
    vocabulary = plain.get_vocab(with_added_tokens=True)
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")):
        if line and vocabulary.get(line) != number:
            return f"token {number} is {line!r} in {_VOCABULARY}, not in {_TOKENIZER}"
    return ""


def _casing(plain: Tokenizer) -> str:
    if not _is_latin(plain):
        return ""
    words = [token for token in plain.get_vocab(with_added_tokens=False) if token[:1] != "["]
    # ASCII: uncased vocabularies keep letters without a small form, such as that of the reals.
    capitals = sum(any("A" <= letter <= "Z" for letter in word) for word in words)
    cased = capitals > _CASED * len(words)
    lowers = plain.encode("PUMP").ids == plain.encode("pump").ids
    if not lowers and not cased:
        return (
            "it keeps capital letters, but its vocabulary has none (do_lower_case should be true)"
        )
    if lowers and cased:
        return (
            "it drops capital letters, but its vocabulary has them (do_lower_case should be false)"
        )
    return ""


def _unknown(plain: Tokenizer, unknown: int | None) -> str:
    ids = plain.encode(_PROBE).ids
    if _is_latin(plain) and ids.count(unknown) > _MAX_UNKNOWN * len(ids):
        return f"it does not know {ids.count(unknown)} of {len(ids)} tokens of a plain English text"
    return ""


def _is_latin(plain: Tokenizer) -> bool:
    tokens = [token.removeprefix("##") for token in plain.get_vocab(with_added_tokens=False)]
    latin: int = sum(token.isascii() and token.isalpha() for token in tokens)
    return latin >= _LATIN * len(tokens)


def _local(checkpoint: str, name: str) -> Path | None:
    """The checkpoint's file, in its folder or in the hub's cache, without a look at the network."""
    folder = Path(checkpoint)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    cached = huggingface_hub.try_to_load_from_cache(checkpoint, name)
    return Path(cached) if isinstance(cached, str) else None

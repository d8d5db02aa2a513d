"""Texts that a tokenizer may trip over."""

from __future__ import annotations

from hypothesis import strategies as st

HOSTILE = [
    "e\u0301a\u0308o\u0302 combining marks, Zalgo: h\u0300\u0301\u0302\u0303\u0304e\u0335\u0336",
    "\u0301\u0301 marks with no letter before them",
    "emoji 👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 🇳🇴 letters, 👍🏽 tone",
    "right to left: שלום עולם, مرحبا بالعالم, and back \u202eabc\u202c again",
    "CRLF\r\nline\r\n\r\nend\rold mac\x0bvertical\x0cform",
    "NUL \0 inside\0and\0\0outside",
    "[SEP] spelled [CLS] out [PAD] and [MASK] and [UNK] [SEP][SEP]",
    "unknown 漢字 字 日本語テキスト 한국어 ไทย",
    "İstanbul ẞ ŉ ﬃ ǰ letters that change length with case",
    "soft\u00adhyphen zero\u200bwidth bom\ufeff replacement\ufffd private\ue000",
    "x" * 300,  # one word longer than WordPiece reads
    "1,234.56 $%&/()=?",
    " \t\n leading and trailing \n\t ",
]
PIECE = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20), st.sampled_from(["a ", "pump "]))
TEXT = st.lists(PIECE, min_size=1, max_size=6).map("".join)

"""Metrics of the words of replies: Distinct-n.

Distinct-n (Li et al., NAACL 2016) is the share of different n-grams. Systems count it in different ways, and the ways differ
by more than systems do, so every variant has a name here and the default is one normaliser for all rows (`normalise`).
Corpus Distinct-n falls as the corpus grows: compare equal numbers of replies only.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

Tokens = Sequence[str]

CONTRACTIONS = (
    ("won't", "will not"),
    ("can't", "can not"),
    ("shan't", "shall not"),
    ("n't", " not"),
    ("'re", " are"),
    ("'ve", " have"),
    ("'ll", " will"),
    ("i'm", "i am"),
    ("let's", "let us"),
    ("it's", "it is"),
    ("that's", "that is"),
    ("what's", "what is"),
    ("he's", "he is"),
    ("she's", "she is"),
    ("there's", "there is"),
    ("who's", "who is"),
    ("how's", "how is"),
    ("where's", "where is"),
    ("'d", " would"),
)
"""Rewritten before replies are counted, since the text baselines learn from text without contractions."""
_WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


def normalise(text: str) -> list[str]:
    """Lower case, contractions written out, words and marks as tokens: the one normaliser of all rows of a table."""
    text = text.lower().replace("’", "'")
    for short, full in CONTRACTIONS:
        text = text.replace(short, full)
    return _WORD.findall(text)


def ngrams(tokens: Tokens, n: int) -> list[tuple[str, ...]]:
    """The n-grams of one reply, in order."""
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def _ratio(items: Sequence[Hashable], total: int | None = None) -> float:
    count = len(items) if total is None else total
    return len(set(items)) / count if count else 0.0


def distinct_corpus(replies: Iterable[Tokens], n: int) -> float:
    """Distinct n-grams of all replies over all n-grams (never across replies): CEM and CASE."""
    return _ratio([gram for tokens in replies for gram in ngrams(tokens, n)])


def distinct_corpus_joined(replies: Iterable[Tokens], n: int) -> float:
    """`distinct_corpus` as KEMP computes it: an n-gram is its words joined without a separator, so that `a bc` equals `ab c`."""
    return _ratio(["".join(gram) for tokens in replies for gram in ngrams(tokens, n)])


def distinct_macro_joined(replies: Iterable[Tokens], n: int) -> float:
    """Mean over replies of each one's own ratio; a reply without an n-gram counts as 0: KEMP's second number."""
    ratios = [_ratio(["".join(gram) for gram in ngrams(tokens, n)]) for tokens in replies]
    return float(np.mean(ratios)) if ratios else 0.0


def distinct_over_words(replies: Iterable[Tokens], n: int) -> float:
    """Distinct n-grams of all replies over the number of words: the wording of Li et al."""
    replies = list(replies)
    return _ratio([gram for tokens in replies for gram in ngrams(tokens, n)], sum(len(tokens) for tokens in replies))


def distinct_sentence_mean(replies: Iterable[Tokens], n: int) -> float:
    """Mean over replies of each one's own ratio; a reply without an n-gram is left out: E3RG and the challenge."""
    ratios = [_ratio(grams) for tokens in replies if (grams := ngrams(tokens, n))]
    return float(np.mean(ratios)) if ratios else 0.0

"""Pages, messages and docstrings use one word for each thing, and words that readers look for."""

import re

import pytest
from words import docstrings, messages, pages, templates

_COMPARED = "longer|more|less|later|earlier|safer|slower|faster|worse|better|larger|different"
_PRONOUN = r"(?:it|them|this|these|those|each|all|one|its|their|the|a|timers|dead|letters?)"
_NOT_A_SERVER = r"(?<!server )(?<!primary )(?<!primary that )(?<!Redis )"

AVOIDED = {
    r"for ever": "forever, or without end",
    r"anew": "again",
    r"mend(?:s|ed|ing)?": "fix",
    r"bears?(?!\s+in\s+mind)|bearing": "handle, tolerate, be idempotent",
    r"any more(?!\s+(?:than|of|\w+s)\b)": "any longer, or no longer",
    rf"set(?:s|ting)?(?: {_PRONOUN})* aside": "dead-letter",
    r"topics? for dead letters": "dead-letter topic",
    rf"(?:put|hand)(?:s|ed|ting|ing)?(?: {_PRONOUN})* back": "redrive, or return",
    rf"{_NOT_A_SERVER}(?:come|comes|came|coming) (?:back|again)": (
        "redelivered (the lease expired), or retried (the handler failed)"
    ),
    r"deliver(?:s|ed|y)? again": "redeliver",
    r"tried again": "retry",
    r"(?:is|are|was|were) run again": "redelivered, or retried",
    rf"(?:give|gives|given|gave|giving)(?: {_PRONOUN})* back": "release",
    r"(?<!clock )(?:goes|went) back|timers go back": "release",
    r"(?<!type )(?<!is a )(?<!are )hints?|announcements?": "wake-up",
    r"knobs?": "option",
    r"prolong(?:s|ed|ing)?": "extend",
    r"knows of": "knows",
    r"whoever|whomever": "name who acts",
    r"(?:for|to|by|with|from|of|than) who": "name who acts",
    r"(?:(?<=\. )|(?<=\.\n)|(?<=\n\n))(?-i:Who) (?![^.]*\?)": "name who acts",
    r"tells? whether": "return whether, or say whether",
    rf"(?<!there )(?:is|are|was|were) no (?!(?:{_COMPARED})\b)\w+": "is not a",
    r"(?:server|primary|node)'s answers?|answers? (?:is|are|was|were) lost": "reply",
}
"""Words, and what to write in their place. A space stands for any white space."""

SOURCES = {"pages": pages, "messages": messages, "docstrings": docstrings, "templates": templates}


def _pattern(word):
    # Only what stands outside of a look-behind may be any white space.
    parts = re.split(r"(\(\?<[!=][^)]*\))", word)
    parts[::2] = [part.replace(" ", r"\s+") for part in parts[::2]]
    return re.compile(rf"(?<![\w-])(?:{''.join(parts)})(?![\w-])", re.IGNORECASE)


PATTERNS = {_pattern(word): advice for word, advice in AVOIDED.items()}


def found_in(words):
    """Give the place, the word and the advice for each word to avoid."""
    for pattern, advice in PATTERNS.items():
        for found in pattern.finditer(words.text):
            word = " ".join(found[0].split())
            line = words.line + words.text.count("\n", 0, found.start())
            yield f"{words.file}:{line}: {word!r}: write {advice}"


@pytest.mark.parametrize("source", SOURCES)
def test_words_to_avoid_are_not_used(source):
    found = sorted(problem for words in SOURCES[source]() for problem in found_in(words))
    assert not found, "\n" + "\n".join(found)

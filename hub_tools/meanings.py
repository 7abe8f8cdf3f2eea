"""What each column of the records holds, in a sentence for the cards."""

from __future__ import annotations

import dataclasses

COLUMNS = {
    "id": "the row's name from the web page (or the seed tree) to the training set: 16 hexadecimal digits",
    "source": "the corpus that the row comes from",
    "url": "the address of the web page, where there is one",
    "license": "the licence of the row's source",
    "instruction": "what is asked",
    "response": "what answers it",
    "lang": "the language of the pair, as an ISO 639 code",
    "rank": "where people ranked the reply among those to the same turn; 0 is the best",
    "tree_id": "the name of the conversation tree",
    "text": "the document, without blank space around it",
    "n_tokens": "its length in tokens of the base model",
    "created": "when it was written or fetched, as its corpus says",
    "dump": "the crawl that it comes from",
    "generation": "how the model's text came about: model and commit, endpoint, temperature, top-p, seed, "
    "why it ended, tokens, sha256 of the prompt",
    "score": "the judge's verdict from 1 to 5; null where the answer holds none",
    "expected_score": "the mean of 1 to 5 under the judge's probabilities, six decimals; null without them",
    "judgement": "all that the judge wrote",
    "rule": "how the score was read out of the judgement",
    "draft": "the web text that the instruction was written for",
    "messages": "the pair as a chat",
    "prompt": "the user's turn, which ends with the source tag",
    "completion": "the assistant's turn, which a model learns to write",
    "tag": "the source tag: whether a person or the web stands behind the answer",
    "source_node": "the node of the run that the pair comes from",
    "reason": "why the row was left out, in a word that is counted",
    "detail": "the same in figures or words, for this row",
    "row": "the row as it was read, as JSON",
    "node": "the node of the run that was measured",
    "repo": "its repo",
    "version": "its version",
    "measure": "what was measured",
    "value": "the number",
}
OWN = {
    ("Backtranslated", "instruction"): "what the backward model takes the document for an answer to",
    ("Backtranslated", "response"): "the web document",
    ("Scored", "instruction"): "what the backward model takes the document for an answer to",
    ("Scored", "response"): "the web document",
    ("Rewritten", "response"): "the aligned model's answer",
    ("Seed", "instruction"): "what a person asked",
    ("Seed", "response"): "what a person answered",
    ("Measure", "id"): "the measure's name: 16 hexadecimal digits",
}


def meanings(record: type) -> dict[str, str]:
    """Return what the columns of a record hold, by name."""
    names = [field.name for field in dataclasses.fields(record)]
    return {name: OWN.get((record.__name__, name), COLUMNS.get(name, "")) for name in names}

#!/usr/bin/env python3
"""Tells whether messages are friendly, and how the mood of each conversation goes: a worker with the Python SDK.

    weir run --worker 'python3 examples/workers/sentiment.py' -j 2 --session .user examples/workers/messages.jsonl

It learns from reviews.tsv as it starts (a naive Bayes classifier over words), once, however many rows follow. A row is
a text, or an object with `text`, or one with a list of `texts`; of a list it says how far it is (heartbeat). With
--session it also keeps the mood of each session, which is why all rows of a user have to go to the same worker: weir
sees to that.
"""
import collections
import math
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# In a program of your own, weir_worker.py lies beside it, and the next line is not needed.
sys.path.insert(0, os.path.join(HERE, "..", "..", "sdk", "python"))

import weir_worker  # noqa: E402

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
# So much of the mood stays when a new message comes in.
MOOD_KEPT = 0.6


def words_of(text):
    """The words, with a mark on those that follow a "not": "not good" is another thing than "good"."""
    negated = False
    for word in WORD.findall(text.casefold()):
        yield "not_" + word if negated else word
        negated = word in ("not", "no", "never", "nothing") or word.endswith("n't")


class Bayes:
    """P(friendly | words), each word on its own, counts smoothed by one."""

    def __init__(self, path):
        self.words = {"pos": collections.Counter(), "neg": collections.Counter()}
        self.texts = collections.Counter()
        with open(path, encoding="utf-8") as f:
            for line in f:
                label, _, text = line.rstrip("\n").partition("\t")
                self.texts[label] += 1
                self.words[label].update(words_of(text))
        self.vocabulary = set(self.words["pos"]) | set(self.words["neg"])
        self.totals = {label: sum(counts.values()) for label, counts in self.words.items()}

    def friendly(self, text):
        """From 0 to 1; a text of unknown words is as likely friendly as the texts it has learned from."""
        odds = math.log(self.texts["pos"] / self.texts["neg"])
        for word in words_of(text):
            if word in self.vocabulary:
                odds += math.log((self.words["pos"][word] + 1) / (self.totals["pos"] + len(self.vocabulary)))
                odds -= math.log((self.words["neg"][word] + 1) / (self.totals["neg"] + len(self.vocabulary)))
        return 1 / (1 + math.exp(-odds))


class Mood:
    """What is remembered of a conversation."""

    def __init__(self):
        self.messages, self.value = 0, 0.5

    def take(self, score):
        self.value = score if self.messages == 0 else MOOD_KEPT * self.value + (1 - MOOD_KEPT) * score
        self.messages += 1


model = Bayes(os.path.join(HERE, "reviews.tsv"))
moods = weir_worker.Sessions(Mood, limit=10000)
# Goes to the log: a print in a worker does no harm.
print(f"learned {len(model.vocabulary)} words from {sum(model.texts.values())} reviews")


def classify_all(texts):
    """Long lists take long: whoever watches sees that it is at work, and is not taken for dead."""
    labels = []
    for i, text in enumerate(texts):
        weir_worker.heartbeat(i / len(texts), f"message {i + 1} of {len(texts)}")
        labels.append("friendly" if model.friendly(str(text)) > 0.5 else "unfriendly")
    return {"labels": labels}


@weir_worker.command("process")
def classify(args):
    if isinstance(args, dict) and isinstance(args.get("texts"), list):
        return classify_all(args["texts"])
    text = args.get("text") if isinstance(args, dict) else args
    if not isinstance(text, str):
        raise ValueError('a row is a text, or an object with a text as "text"')
    score = model.friendly(text)
    result = {"label": "friendly" if score > 0.5 else "unfriendly", "score": round(score, 3)}
    if weir_worker.request().session is not None:
        mood = moods.get()
        mood.take(score)
        result["mood"] = {"messages": mood.messages, "value": round(mood.value, 3)}
    return result


weir_worker.run()

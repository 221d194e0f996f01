"""Makes metrics.json: own sentences, their tokens and scores by pycocoevalcap 1.2 (needs Java).

    python packages/aac-llm/tests/golden/make_metrics.py

The sentences are written for this file; none is of a data set.
"""

import json
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

SENTENCES = [
    "A dog barks twice, then a door slams shut.",
    "I don't know what it's called, but they're ringing; we can't stop them!",
    "Someone's dogs' bowls clatter while the children's toys squeak.",
    "Rain falls on a well-known, old-fashioned tin roof (very loudly).",
    "It isn't a siren: it wouldn't've stopped at 7:30 p.m. or 5 a.m.",
    "Mr. Smith and Dr. Jones drive down St. James Rd. in the U.S. vs. the U.K., etc.",
    "The tone is 440hz, 3.5 khz, 10,000 Hz or 1/2 of that; 5% louder, costs $5 or £7 or €9.",
    "A beep-beep-beep... what?! no!! hmm -- yes - no – then — silence…",
    'She said "hello" and ‘goodbye’ and “don’t”, he’s in the café with a naïve über-loud band.',
    "Birds chirp and/or sing w/ insects [in the background] {far away}.",
    "The '80s song, the 1980s drum, the 80's synth: rock'n'roll o'clock.",
    "They cannot, gonna, wanna, gotta, gimme, lemme; 'tis the 2nd, 3rd and 5th-floor bell.",
    "A 6-year-old's x-ray mp3 plays at 5pm, 5:30pm and 12.30 in the mid-90s.",
    "Tick-tock,tick-tock goes the clock.Then vroom!vroom goes the car.",
    "No. 5 train passes, no. It is 20-30 metres away, approx., no more.",
    "Water drips at 5° C & wind = noise * 2 + hum; # of drips ~ 4/5.",
    "AT&T and R&B music plays, a/b tests, TV and CD-ROM drives whirr.",
    "email me@home.org or see https://a.org/sounds?x=1 for a <unk> sound",
    "Y'all hear 'em goin' by, ma'am: c'mon!",
    "   spaces   and\ttabs   everywhere",
    'The engine idles; a man (the driver?) says "well, that\'s that"...',
    "1 2 3 4.5 6,7 -8 +9",
    "½ of the ¼-inch pipes rattle, ¾ do not",
    "a.",
    ".",
]

CLIPS = [
    (
        "a dog barks twice in a yard",
        ["a dog is barking in a yard", "the dog barks twice", "a dog barks and a bird sings"],
    ),
    (
        "Rain falls, and it doesn't stop.",
        ["rain is falling and does n't stop", "It's raining heavily on a roof."],
    ),
    ("water water water water water", ["water flows", "water runs over water and stones", "a stream"]),
    ("a man speaks while a crowd cheers loudly", ["a man speaks while a crowd cheers loudly"]),
    ("birds", ["birds chirp in the trees", "several birds are singing", "birds", "many birds sing at dawn"]),
    (
        "an engine idles then accelerates away into the far distance and fades",
        ["a car drives off", "an engine revs"],
    ),
    ("music plays", ["a bell rings in a church tower", "church bells are ringing"]),
    (
        "the wind blows and the waves crash on the shore",
        ["waves crash on the shore as the wind blows", "wind, waves"],
    ),
    (
        "a well-known song plays on an old-fashioned radio",
        ["an old-fashioned radio plays a song", "a radio's playing"],
    ),
    ("", ["a clock ticks", "a clock is ticking slowly"]),
]


def main() -> None:
    texts = {0: [{"caption": text} for text in SENTENCES]}
    tokens = [text.split() for text in PTBTokenizer().tokenize(texts)[0]]
    captions = [(caption, references) for caption, references in CLIPS]
    candidates = PTBTokenizer().tokenize(
        {i: [{"caption": text or "."}] for i, (text, _) in enumerate(captions)}
    )
    references = PTBTokenizer().tokenize(
        {i: [{"caption": text} for text in r] for i, (_, r) in enumerate(captions)}
    )
    corpus, clips = {}, {}
    bleu, bleu_clips = Bleu(4).compute_score(references, candidates, verbose=0)
    corpus |= {f"bleu_{n + 1}": bleu[n] for n in range(4)}
    clips |= {f"bleu_{n + 1}": bleu_clips[n] for n in range(4)}
    for name, metric in (("rouge_l", Rouge()), ("cider_d", Cider())):
        value, values = metric.compute_score(references, candidates)
        corpus[name], clips[name] = float(value), [float(number) for number in values]
    golden = {
        "tokens": [{"text": text, "tokens": words} for text, words in zip(SENTENCES, tokens, strict=True)],
        "clips": [{"candidate": text, "references": r} for text, r in captions],
        "corpus": corpus,
        "scores": clips,
    }
    path = Path(__file__).with_name("metrics.json")
    path.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Classes of the words of captions: what a repair may add or drop, and what it must not touch.

Only classes that decide something are here. A word of none of them is taken for a noun, with which the guard
(`correction/meaning.py`) is strictest; so what is not in the lists costs repairs, never a caption's meaning.
English.
"""

from __future__ import annotations

from aac_llm.metrics.events import stem


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _stems(words: str) -> frozenset[str]:
    return frozenset(stem(word) for word in words.split())


FUNCTION_WORDS = _set(
    "a an the is are was were be been being am has have had do does did this that these those which who "
    "whom it its he she they him her his hers their them there here can of i you we us our your my itself "
    "himself herself themselves some"
)
"""Words that may come and go. Their number and gender are looked at elsewhere (`DETERMINERS`, `people`)."""
LIGHT_WORDS = _stems("sound noise hear heard")
"""Stems that say only that there is a sound."""
DETERMINERS = _set("a an the this that these those its his her their our your my some")
BE = _set("is are was were be been being am gets got getting")
SINGULAR = _set("a an one another each every this that single")
PLURAL = _set(
    "two three four five six seven eight nine ten eleven twelve dozen several many multiple few various "
    "numerous both these those some couple"
)
QUANTITIES = PLURAL - _set("these those some") | _set(
    "one another other each every all most single more less much any half first second third hundred "
    "thousand only once twice"
)
COLLECTIVES = _stems("pair group crowd flock herd swarm pack bunch lot couple half")
"""Nouns that say how many."""
_COUNT = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
NUMERALS = {str(number): word for number, word in enumerate(_COUNT, start=1)}
"""Digits -> the word."""
IRREGULAR_PLURALS = {"men": "man", "women": "woman", "people": "people", "leaves": "leaf"} | {
    name: name for name in ("children", "geese", "wolves", "mice", "knives", "calves", "hooves", "feet")
}
"""Plural -> what its stem is made of."""
BASES = IRREGULAR_PLURALS | {"crowing": "crow", "crowed": "crow", "typing": "type", "typed": "type"}
"""Inflected -> base form, also where the sound events tell two meanings of a stem apart."""
NEGATIONS = _set(
    "not no never nothing nobody none neither nor without cannot hardly barely rarely instead fail lack"
)

RELATIONS = {
    "followed by": "then",
    "and then": "then",
    "then": "then",
    "before": "then",
    "afterwards": "then",
    "subsequently": "then",
    "after": "after",
    "while": "while",
    "whilst": "while",
    "as": "while",
    "meanwhile": "while",
    "and": "and",
    "but": "and",
    "or": "or",
    **{
        word: word
        for word in ("when", "whenever", "until", "because", "since", "if", "although", "unless", "so")
    },
}
"""Connective -> how the event after it stands to the one before; a comma is "": no more than a pause."""
PREPOSITIONS = _set(
    "in on at by with from to into onto than up down off out over under through throughout across along "
    "around about against among between behind beside beneath below above near inside outside toward "
    "towards away past upon within amid amidst amongst back forth onto for during like"
)
NEED_NOUN = _set(
    "with of at from into onto than to for like in on by against between among upon under near during"
)
"""Prepositions that a noun follows."""
PARTICLES = _set("in on by near under")
"""Those of them that end a caption where they belong to a verb, as in "drives by"."""

LOUDNESS = _stems(
    "loud quiet soft faint silent noisy muffled deafening louder quieter softer volume hushed muted"
)
PLACES = _stems(
    "background distance distant foreground indoors outdoors indoor outdoor inside outside nearby near far "
    "room hall house home kitchen bathroom street road highway city forest park beach farm station church "
    "garage restaurant office school factory field yard river lake sea ocean building tunnel cave street "
    "overhead underground away"
)
SURFACES = _stems(
    "wood wooden metal metallic glass plastic stone rock gravel sand snow ice grass concrete pavement "
    "asphalt tile carpet roof floor ground table wall leaves leaf mud tin paper cardboard water surface "
    "pan window"
)
AGENTS = _stems(
    "man men woman women person people child boy girl baby crowd someone somebody adult male female dog "
    "cat bird horse cow sheep goat pig duck goose rooster chicken frog insect bee fly owl crow animal"
)
MODIFIERS = LOUDNESS | _stems(
    "high low big large small little tiny long short fast slow quick rapid steady constant continuous "
    "distant heavy light deep soft hard gentle rough sharp dull harsh shrill clear hollow strong weak "
    "sudden brief repeated intermittent rhythmic regular irregular different old young new wet dry cold "
    "hot electric electronic mechanical very really quite too so again also together once almost always "
    "often sometimes closer further higher lower faster slower harder indoors outdoors nearby outside "
    "inside overhead well still"
)
"""Adjectives and adverbs that do not end in -ly, as stems."""
VERBS = _stems(
    "bark woof growl howl whine yelp meow purr hiss chirp tweet sing squawk caw crow coo quack honk moo "
    "bleat baa neigh oink squeal croak buzz hum drone ring chime toll tick click clack knock bang slam "
    "thump pound hit strike beat clap applaud cheer laugh giggle cry sob weep scream shout yell talk speak "
    "chat converse whisper murmur mumble say tell narrate discuss argue announce call cough sneeze sniff "
    "snore breathe gasp sigh groan moan grunt burp walk run jog step stomp march climb jump dance move go "
    "come pass drive ride fly approach leave arrive depart stop start begin continue end finish open close "
    "shut lock unlock creak squeak scrape scratch rub grind saw cut chop slice dig sweep pour drip flow "
    "rush trickle splash gurgle bubble boil sizzle fry crackle burn pop explode shoot whoosh blow rustle "
    "fall patter crash roll rumble roar rev idle accelerate whir whirl spin turn rotate rattle clatter "
    "clink clank jingle jangle tinkle crunch crinkle crumple tear rip crack snap break smash shatter flush "
    "spray play strum pluck whistle beep blare wail echo vibrate shake flap flutter chew eat drink swallow "
    "slurp bounce throw catch kick type write flip shuffle zip wash rinse scrub brush use make hold put "
    "pick press push pull lift carry drag set wait sit stand rise fade grow increase decrease get become "
    "hoot screech chatter gobble pant chase bite gallop trot hover boom"
)
"""Verbs of sounds, motion and handling, as stems; many are nouns as well."""
INTRANSITIVE = _stems(
    "bark woof growl yelp meow purr chirp tweet caw crow coo quack honk moo bleat baa neigh oink croak "
    "hoot talk speak converse chat laugh giggle cry sob weep scream shout yell cough sneeze snore ring "
    "creak squeak rumble buzz howl roar hum trot gallop hover boom rustle chime toll"
)
"""Verbs after which no object comes: a noun with a verb of its own begins another event."""
PARTICIPLES = _set("hit struck driven ridden thrown broken shaken blown beaten cut put shut bitten written")
"""Participles that do not end in -ed."""
UNCOUNTED = _set("police cattle staff audience crowd group")
"""Singular nouns that may have a plural verb."""
NATURAL_VERBS = {
    stem(noun): _stems(verbs)
    for noun, verbs in {
        "dog": "bark", "cat": "meow", "bird": "chirp sing tweet", "rooster": "crow", "crow": "caw",
        "cow": "moo", "sheep": "bleat", "goat": "bleat", "pig": "oink", "duck": "quack", "frog": "croak",
        "owl": "hoot", "bee": "buzz", "fly": "buzz", "insect": "buzz", "cricket": "chirp", "rain": "fall",
        "wind": "blow", "water": "flow run", "stream": "flow", "music": "play", "bell": "ring",
        "phone": "ring", "telephone": "ring", "engine": "run", "motor": "run", "clock": "tick",
        "fire": "burn crackle", "wave": "crash", "thunder": "rumble",
    }.items()
}  # fmt: skip
"""Source -> what it does where nothing else is said: the only verbs that a repair may supply."""

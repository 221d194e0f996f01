"""Makes `aac_llm/metrics/wordnet.txt.gz` of WordNet 3.0's files, as Debian's package wordnet-base has them.

apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wordnet
python packages/aac-llm/benchmarks/wordnet_table.py wordnet/usr/share/wordnet LICENCE

LICENCE is the text of WordNet's licence, which is put at the table's head (in METEOR's jar:
synonym/COPYING.WORDNET; in Debian's package: usr/share/doc/wordnet-base/copyright). Kept are single words in
small letters that occur in WordNet's tagged texts, their synonyms, and all verbs and adjectives: what is left
out are rare nouns and adverbs, which a caption's parser takes for such anyhow.
"""

import gzip
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
PARTS_OF_SENSES = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
WORD = re.compile(r"[a-z]+(-[a-z]+)*")

Senses = dict[str, dict[str, list[tuple[str, int]]]]
"""Word -> part of speech -> synsets, each named by its part of speech and its place in WordNet's file."""


def read_counts(folder: Path) -> Counter[tuple[str, str]]:
    """Count how often each word is of each part of speech in WordNet's tagged texts."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in (folder / "cntlist.rev").read_text().splitlines():
        sense, _, count = line.split()
        word, rest = sense.split("%")
        counts[word, PARTS_OF_SENSES[rest[0]]] += int(count)
    return counts


def read_names(folder: Path) -> set[tuple[str, str, int]]:
    """List members of synsets that are written with a capital: names, which no caption means."""
    names = set()
    for part, file in FILES.items():
        for line in (folder / f"data.{file}").read_text(encoding="latin-1").splitlines():
            if not line.startswith(" "):
                cells = line.split(" ")
                members = cells[4 : 4 + 2 * int(cells[3], 16) : 2]
                words = (re.sub(r"\(.*", "", member) for member in members)
                names |= {(word.lower(), part, int(cells[0])) for word in words if word != word.lower()}
    return names


def read_senses(folder: Path) -> Senses:
    """Read the synsets of single words in small letters."""
    names = read_names(folder)
    senses: Senses = {}
    for part, file in FILES.items():
        for line in (folder / f"index.{file}").read_text().splitlines():
            cells = line.split()
            if line.startswith(" ") or len(cells[0]) < 2 or not WORD.fullmatch(cells[0]):
                continue
            places = map(int, cells[-int(cells[2]) :])
            found = [(part, place) for place in places if (cells[0], part, place) not in names]
            if found:
                senses.setdefault(cells[0], {})[part] = found
    return senses


def choose_words(senses: Senses, counts: Counter[tuple[str, str]]) -> Senses:
    """Keep words that are counted, their synonyms, verbs and adjectives."""
    members = defaultdict(set)
    for word, parts in senses.items():
        for synset in (synset for synsets in parts.values() for synset in synsets):
            members[synset].add(word)
    counted = {word for word, _ in counts if word in senses}
    near = {synset for word in counted for synsets in senses[word].values() for synset in synsets}
    return {
        word: parts
        for word, parts in sorted(senses.items())
        if {"v", "a"} & set(parts) or any(near & set(synsets) for synsets in parts.values())
    }


def write_words(senses: Senses, counts: Counter[tuple[str, str]]) -> list[str]:
    """Write a line a word: parts of speech, each with its count and the synsets that it shares."""
    sizes = Counter(s for parts in senses.values() for synsets in parts.values() for s in synsets)
    numbers: dict[tuple[str, int], int] = {}
    lines = []
    for word, parts in senses.items():
        cells = []
        for part, synsets in parts.items():
            shared = [numbers.setdefault(s, len(numbers) + 1) for s in synsets if sizes[s] > 1]
            cells.append(f"{part}{counts[word, part]}:{','.join(map(str, shared))}")
        lines.append(f"{word} {' '.join(cells)}")
    return lines


def write_exceptions(folder: Path, senses: Senses) -> list[str]:
    """Write a line an irregular form: the form, `=`, its base and part of speech."""
    lines = []
    for part, file in FILES.items():
        for line in (folder / f"{file}.exc").read_text().splitlines():
            form, *bases = line.split()
            known = [base for base in bases if part in senses.get(base, {}) and base != form]
            lines += [f"{form}={base} {part}" for base in known if WORD.fullmatch(form)]
    return sorted(set(lines))


def main() -> None:
    """Write the table beside the module that reads it."""
    folder, licence = map(Path, sys.argv[1:3])
    counts = read_counts(folder)
    senses = choose_words(read_senses(folder), counts)
    head = [f"# {line}".rstrip() for line in licence.read_text().splitlines()]
    lines = [*head, *write_words(senses, counts), *write_exceptions(folder, senses)]
    target = Path(__file__).parents[1] / "src" / "aac_llm" / "metrics" / "wordnet.txt.gz"
    target.write_bytes(gzip.compress("\n".join(lines).encode("ascii"), 9, mtime=0))
    print(f"{target}: {len(senses):,} words, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

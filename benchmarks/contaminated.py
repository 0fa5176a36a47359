"""Data sets with planted adapters or unknown words, and real networks trained on them: shortcuts whose truth is known.

Positives of 200 bp hold sites of one or two transcription factors, drawn from JASPAR's probabilities, at random places
on either strand of a background; negatives hold none. Beside that, by condition:

* `used`: an adapter, whole or a part of 8 to 16 bp of it, in 30 to 100 % of the positives and in no negative.
* `unknown`: the same with a random 12-mer that is like no adapter and like no matrix of JASPAR.
* `unused`: an adapter in equal shares of the positives and negatives.
* `absent`: nothing.

Copies lie at one place, anywhere, or at the ends of the sequences, where half of them are cut off by the end; up to 5 %
of their bases are other ones. Whether the trained network uses them is measured and not assumed: `effect` is the mean
change of the logit of held-out positives when the copies in them are replaced by fresh background bases, as a share of
the model's range (the difference of the mean logit of positives and that of their shuffles, or the standard deviation
of the positives' logits where that is larger); a network with an effect of `LEAST_EFFECT` or more, either way, uses
them.

The adapters are written down here, from the makers' documents, apart from the library of the audit. Development and
test share no motif and no adapter (though two adapters of one maker can begin alike); the real CTCF sites, of which
there is one set, are in both, split by another seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from seqsal.motifs import Motif, read_motifs
from seqsal.motifs.scan import scan_codes
from seqsal.sequence.codes import decode, encode, reverse_complement

__all__ = ["ADAPTERS", "CTCF", "Design", "designs", "known_motifs", "share_word"]

UNKNOWN_BP = 12

# 5' to 3', from the documents of the makers of the kits and vectors
ADAPTERS = {
    "development": {
        "TruSeq read 2": "AGATCGGAAGAGCGTCGTGTAGGGAAAGAGTGT",
        "Nextera read 1": "TCGTCGGCAGCGTCAGATGTGTATAAGAGACAG",
        "small RNA 5'": "GTTCAGAGTTCTACAGTCCGACGATC",
        "P7": "CAAGCAGAAGACGGCATACGAGAT",
        "SMART PCR primer": "AAGCAGTGGTATCAACGCAGAGT",
        "T3 promoter": "AATTAACCCTCACTAAAGG",
        "M13 reverse": "CAGGAAACAGCTATGAC",
        "ONT ligation, bottom": "GCAATACGTAACTGAACGAAGT",
        "MGI reverse": "AAGTCGGATCGTAGCCATGTCGTTCTGTGAGCCAAGGAGTTG",
        "attB2": "ACCACTTTGTACAAGAAAGCTGGGT",
        "Ion P1": "CCTCTCTATGGGCAGTCGGTGAT",
        "lentiMPRA 5'": "AGGACCGGATCAACT",
    },
    "test": {
        "TruSeq read 1": "AGATCGGAAGAGCACACGTCTGAACTCCAGTCA",
        "Nextera mosaic end": "AGATGTGTATAAGAGACAG",
        "Nextera read 2": "GTCTCGTGGGCTCGGAGATGTGTATAAGAGACAG",
        "small RNA 3'": "TGGAATTCTCGGGTGCCAAGG",
        "P5": "AATGATACGGCGACCACCGAGATCTACAC",
        "TruSeq read 1 primer": "ACACTCTTTCCCTACACGACGCTCTTCCGATCT",
        "TruSeq read 2 primer": "GTGACTGGAGTTCAGACGTGTGCTCTTCCGATCT",
        "template switch": "AAGCAGTGGTATCAACGCAGAGTACATGGG",
        "T7 promoter": "TAATACGACTCACTATAGGG",
        "SP6 promoter": "ATTTAGGTGACACTATAG",
        "M13 forward": "GTAAAACGACGGCCAGT",
        "ONT ligation, top": "AATGTACTTCGTTCAGTTACGTATTGCT",
        "MGI forward": "AAGTCGGAGGCCAAGCGGTCTTAGGAAGACAA",
        "attB1": "ACAAGTTTGTACAAAAAAGCAGGCT",
        "Ion A": "CCATCTCATCCCTGCGTGTCTCCGACTCAG",
        "loxP": "ATAACTTCGTATAGCATACATTATACGAAGTTAT",
        "FRT": "GAAGTTCCTATTCTCTAGAAAGTATAGGAACTTC",
    },
}
MOTIFS = {
    # CREB1 CEBPA STAT3 RELA USF1 SRF ESR1 OCT4 SOX2 GFI1 PAX6 AP-2 KLF4 ZNF143 E2F1 MYBL2 MAFB HNF6 TCF7L2 HSF1;
    # yeast RAP1 MCM1
    "development": (
        "MA0018.5", "MA0102.5", "MA0144.3", "MA0107.1", "MA0093.4", "MA0083.3", "MA0112.4", "MA1115.2", "MA0143.5",
        "MA0038.3", "MA0069.1", "MA0872.1", "MA0039.5", "MA0088.3", "MA0024.3", "MA0777.1", "MA0117.3", "MA0679.3",
        "MA0523.2", "MA0486.2", "MA0359.3", "MA0331.1",
    ),
    # CTCF REST NRF1 JUN GATA1 HNF1A p53 SP1 YY1 ETS1 FOXA1 MEF2A TBP NFYA TEAD1 HNF4A RUNX1 EBF1 IRF1 RFX1 ZEB1 NFI;
    # yeast REB1 ABF1
    "test": (
        "MA0139.2", "MA0138.3", "MA0506.3", "MA0489.3", "MA0035.5", "MA0046.3", "MA0106.3", "MA0079.5", "MA0095.4",
        "MA0098.4", "MA0148.5", "MA0052.5", "MA0108.3", "MA0060.4", "MA0090.4", "MA1494.2", "MA0002.3", "MA0154.5",
        "MA0050.4", "MA0509.3", "MA0103.4", "MA1527.2", "MA0363.3", "MA0265.3",
    ),
}  # fmt: skip
CTCF = "MA0139.2"
TURNS = (
    "used", "unknown", "absent", "used", "unused", "used", "unknown", "used", "absent", "unknown", "unused", "used",
)  # fmt: skip
BACKGROUNDS = ("markov", "markov", "gc", "uniform", "CTCF sites")
ENDS = ("anywhere", "one place", "ends")


@dataclass(frozen=True)
class Design:
    """All that a trial's data and network follow from.

    Attributes
    ----------
    name, seed, condition
        `used`, `unknown`, `unused` or `absent`.
    motifs, motif_share
        JASPAR accessions, and in which share of the positives each has a site.
    background
        `markov` (third order, of the flanks of the real CTCF sites), `gc` (a GC content of 30 to 65 % for each
        sequence), `uniform`, or real sites: `CTCF sites`, `Reb1 sites`, `Abf1 sites`, which have their own motifs.
    negatives
        `background`, or `shuffles` that keep the positives' dinucleotides.
    adapter, word
        What is planted: where it comes from, and its bases; empty when nothing is.
    placement
        `anywhere`, `one place`, or `ends`, where half of the copies are partial.
    both_strands
        Whether copies lie on either strand.
    share
        Share of the positives (`unused`: and of the negatives) that have a copy.
    mismatches
        Share of the copies' bases that are other ones.
    pooling, rc_average
        Of the network, and of the attributions.
    gives_classes
        Whether the audit is given the training data.
    """

    name: str
    seed: int
    condition: str
    motifs: tuple[str, ...]
    motif_share: float
    background: str
    negatives: str
    adapter: str
    word: str
    placement: str
    both_strands: bool
    share: float
    mismatches: float
    pooling: str
    rc_average: bool
    gives_classes: bool


def designs(seeds: str, n: int, yeast: bool = False) -> list[Design]:
    """List n designs of a set of seeds, the conditions in turn; with yeast, every tenth is on real yeast sites."""
    offset = 0 if seeds == "development" else 500_000
    return [_design(seeds, i, offset + i, yeast) for i in range(n)]


def _design(seeds: str, number: int, seed: int, yeast: bool) -> Design:
    rng = np.random.default_rng([seed, 1])
    condition = TURNS[number % len(TURNS)]
    background = str(rng.choice(BACKGROUNDS))
    if yeast and number % 10 == 9:
        background = str(rng.choice(["Reb1 sites", "Abf1 sites"]))
    is_real = background.endswith("sites")
    n_motifs = 0 if is_real else int(rng.integers(1, 3))
    name, word = _draw_word(rng, condition, seeds)
    return Design(
        name=f"{'dev' if seeds == 'development' else seeds}_{number:03d}",
        seed=seed,
        condition=condition,
        motifs=tuple(rng.choice(MOTIFS[seeds], n_motifs, replace=False).tolist()),
        motif_share=float(rng.choice([0.5, 0.7, 0.9])),
        background=background,
        negatives="shuffles" if background == "CTCF sites" or rng.random() < 0.25 else "background",
        adapter=name,
        word=word,
        placement=str(rng.choice(ENDS)) if word else "",
        both_strands=bool(rng.random() < 0.5),
        share=float(rng.choice([0.3, 0.5, 0.7, 1.0])) if word else 0.0,
        mismatches=float(rng.choice([0.0, 0.0, 0.02, 0.05])),
        pooling=str(rng.choice(["attention", "max", "mean"])),
        rc_average=bool(rng.random() < 0.5),
        gives_classes=bool(rng.random() < 0.5),
    )


def _draw_word(rng: np.random.Generator, condition: str, seeds: str) -> tuple[str, str]:
    if condition == "absent":
        return "", ""
    if condition == "unknown":
        return "", _draw_unknown(rng)
    name = str(rng.choice(list(ADAPTERS[seeds])))
    word = ADAPTERS[seeds][name][:34]
    if rng.random() < 0.5:
        return name, word
    width = int(rng.integers(8, 17))
    start = int(rng.integers(0, max(len(word) - width, 0) + 1))
    return (f"{name}, part" if width < len(word) else name), word[start : start + width]


def _draw_unknown(rng: np.random.Generator) -> str:
    """Draw a 12-mer: no base is more than half of it, no 7 bp are of an adapter, no known motif matches (p < 1e-5)."""
    adapters = [word for members in ADAPTERS.values() for word in members.values()]
    while True:
        codes = rng.integers(4, size=(1, UNKNOWN_BP)).astype(np.uint8)
        word = decode(codes[0])
        is_dull = np.bincount(codes[0], minlength=4).max() > UNKNOWN_BP // 2
        if is_dull or any(share_word(word, adapter, 7) for adapter in adapters):
            continue
        if not len(scan_codes(codes, list(known_motifs()), p_value=1e-5)):
            return word


def share_word(one: str, other: str, width: int) -> bool:
    """Whether two sequences have `width` bases in a row in common, on either strand."""
    width = min(width, len(one), len(other))
    words = {other[i : i + width] for i in range(len(other) - width + 1)}
    turned = decode(reverse_complement(encode(one)))
    return any(text[i : i + width] in words for text in (one, turned) for i in range(len(text) - width + 1))


@cache
def known_motifs() -> tuple[Motif, ...]:
    """Return JASPAR's matrices of vertebrates and fungi."""
    return tuple(motif for group in ("vertebrates", "fungi") for motif in read_motifs(f"jaspar:2026:{group}"))

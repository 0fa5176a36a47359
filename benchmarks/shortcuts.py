"""Shortcuts on trained networks, where the truth is known: found, missed and wrongly called.

    python benchmarks/shortcuts.py [--seeds test] [--trials 120] [--cache FOLDER] [--processes 2] [--yeast FOLDER]

`contaminated.py` and its two siblings make the trials: a data set, a CNN trained on it, and attributions of held-out
positives. Each is audited for shortcuts as `seqsal audit` does it, with JASPAR 2026 as known motifs; in half of the
trials the audit gets the training data, in the other half it has only the held-out positives and shuffles of them. The
development seeds are what the audit was developed on; the test seeds share no motif and no adapter with them.

* **used**, **unknown**: found when a `shortcut` shares 8 bp in a row (an unexplained one: 6 bp) with what was planted,
  on either strand. *By name*: an adapter of the library, not an unexplained word.
* **absent**, **unused**: trials with any `shortcut`.
* **false**: trials with a `shortcut` that is not of what was planted; **motif**: most of whose copies in the positives
  lie on the planted transcription-factor sites.
* Trials in which the network does not use what was planted (or does, though it is in both classes) have their own rows.
* **string search** is what is done without an audit: the adapters, at full length and without mismatches, counted in
  the positives and in the negatives (or shuffles), and flagged when enriched (Fisher's exact test, p < 0.01 after
  Bonferroni, and in 2 % of the positives). It knows the adapters that this benchmark plants and nothing of the model.

No peer looks for shortcuts in the model itself. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contaminated import ADAPTERS, Design, designs, known_motifs, share_word
from contaminated_sets import Codes
from contaminated_trials import Trial, prepared
from scipy import stats

from seqsal.auditing.context import AuditContext
from seqsal.auditing.parts.artifacts import audit_artifacts
from seqsal.sequence.codes import decode, encode, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle

KNOWN_BP, UNKNOWN_BP = 8, 6
ON_SITES = 0.5
SEARCH_P, SEARCH_SHARE = 0.01, 0.02


@dataclass(frozen=True)
class Outcome:
    """What the audit and the string search said of a trial.

    Attributes
    ----------
    verdict
        Of what was planted: `shortcut`, `present`, `clean`, or "" where it is not listed.
    by_name
        Whether it was found as an adapter of the library.
    false_calls, motif_calls
        Shortcuts that are something else; those of them that lie on the planted sites.
    searched
        Whether the string search flags an adapter.
    """

    design: Design
    auroc: float
    effect: float | None
    uses: bool | None
    verdict: str
    by_name: bool
    false_calls: tuple[str, ...]
    motif_calls: tuple[str, ...]
    searched: bool
    seconds: float

    def __str__(self) -> str:
        design = self.design
        planted = (
            f"{design.adapter or 'random'} {design.word} {design.placement} in {design.share:.0%}, "
            f"{design.mismatches:.0%} mismatches"
            if design.word
            else "nothing"
        )
        effect = "" if self.effect is None else f", effect {self.effect:.2f}"
        return (
            f"{design.name} {design.condition}: {planted}, {design.background}, "
            f"{design.negatives}, {', '.join(design.motifs) or 'real sites'}, "
            f"{'with' if design.gives_classes else 'no'} classes, AUROC {self.auroc:.2f}{effect}: "
            f"{self.verdict or 'not listed'}; false: {', '.join(self.false_calls) or 'none'}"
        )


def judge(trial: Trial) -> Outcome:
    """Audit a trial and compare with its truth."""
    began = time.perf_counter()
    given = trial.design.gives_classes
    context = AuditContext(
        trial.attr,
        trial.model,
        seed=trial.design.seed,
        motifs=known_motifs(),
        positives=trial.positives if given else None,
        negatives=trial.negatives if given else None,
    )
    listed = audit_artifacts(context).to_json()
    seconds = time.perf_counter() - began
    planted = [item for item in listed if _is_planted(item, trial.design)]
    ranked = sorted(planted, key=lambda item: ("shortcut", "present", "clean").index(item["verdict"]))
    shortcuts = [item for item in listed if item["verdict"] == "shortcut"]
    false = [item for item in shortcuts if item not in planted]
    return Outcome(
        design=trial.design,
        auroc=trial.truth["auroc"],
        effect=trial.truth["effect"],
        uses=trial.truth["uses"],
        verdict=ranked[0]["verdict"] if ranked else "",
        by_name=any(item["verdict"] == "shortcut" and item["kind"] != "unknown" for item in planted),
        false_calls=tuple(_label(item) for item in false),
        motif_calls=tuple(_label(item) for item in shortcuts if _is_motif(item, trial)),
        searched=_search(trial),
        seconds=seconds,
    )


def _label(item: dict[str, Any]) -> str:
    return f"{item['name']} ({item['kind']}, {item['sequence']})"


def _is_planted(item: dict[str, Any], design: Design) -> bool:
    if not design.word or not item["sequence"]:
        return False
    return share_word(item["sequence"], design.word, UNKNOWN_BP if item["kind"] == "unknown" else KNOWN_BP)


def _is_motif(item: dict[str, Any], trial: Trial) -> bool:
    """Whether most copies of a call, 8 bp or more of it, lie on the planted sites."""
    if not item["sequence"] or _is_planted(item, trial.design):
        return False
    found = _copies(trial.held_out, item["sequence"])
    sites = np.zeros(trial.held_out.shape, dtype=bool)
    for row, start, end in trial.truth["sites"]["held_out"]:
        sites[row, start:end] = True
    on_sites = [sites[row, start:end].mean() >= ON_SITES for row, start, end in found]
    return bool(on_sites) and float(np.mean(on_sites)) > ON_SITES


def _copies(codes: Codes, word: str) -> list[tuple[int, int, int]]:
    """Where 8 bp in a row of a word, or all of a shorter one, stand on either strand: row, start, end."""
    width = min(KNOWN_BP, len(word))
    strands = (word, decode(reverse_complement(encode(word))))
    words = {text[i : i + width] for text in strands for i in range(len(word) - width + 1)}
    texts = [decode(row) for row in codes]
    return [
        (row, i, i + width)
        for row, text in enumerate(texts)
        for i in range(len(text) - width + 1)
        if text[i : i + width] in words
    ]


def _search(trial: Trial) -> bool:
    """Whether any adapter is enriched, as a whole, in the positives over the negatives or shuffles."""
    positives, negatives = trial.positives, trial.negatives
    if not trial.design.gives_classes:
        positives, negatives = trial.held_out, dinucleotide_shuffle(trial.held_out, seed=trial.design.seed)
    adapters = [word for members in ADAPTERS.values() for word in members.values()]
    return any(_is_enriched(word, positives, negatives, SEARCH_P / len(adapters)) for word in adapters)


def _is_enriched(word: str, positives: Codes, negatives: Codes, p_value: float) -> bool:
    turned = decode(reverse_complement(encode(word)))
    n_with = [sum(word in text or turned in text for text in map(decode, codes)) for codes in (positives, negatives)]
    table = [[n_with[0], len(positives) - n_with[0]], [n_with[1], len(negatives) - n_with[1]]]
    is_common = n_with[0] >= SEARCH_SHARE * len(positives)
    return bool(is_common and stats.fisher_exact(table, alternative="greater").pvalue < p_value)


def run_trial(design: Design, cache: Path, yeast: Path | None) -> Outcome:
    """Prepare and judge one trial."""
    return judge(prepared(design, cache, yeast))


def is_miss(outcome: Outcome) -> bool:
    """Whether anything about a trial is not as it should be."""
    is_missed = outcome.design.condition in ("used", "unknown") and outcome.uses and outcome.verdict != "shortcut"
    return bool(is_missed or outcome.false_calls or outcome.motif_calls or _is_false_alarm(outcome))


def _is_false_alarm(outcome: Outcome) -> bool:
    unused = outcome.design.condition == "unused" and not outcome.uses
    return unused and outcome.verdict == "shortcut"


def _is_found(outcome: Outcome) -> bool:
    return outcome.verdict == "shortcut"


def _any_call(outcome: Outcome) -> bool:
    return _is_found(outcome) or bool(outcome.false_calls)


def _row(name: str, outcomes: list[Outcome], counts: Callable[[Outcome], bool], expected: str) -> None:
    if not outcomes:
        return
    k, n = sum(map(counts, outcomes)), len(outcomes)
    low, high = stats.binomtest(k, n).proportion_ci(method="wilson")
    searched = sum(o.searched for o in outcomes)
    print(f"  {name:44s} {k:4d} / {n:<4d} {k / n:7.1%}  {low:6.1%} – {high:6.1%}  {expected:8s} {searched:4d} / {n}")


def print_table(outcomes: list[Outcome]) -> None:
    """Print rates with intervals, for all trials and for those with and without the classes."""
    for title, part in (
        ("all trials", outcomes),
        ("the audit has the training data", [o for o in outcomes if o.design.gives_classes]),
        ("the audit has only held-out positives", [o for o in outcomes if not o.design.gives_classes]),
    ):
        print(f"\n{title:46s} {'n':>4s}          share  interval         expected string search")
        _print_rows(part)


def _print_rows(outcomes: list[Outcome]) -> None:
    def of(condition: str, uses: bool | None) -> list[Outcome]:
        return [o for o in outcomes if o.design.condition == condition and o.uses is uses]

    used, unknown = of("used", True), of("unknown", True)
    _row("used: shortcut", used, _is_found, "≥ 99 %")
    _row("  by name", used, lambda o: o.by_name, "")
    _row("  whole adapters", [o for o in used if "part" not in o.design.adapter], _is_found, "")
    _row("  parts of 8 to 16 bp", [o for o in used if "part" in o.design.adapter], _is_found, "")
    _row("planted, but the network does not use it", of("used", False), _is_found, "")
    _row("absent: any shortcut", of("absent", None), _any_call, "≤ 1 %")
    _row("unused, in both classes: any shortcut", of("unused", False), _any_call, "≤ 1 %")
    _row("  present", of("unused", False), lambda o: o.verdict == "present", "")
    _row("in both classes, yet used: shortcut", of("unused", True), _is_found, "")
    _row("unknown 12-mer: shortcut", unknown, _is_found, "≥ 95 %")
    _row("planted 12-mer, not used: shortcut", of("unknown", False), _is_found, "")
    _row("any trial: a true motif called", outcomes, lambda o: bool(o.motif_calls), "0")
    _row("any trial: something not planted called", outcomes, lambda o: bool(o.false_calls), "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", choices=list(ADAPTERS), default="test")
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--only", nargs="+", help="names of trials")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "seqsal-shortcuts")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--yeast", type=Path, help="folder of sacCer3.fa.gz, Reb1.bed and Abf1.bed: a tenth on these")
    options = parser.parse_args()
    chosen = designs(options.seeds, options.trials, options.yeast is not None)
    chosen = [design for design in chosen if not options.only or design.name in options.only]
    options.cache.mkdir(parents=True, exist_ok=True)
    began, outcomes = time.perf_counter(), []
    with ProcessPoolExecutor(
        options.processes, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        for outcome in pool.map(partial(run_trial, cache=options.cache, yeast=options.yeast), chosen):
            outcomes.append(outcome)
            print(f"{'MISS' if is_miss(outcome) else 'ok  '} {outcome.seconds:5.1f} s  {outcome}", flush=True)
    print_table(outcomes)
    misses = [outcome for outcome in outcomes if is_miss(outcome)]
    print(f"\n{len(misses)} of {len(outcomes)} trials not as expected, {time.perf_counter() - began:.0f} s")
    for outcome in misses:
        print(f"  {outcome}")


if __name__ == "__main__":
    main()

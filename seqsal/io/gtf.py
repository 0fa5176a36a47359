"""Gene models (GTF, plain or gzip), as far as places are read from them: features of genes by chromosome.

GTF counts from 1, both ends included; tables count from 0, half-open.
"""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

from seqsal.errors import BedError, counted, first_line

__all__ = ["gene_intervals", "read_gtf"]

_COLUMNS = ("chrom", "source", "feature", "start", "end", "score", "strand", "frame", "attributes")


def read_gtf(path: str | os.PathLike[str], features: tuple[str, ...]) -> pd.DataFrame:
    """Read the lines of some features: chrom, start, end, strand, feature, gene_id and gene_name.

    BedError: it cannot be read, or is no GTF.
    """
    try:
        table = pd.read_csv(path, sep="\t", comment="#", header=None, names=list(_COLUMNS), dtype={0: str}, quoting=3)
        table = table[table["feature"].isin(features)].reset_index(drop=True)
        start, end = (table[key].astype(np.int64) for key in ("start", "end"))
        attributes = table["attributes"].astype(str)
    except (
        OSError,
        ValueError,
        UnicodeDecodeError,
        EOFError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
    ) as error:
        raise BedError(f"{path}: cannot be read as GTF ({first_line(error)}); expected 9 columns with tabs") from error
    named = {key: attributes.str.extract(rf'\b{key}[ =]"?([^";]+)', expand=False) for key in ("gene_id", "gene_name")}
    named["gene_name"] = named["gene_name"].fillna(named["gene_id"])
    columns = table[["chrom", "strand", "feature"]].astype({"chrom": str})
    return columns.assign(start=start - 1, end=end, **named)


def gene_intervals(path: str | os.PathLike[str], kind: str, gene: str | None = None) -> pd.DataFrame:
    """Return where genes start (`kind` ``tss``, one base each, by strand) or their exons (``exons``).

    The table has chrom, start, end, gene_id and gene_name. BedError: the file has no such features, or not this gene,
    by its name or id.
    """
    table = read_gtf(path, ("exon",) if kind == "exons" else ("gene", "transcript"))
    if kind == "tss" and (table["feature"] == "gene").any():
        table = table[table["feature"] == "gene"]
    if table.empty:
        raise BedError(
            f"{path}: has no {'exons' if kind == 'exons' else 'genes or transcripts'}, expected a GTF of genes"
        )
    if gene is not None:
        mine = table[(table["gene_name"] == gene) | (table["gene_id"].str.split(".").str[0] == gene.split(".")[0])]
        if mine.empty:
            from seqsal.errors import did_you_mean

            names = table["gene_name"].dropna().unique()
            hint = (
                did_you_mean(gene, names)
                or f"; it has {counted(len(names), 'gene')}, such as {', '.join(map(str, names[:3]))}"
            )
            raise BedError(f"{path}: has no gene {gene!r}{hint}")
        table = mine
    if kind == "tss":
        first = np.where(table["strand"] == "-", table["end"] - 1, table["start"])
        table = table.assign(start=first, end=first + 1)
    return table.drop_duplicates(["chrom", "start", "end", "gene_id"]).reset_index(drop=True)

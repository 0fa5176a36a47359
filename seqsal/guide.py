"""Codes of the messages that users meet most: each names an entry of the field guide, `docs/field-guide.md`.

A message is known by words of it that never change. To give one a code, add its words here and an entry there; a test
holds the two against each other and against the messages in the code.
"""

__all__ = ["GUIDE_URL", "code_of", "with_code"]

GUIDE_URL = "https://seqsal.github.io/seqsal/field-guide.html"

CODES = {
    # inputs
    "S01": ": its chromosomes are named ",
    "S02": " regions cannot be used: ",
    "S03": " regions can be used: ",
    "S04": " regions are longer than the window of ",
    "S05": " have several blocks; the whole span of each is read",
    "S06": ": is gzip but not bgzip, which cannot be read at random",
    "S07": ": does not fit its index ",
    "S08": "expected genome and regions, or fasta alone",
    "S09": ": not understood, expected chrom:start-end",
    "S10": " record names hold a colon but are not chrom:start-end",
    "S11": ": positions are read as counted from 0",
    "S12": ": no such file",
    # models
    "S20": ", a program that may run any code when it is loaded",
    "S21": ": weights do not fit the model",
    "S22": ": cannot be imported (",
    "S23": "model: fails on one-hot input of shape ",
    "S24": "expected a tensor of shape (N,), (N, 1) or (N, T)",
    "S25": " is out of range, the model has ",
    "S26": "make it deterministic: dropout by nn.Dropout",
    "S27": "its output depends on the batch",
    "S28": "does not depend differentiably on its input",
    "S29": "model: gives NaN or infinite values for ",
    # attribution
    "S30": " miss the promised sum by more than 1 % of it",
    "S31": ": the attributions of a window add up to ",
    "S32": " differs from fp32 (Pearson r ",
    "S33": "out of memory; going on with batches of ",
    "S34": "deeplift_shap: has no rule for ",
    "S35": "cam: the model takes no average over all positions",
    "S36": "ism: float32 rounds off up to ",
    "S37": "held_out: ",
    # peaks and motifs
    "S40": " controls were drawn (--seed): the smallest q-value lies between ",
    "S41": " by count only ",
    "S42": " of their attribution cancels, because they disagree on the sign ",
    "S43": " of their bases have attributions ",
    "S44": "TF-MoDISco needs ",
    "S45": "nothing recurs in the ",
    "S46": "controls: none, and no model to make them with",
    # training
    "S50": " are positives as well, and ",
    "S51": "training: the loss is no longer finite in epoch ",
    "S52": ", which leaves none for ",
    "S53": "a model can tell them apart by that",
    # audit
    "S60": ": cannot be decided (",
    "S61": "the audit failed: ",
    "S62": ", but the attributions are about a prediction of ",
    # files, clusters, variants
    "S70": ": another process is writing it",
    "S71": ": no space left on the device",
    "S72": ": an unfinished file of other settings is there",
    "S73": ": cannot be read as HDF5",
    "S74": ": was planned with ",
    "S75": " tasks are missing (",
    "S76": "which is not installed; pip install 'seqsal[",
    "S77": ": not scored are ",
    "S78": ": REF differs from the genome at ",
}


def code_of(message: str) -> str:
    """Return the code of a message, or nothing for one that the field guide does not have."""
    return next((code for code, words in CODES.items() if words in message), "")


def with_code(message: str) -> str:
    """Put the code of a message at its end: `… is gzip but not bgzip … [S06]`."""
    code = code_of(message)
    return f"{message} [{code}]" if code else message

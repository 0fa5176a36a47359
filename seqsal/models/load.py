"""Models by what the user writes: a seqsal checkpoint, ``package.module:factory``, TorchScript, or a torch.export file.

A checkpoint and a state dict are data: reading them runs nothing. A TorchScript file, a torch.export archive and a
pickled module are programs, which may run any code or write any file with the rights of whoever loads them (an export
may carry compiled libraries and pickles, TorchScript can open files by ``torch.from_file``). They are loaded only for a
caller who says that the author is trusted; no screening of such archives would be safe.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from seqsal.errors import CheckpointError, ModelError, first_line, kind_of
from seqsal.models.checkpoint import load_checkpoint, read_tensors
from seqsal.models.contrast import Target
from seqsal.models.sequence_model import SequenceModel, wrap
from seqsal.models.snapshot import make_snapshot, snapshot_weights
from seqsal.models.state import resolve_device

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["load_model"]

logger = logging.getLogger(__name__)
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_PREFIXES = ("module.", "model.", "net.")  # of DataParallel and Lightning
_COMPILED = "_orig_mod."  # of torch.compile, before or inside a name
_STATE_KEYS = ("state_dict", "model_state_dict")  # where training frameworks keep the weights in a larger file
# What torch raises on a file that is damaged or of another kind.
_LOAD_ERRORS = (
    RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError, AttributeError,
    TypeError,
)  # fmt: skip


def load_model(
    spec: str | os.PathLike[str],
    *,
    target: Target = 0,
    output_space: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    input_length: int | None = None,
    trust_model: bool = False,
    trust_pickle: bool = False,
    device: str | torch.device = "cpu",
    **reading: Any,
) -> SequenceModel:
    """Load a model and read it as one scalar per sequence.

    Parameters
    ----------
    spec
        A seqsal checkpoint (``.safetensors``), a TorchScript or torch.export file, the folder of a Hugging Face
        snapshot (``config.json`` and safetensors, of an architecture in `docs/models.md`), or
        ``package.module:factory``: a
        function (or class) that, called without arguments, returns an `nn.Module`. It is looked up in the current
        folder when it is not installed.
    target, output_space, input_length
        As in `wrap`.
    weights
        For a factory: a state dict (``.safetensors``, or ``torch.save``'s, read with ``weights_only=True``).
    trust_model
        Allow a file that is a program (TorchScript, torch.export or a pickled module), which runs whatever code its
        author put there.
    trust_pickle
        The former name of `trust_model`.
    device
        As in `resolve_device`.
    reading
        How the model is fed and what is read from it, as in `wrap`: `layout`, `channel_order`, `output`, `reduce`,
        `track_layout`, `extra_inputs`.

    Returns
    -------
    SequenceModel
        In evaluation mode; its `source` has the file's name and SHA-256 (of the weights, for a factory).

    Raises
    ------
    CheckpointError
        A file that is missing, damaged, of an unknown kind, or a program that is not trusted.
    ModelError
        A factory that cannot be imported or called, weights that do not fit, or a model that `wrap` refuses.
    DeviceError
        No such device.

    Examples
    --------
    >>> import tempfile
    >>> from seqsal.models import CNN, CNNConfig, save_checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/M.safetensors", CNN(CNNConfig(40, n_filters=4, stem_kernel=5)), {})
    ...     load_model(f"{folder}/M.safetensors").input_length
    40
    """
    if not isinstance(spec, (str, os.PathLike)):
        cure = "give modules to seqsal.wrap()" if isinstance(spec, nn.Module) else "check the call"
        raise ModelError(f"model: got {kind_of(spec)}, expected a file or package.module:factory; {cure}")
    where = resolve_device(device)
    path = Path(spec)
    if not path.exists() and _FACTORY.fullmatch(str(spec)):
        module = _call_factory(str(spec))
        source: dict[str, Any] = {"factory": str(spec)}
        if weights is not None:
            _load_weights(module, Path(weights))
            source |= _identity(Path(weights))
    elif weights is not None:
        raise ModelError(f"weights: {weights} given for the file {spec}, which has its own; remove --weights")
    elif path.is_dir():
        module = make_snapshot(path)
        state, files = snapshot_weights(path)
        _fit(module, state, path)
        source = _identity(*files) | {"file": path.resolve().name}
    else:
        module = _load_file(path, trust_model or trust_pickle, where)
        source = _identity(path)
    for part in module.modules():
        part.training = False
    model = wrap(module.to(where), target=target, input_length=input_length, output_space=output_space, **reading)
    for part in model.modules():
        part.training = False
    model.source, model.path = source, None if "factory" in source else os.fspath(spec)
    logger.info("%s: input %s bp, output space %s, on %s", spec, model.input_length or "any", model.output_space, where)
    return model


def _identity(*paths: Path) -> dict[str, str]:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return {"file": paths[0].name, "sha256": digest.hexdigest()}


def _call_factory(spec: str) -> nn.Module:
    module_name, _, name = spec.partition(":")
    try:
        factory = getattr(_import(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"model {spec}: cannot be imported ({error}); install the package or run in its folder, and check the name"
        ) from error
    try:
        module = factory()
    except SystemExit as error:
        raise ModelError(f"model {spec}: {name}() ended the program (sys.exit); it must return a model") from error
    except (TypeError, ValueError, RuntimeError, OSError, KeyError, AttributeError, ImportError) as error:
        raise ModelError(
            f"model {spec}: {name}() failed ({type(error).__name__}: {first_line(error)}); "
            "it must return a model when called without arguments"
        ) from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"model {spec}: {name}() gave {kind_of(module)}, expected a torch.nn.Module; return one")
    return module


def _import(name: str) -> Any:
    """Import a module, from the current folder when nothing installed has this name.

    The folder stands last in the search path meanwhile: no file there shadows what the module imports.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # found, but it imports something that is missing
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.path.reverse()  # the last of its kind, for the folder may have been there before
        sys.path.remove(folder)
        sys.path.reverse()


def _load_weights(module: nn.Module, path: Path) -> None:
    _fit(module, read_tensors(path)[0] if path.suffix == ".safetensors" else _read_state_dict(path), path)


def _fit(module: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Put weights into a module; ModelError where they are another's."""
    state = _without_prefix(state, module.state_dict().keys(), path)
    try:
        missing, unexpected = module.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes
        raise ModelError(
            f"{path}: weights do not fit the model ({_last_line(error)}); check that they belong together"
        ) from error
    own = module.state_dict()
    filled = {own[name].data_ptr() for name in state if name in own}  # by another name of the same tensor
    missing = [name for name in missing if own[name].data_ptr() not in filled]
    if missing or unexpected:
        raise ModelError(
            f"{path}: weights do not fit the model: {len(missing)} missing ({_some(missing)}), "
            f"{len(unexpected)} unknown to it ({_some(unexpected)}); check that they belong together"
        )


def _without_prefix(state: Mapping[str, Any], expected: Iterable[str], path: Path) -> Mapping[str, Any]:
    """Strip what wrappers put before names, where the model knows the names only without it.

    Compiled parts have their prefix inside a name; a Lightning checkpoint may hold more than the model.
    """
    wanted, stripped = set(expected), ""
    renamed = state if wanted & state.keys() else {name.replace(_COMPILED, ""): state[name] for name in state}
    while wanted and not wanted & renamed.keys():
        prefix = next((one for one in _PREFIXES if any(name.startswith(one) for name in renamed)), None)
        if prefix is None:
            return state
        stripped += prefix
        renamed = {name.removeprefix(prefix): renamed[name] for name in renamed if name.startswith(prefix)}
    if renamed is not state:
        told = [repr(stripped)] * bool(stripped) + [repr(_COMPILED)] * any(_COMPILED in name for name in state)
        more = len(state) - len(renamed)
        logger.warning(
            "%s: names of weights begin with %s, which was stripped to fit the model%s", path, " and ".join(told),
            f"; {more} of another name were left out" if more else "",
        )  # fmt: skip
    return renamed


def _read_state_dict(path: Path) -> Mapping[str, Any]:
    _check_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _LOAD_ERRORS as error:
        raise CheckpointError(
            f"{path}: not a state dict that can be read without running code ({first_line(error)}); "
            "save model.state_dict() by torch.save or safetensors"
        ) from error
    for key in _STATE_KEYS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds {kind_of(state)}, expected a state dict (name → tensor); save that")
    return state


def _load_file(path: Path, is_trusted: bool, device: torch.device) -> nn.Module:
    _check_file(path)
    if path.suffix == ".safetensors":
        return load_checkpoint(path)[0]
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path}: not a model that seqsal knows; expected a seqsal .safetensors checkpoint, "
            "package.module:factory, a TorchScript or a torch.export file"
        )
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()} | set(archive.namelist())
    if {"archive_format", "serialized_exported_program.json"} & names:
        _check_trusted(path, is_trusted, "a torch.export archive")
        return _quietly(path, lambda: _exported_for(device, torch.export.load(path)))
    if "constants.pkl" in names:
        _check_trusted(path, is_trusted, "a TorchScript file")
        return _quietly(path, lambda: torch.jit.load(str(path), map_location="cpu"))
    _check_trusted(path, is_trusted, "a pickle")
    return _load_pickle(path)


def _check_trusted(path: Path, is_trusted: bool, kind: str) -> None:
    if not is_trusted:
        raise CheckpointError(
            f"{path}: is {kind}, a program that may run any code when it is loaded; give --trust-model (in Python "
            "trust_model=True) if you trust its author, or package.module:factory as the model and a state dict by "
            "--weights"
        )


def _exported_for(device: torch.device, program: ExportedProgram) -> nn.Module:
    """Make an exported program a module of a device, with the tensors that its code makes or holds."""
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, str(device))
    return program.module()


def _load_pickle(path: Path) -> nn.Module:
    module = _quietly(path, lambda: torch.load(path, map_location="cpu", weights_only=False))
    if not isinstance(module, nn.Module):
        raise CheckpointError(
            f"{path}: holds {kind_of(module)}, expected a whole model; for a state dict give "
            "package.module:factory as the model and this file by --weights"
        )
    return module


def _quietly(path: Path, load: Callable[[], Any]) -> Any:
    """Load without torch's deprecation warnings, which the user of a file can do nothing about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return load()
        except _LOAD_ERRORS as error:
            raise CheckpointError(
                f"{path}: cannot be loaded ({type(error).__name__}: {first_line(error)}); "
                "it may be damaged, or written by another version of torch"
            ) from error


def _check_file(path: Path) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {what}; expected a model file or package.module:factory, check the path")
    if not os.access(path, os.R_OK):
        raise CheckpointError(f"{path}: cannot be read, no permission; change its mode or choose another")


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _some(names: list[str], n_shown: int = 3) -> str:
    return ", ".join(names[:n_shown]) + (", …" if len(names) > n_shown else "") if names else "none"

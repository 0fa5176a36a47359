"""Models by what the user writes, and no code out of data."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from nets import LENGTH, SigmoidEnd, make_sigmoid, random_X
from safetensors.torch import save_file
from torch import nn

from seqsal.errors import CheckpointError, DeviceError, ModelError
from seqsal.models import wrap
from seqsal.models.checkpoint import save_checkpoint
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.models.load import _exported_for, load_model

NETS = "nets"
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _expected(target: int = 0) -> torch.Tensor:
    return SigmoidEnd().eval().body(random_X(3))[:, target]


def test_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    cnn = CNN(CNNConfig(40, n_targets=2, n_filters=4, stem_kernel=5)).eval()
    save_checkpoint(path, cnn, {})
    model = load_model(path, target=1)
    assert model.source == {"file": "m.safetensors", "sha256": _sha256(path)}
    assert not any(part.training for part in model.modules())
    torch.testing.assert_close(model(random_X(3, 40)), cnn(random_X(3, 40))[:, 1])
    assert load_model(str(path), output_space="probability").output_space == "probability"
    with pytest.raises(ModelError, match="target: 2 is out of range"):
        load_model(path, target=2)
    with pytest.raises(DeviceError, match="is unknown"):
        load_model(path, device="tpu")


@pytest.mark.parametrize("kind", ["safetensors", "torch", "nested"])
def test_factory_with_weights(kind: str, tmp_path: Path) -> None:
    state = {key: value + 1 for key, value in make_sigmoid().state_dict().items()}
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if kind == "torch" else {"epoch": 3, "state_dict": state}, path)
    model = load_model(f"{NETS}:make_sigmoid", weights=path, input_length=LENGTH)
    reference = make_sigmoid()
    reference.load_state_dict(state)
    torch.testing.assert_close(model(random_X(3)), reference.body(random_X(3))[:, 0])
    assert model.source == {"factory": f"{NETS}:make_sigmoid", "file": path.name, "sha256": _sha256(path)}
    assert load_model(f"{NETS}:SigmoidEnd").source == {"factory": f"{NETS}:SigmoidEnd"}


def test_factory_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_model.py").write_text("from torch import nn\n\n\ndef make():\n    return nn.Flatten()\n")
    (tmp_path / "my_broken_model.py").write_text("import a_package_that_is_absent\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert isinstance(load_model("my_own_model:make").module, nn.Flatten)
    assert sys.path == before
    with pytest.raises(ModelError, match="No module named 'a_package_that_is_absent'"):
        load_model("my_broken_model:make")
    (tmp_path / "colorsys.py").write_text("raise AssertionError('a file of the current folder was run')\n")
    (tmp_path / "uses_colorsys.py").write_text("import colorsys\nfrom torch import nn\n\nmake = nn.Flatten\n")
    sys.modules.pop("colorsys", None)
    load_model("uses_colorsys:make")
    (tmp_path / "exits.py").write_text("import sys\n\n\ndef make():\n    sys.exit(0)\n")
    with pytest.raises(ModelError, match=r"make\(\) ended the program"):
        load_model("exits:make")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_package.models:make", "model no_such_package.models:make: cannot be imported"),
        (f"{NETS}:no_such_name", f"model {NETS}:no_such_name: cannot be imported"),
        (f"{NETS}:make_nothing", r"make_nothing\(\) gave a NoneType, expected a torch.nn.Module"),
        (f"{NETS}:make_failure", r"make_failure\(\) failed \(ValueError: no such\); it must return a model"),
        (f"{NETS}:random_X", r"random_X\(\) failed \(TypeError: "),
    ],
)
def test_bad_factories(spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_model(spec)
    assert "\n" not in str(caught.value)


def test_bad_weights(tmp_path: Path) -> None:
    spec = f"{NETS}:make_sigmoid"
    state = make_sigmoid().state_dict()
    path = tmp_path / "w.pt"
    with pytest.raises(CheckpointError, match=r"w.pt: no such file"):
        load_model(spec, weights=path)
    torch.save({**state, "body.head.bias": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match=r"weights do not fit the model \(size mismatch for body.head.bias"):
        load_model(spec, weights=path)
    torch.save({"other": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"4 missing \(body.convolution.weight, .*1 unknown to it \(other\)"):
        load_model(spec, weights=path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list, expected a state dict"):
        load_model(spec, weights=path)
    torch.save(make_sigmoid(), path)
    with pytest.raises(CheckpointError, match="not a state dict that can be read without running code"):
        load_model(spec, weights=path)
    with pytest.raises(ModelError, match=r"weights: .* given for the file"):
        load_model(path, weights=path)


def test_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "m.ts"
    torch.jit.save(torch.jit.script(SigmoidEnd().eval()), str(path))
    with pytest.raises(CheckpointError, match=r"is a TorchScript file, a program that may run any code.*--trust-model"):
        load_model(path)
    model = load_model(path, input_length=LENGTH, trust_model=True)
    assert model.output_space == "logit"
    torch.testing.assert_close(model(random_X(3)), _expected(), rtol=1e-4, atol=1e-5)
    assert model.source["sha256"] == _sha256(path)


def _export(path: Path) -> None:
    batch = torch.export.Dim("batch")
    program = torch.export.export(SigmoidEnd().eval(), (random_X(3),), dynamic_shapes={"X": {0: batch}})
    torch.export.save(program, path)


def test_torch_export(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    _export(path)
    with pytest.raises(CheckpointError, match=r"is a torch.export archive, a program that may run any code"):
        load_model(path)
    model = load_model(path, input_length=LENGTH, trust_model=True)
    torch.testing.assert_close(model(random_X(3)), _expected())


class _Own(torch.nn.Module):
    """Makes tensors of its own, which export and tracing write down with their device."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        place = torch.arange(X.shape[2], device=X.device, dtype=X.dtype)
        weight = torch.tensor([1.0, 2.0, -1.0, 0.5], device=X.device)
        return (X * weight[:, None] * place).sum((1, 2))


def test_an_export_moves_with_the_tensors_of_its_own(tmp_path: Path) -> None:
    """Another kind of device stands for a GPU: it refuses tensors of the CPU as one does."""
    path, meta = tmp_path / "own.pt2", torch.device("meta")
    torch.export.save(torch.export.export(_Own().eval(), (random_X(3),)), path)
    with pytest.raises(RuntimeError, match="device"):
        torch.export.load(path).module().to(meta)(random_X(3).to(meta))
    moved = _exported_for(meta, torch.export.load(path))
    assert moved(random_X(3).to(meta)).device == meta
    here = _exported_for(torch.device("cpu"), torch.export.load(path))
    torch.testing.assert_close(here(random_X(3)), _Own()(random_X(3)))


def test_tensors_on_another_device_are_told_of() -> None:
    class Elsewhere(torch.nn.Module):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            if X.device.type == "cpu":
                raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices")
            return X.sum((1, 2))

    with pytest.raises(ModelError, match=r"tensors of its own on another device than cpu.*trace or script it on cpu"):
        wrap(Elsewhere(), input_length=LENGTH)


class _Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path, trace = tmp_path / "m.pt", tmp_path / "trace"
    torch.save(_Bomb(trace), path)
    with pytest.raises(CheckpointError, match=r"is a pickle, a program that may run any code.*--trust-model"):
        load_model(path)
    assert not trace.exists()


def test_a_trusted_pickle(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(SigmoidEnd(), path)
    model = load_model(path, trust_pickle=True, input_length=LENGTH)
    torch.testing.assert_close(model(random_X(3)), _expected())
    torch.save(SigmoidEnd().state_dict(), path)
    with pytest.raises(CheckpointError, match="holds an OrderedDict, expected a whole model"):
        load_model(path, trust_model=True)


@pytest.mark.parametrize("write", ["pickle inside an export", "script that writes a file", "pickle named as a script"])
def test_no_program_is_opened_without_trust(write: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No archive is screened: whatever is inside, torch's loaders are not called at all."""
    path, trace = tmp_path / "m.pt2", tmp_path / "trace"
    if write == "script that writes a file":
        torch.jit.save(torch.jit.script(SigmoidEnd()), str(path))
    else:
        torch.save(_Bomb(trace), path)
    if write == "pickle inside an export":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("m/archive_format", "pt2")
    for loader in ("torch.jit.load", "torch.export.load", "torch.load"):
        monkeypatch.setattr(loader, lambda *given, **options: pytest.fail("a loader was called"))
    with pytest.raises(CheckpointError, match="a program that may run any code"):
        load_model(path)
    assert not trace.exists()


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "model._orig_mod.", "module.model."])
def test_prefixes_of_wrappers_are_stripped(prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = {f"{prefix}{key}": value + 1 for key, value in make_sigmoid().state_dict().items()}
    path = tmp_path / "w.ckpt"
    torch.save({"state_dict": state, "epoch": 3}, path)
    model = load_model(f"{NETS}:make_sigmoid", weights=path, input_length=LENGTH)
    reference = make_sigmoid()
    reference.load_state_dict({key.removeprefix(prefix): value for key, value in state.items()})
    torch.testing.assert_close(model(random_X(3)), reference.body(random_X(3))[:, 0])
    for part in {"_orig_mod."} & {prefix.removeprefix("model.")} | {prefix.replace("_orig_mod.", "")} - {""}:
        assert repr(part) in caplog.text and "which was stripped to fit the model" in caplog.text


def test_a_lightning_checkpoint_of_a_model_with_compiled_parts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {key: value + 1 for key, value in make_sigmoid().state_dict().items()}
    named = {f"model.{key.replace('body.', 'body._orig_mod.')}": value for key, value in state.items()}
    path = tmp_path / "w.ckpt"
    torch.save({"state_dict": {**named, "loss.weight": torch.ones(3)}, "epoch": 3, "hyper_parameters": {"lr": 1}}, path)
    model = load_model(f"{NETS}:make_sigmoid", weights=path, input_length=LENGTH)
    reference = make_sigmoid()
    reference.load_state_dict(state)
    torch.testing.assert_close(model(random_X(3)), reference.body(random_X(3))[:, 0])
    assert "'model.' and '_orig_mod.', which was stripped to fit the model; 1 of another name were left" in caplog.text


def test_a_name_that_the_model_has_is_not_stripped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "own_prefix.py").write_text(
        "from torch import nn\n\n\nclass Own(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.model = nn.Linear(4, 1)\n\n    def forward(self, X):\n        return self.model(X.mean(-1))\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        weights = {"model.weight": torch.ones(1, 4), "model.bias": torch.zeros(1)}
        torch.save(weights, tmp_path / "w.pt")
        model = load_model("own_prefix:Own", weights=tmp_path / "w.pt", input_length=LENGTH)
    assert model(random_X(1)).item() == pytest.approx(1.0)
    assert not caplog.text


def test_weights_that_are_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"Hello, this is text and no pickle.")
    with pytest.raises(CheckpointError) as caught:
        load_model(f"{NETS}:make_sigmoid", weights=path)
    assert "(101)" not in str(caught.value)


def test_files_of_no_known_kind(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(CheckpointError, match=r"m.onnx: no such file; expected a model file or package.module:factory"):
        load_model(path)
    path.write_bytes(b"\x08\x07something")
    with pytest.raises(CheckpointError, match="not a model that seqsal knows"):
        load_model(path)
    with pytest.raises(CheckpointError, match=r"a folder without config\.json"):
        load_model(tmp_path)
    damaged = tmp_path / "m.ts"
    torch.jit.save(torch.jit.script(SigmoidEnd()), str(damaged))
    with zipfile.ZipFile(damaged) as archive:
        names = [name for name in archive.namelist() if "/code/" not in name]
        content = {name: archive.read(name) for name in names}
    with zipfile.ZipFile(damaged, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match=r"cannot be loaded \(.*it may be damaged"):
        load_model(damaged, trust_model=True)
